"""Plays a server outside, which takes whatever it is sent. Logs every connection, with or without a request."""

import http.server

LOG = "/run/collector.log"


def log(line):
    with open(LOG, "a") as file:
        file.write(line + "\n")


class Collector(http.server.BaseHTTPRequestHandler):
    def setup(self):
        log(f"connection from {self.client_address[0]}")
        super().setup()

    def do_POST(self):
        length = int(self.headers["content-length"])
        log(f"received {len(self.rfile.read(length))} bytes")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


open(LOG, "w").close()
http.server.ThreadingHTTPServer(("192.0.2.10", 8080), Collector).serve_forever()
