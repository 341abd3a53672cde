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
    """A POST as it arrived, its headers in lower case."""

    path: str
    headers: dict
    body: bytes


class Response(NamedTuple):
    """What came back, and after how many seconds."""

    status: int
    body: bytes
    seconds: float


class Site:
    """Answers every POST with 200 and `reply`, and keeps them in order."""

    def __init__(self, reply):
        self._requests = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(json.dumps(reply).encode()))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _handler(self, reply):
        requests = self._requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                requests.put(Request(self.path, headers, body))
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        return Handler

    def meet(self):
        """Tells Holdpoint where this is; gives what Holdpoint tells in return."""
        print(f"http://127.0.0.1:{self._server.server_port}", flush=True)
        return json.loads(sys.stdin.readline())

    def next(self):
        """The next POST."""
        return self._requests.get(timeout=PATIENCE)

    def is_quiet(self):
        """Whether all that arrived was taken by `next`."""
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
