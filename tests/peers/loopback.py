"""The other side of a channel, on this host: hears what Holdpoint posts, and posts to its listener.

By the standard library only, and without the proxies of the environment.
"""

import http.client
import json
import queue
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

PATIENCE = 20
"""Seconds until what does not come is missing."""


class Request(NamedTuple):
    """A request as it arrived, its headers in lower case."""

    method: str
    path: str
    headers: dict
    body: bytes


class Response(NamedTuple):
    """What came back, and after how many seconds."""

    status: int
    body: bytes
    seconds: float


def said(reply):
    """200 and `reply`: status, headers and body."""
    return 200, {"content-type": "application/json"}, json.dumps(reply).encode()


class Site:
    """Answers every request with what `answer` makes of it, as `said` does, and keeps them in order."""

    def __init__(self, answer):
        self._requests = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(answer))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _handler(self, answer):
        requests = self._requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                status, headers, reply = answer(request)
                requests.put(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        return Handler

    def meet(self):
        """Tells Holdpoint where this is; gives what Holdpoint tells in return."""
        print(f"http://127.0.0.1:{self._server.server_port}", flush=True)
        return json.loads(sys.stdin.readline())

    def next(self):
        """The next request."""
        return self._requests.get(timeout=PATIENCE)

    def is_quiet(self):
        """Whether all that has arrived was taken by `next`."""
        return self._requests.empty()


def post(url, body, headers):
    """Posts `body` to `url`."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    began = time.monotonic()
    connection.request("POST", parts.path, body, headers)
    response = connection.getresponse()
    text = response.read()
    return Response(response.status, text, time.monotonic() - began)
