"""Plays the reviewers' service: what a chat bot or an approval page does. Speaks Standard Webhooks 1.0.0 both ways.

reviews.py serve                       takes questions at 127.0.0.1:8701 if they are signed, and keeps them
reviews.py answer ID approve|deny WHY  sends the signed answer to a question's callback URL
"""

import base64
import hashlib
import hmac
import http.server
import json
import sys
import time
import urllib.error
import urllib.request
import uuid

SECRET = "/run/reviews/secret"
INBOX = "/run/reviews/inbox.jsonl"
TOLERANCE = 300


def signature(message, timestamp, body):
    with open(SECRET) as file:
        key = base64.b64decode(file.read().strip().removeprefix("whsec_"))
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Inbox(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        genuine = self.is_genuine(body)
        if genuine:
            with open(INBOX, "ab") as file:
                file.write(body + b"\n")
        self.send_response(204 if genuine else 401)
        self.end_headers()

    def is_genuine(self, body):
        message, timestamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        right = signature(message, timestamp, body)
        fresh = abs(time.time() - int(timestamp)) < TOLERANCE
        return fresh and any(hmac.compare_digest(right, one) for one in self.headers["webhook-signature"].split())

    def log_message(self, *_):
        pass


def serve():
    open(INBOX, "w").close()
    http.server.ThreadingHTTPServer(("127.0.0.1", 8701), Inbox).serve_forever()


def answer(hold, decision, why):
    with open(INBOX) as file:
        questions = [message["data"] for message in map(json.loads, file) if message["type"].endswith(".created")]
    asked = [question for question in questions if question["hold"].startswith(hold)]
    if not asked:
        sys.exit(f"no question about hold {hold} has arrived")
    question = asked[-1]
    said = {key: question[key] for key in ("hold", "digest")}
    body = json.dumps({**said, "decision": decision, "who": "reviewer", "why": why}).encode()
    message, timestamp = f"msg_{uuid.uuid4().hex}", str(int(time.time()))
    headers = {
        "content-type": "application/json",
        "webhook-id": message,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(message, timestamp, body),
    }
    url = question["callback_url"]
    try:
        reply = urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30)
    except urllib.error.HTTPError as error:
        reply = error
    print(f"POST {url}\n{reply.status} {reply.read().decode()}")
    sys.exit(reply.status != 200)


{"serve": serve, "answer": answer}[sys.argv[1]](*sys.argv[2:])
