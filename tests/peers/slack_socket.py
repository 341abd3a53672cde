"""A Slack in Socket Mode, whose people click: slack_sdk makes the envelopes and says what acknowledges them, and websockets
is the other side of the connection.

Socket Mode: https://docs.slack.dev/apis/events-api/using-socket-mode.
"""

import json
import queue
import socket
import threading
import time
import uuid

from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from loopback import PATIENCE, Site, said
from slack_messages import buttons, check, choices
from slack_workspace import SECONDS, TS, check_told, click, with_value


class Connection:
    """A WebSocket that Holdpoint has opened, and what comes by it."""

    def __init__(self, opened):
        self._socket = opened
        self._heard = queue.Queue()
        self.closed = threading.Event()
        self.send({"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}})

    def listen(self):
        """Until it is closed."""
        try:
            for message in self._socket:
                self._heard.put(message)
        except ConnectionClosed:
            pass
        self.closed.set()

    def send(self, message):
        self._socket.send(json.dumps(message))

    def click(self, payload):
        """Holdpoint acknowledges the click in time, and says nothing else."""
        request = SocketModeRequest(type="interactive", envelope_id=str(uuid.uuid4()), payload=payload)
        began = time.monotonic()
        self.send(request.to_dict() | {"accepts_response_payload": request.accepts_response_payload})
        acknowledged = json.loads(self._heard.get(timeout=PATIENCE))
        assert time.monotonic() - began < SECONDS
        assert acknowledged == SocketModeResponse(envelope_id=request.envelope_id).to_dict(), acknowledged

    def announce_end(self, reason):
        """Says that Slack will close this one."""
        self.send({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}})

    def end(self):
        """Closes it, as Slack does after that."""
        self._socket.close()
        assert self.closed.wait(PATIENCE)

    def drop(self):
        """It is gone, without a word."""
        self._socket.socket.shutdown(socket.SHUT_RDWR)
        assert self.closed.wait(PATIENCE)

    def is_quiet(self):
        return self._heard.empty()


class Office:
    """Slack, and Holdpoint as it has introduced itself."""

    def __init__(self):
        self._opened = queue.Queue()
        self._sockets = serve(self._connected, "127.0.0.1", 0)
        port = self._sockets.socket.getsockname()[1]
        threading.Thread(target=self._sockets.serve_forever, daemon=True).start()
        opens = {"ok": True, "url": f"ws://127.0.0.1:{port}/link/?ticket=1"}
        posts = {"ok": True, "channel": "C1", "ts": TS}
        self.site = Site(lambda request: said(opens if request.path == "/api/apps.connections.open" else posts))
        self.holdpoint = self.site.meet()

    def _connected(self, opened):
        connection = Connection(opened)
        self._opened.put(connection)
        connection.listen()

    def called(self, method):
        """The arguments of the next call, which is of `method`, with the token for that."""
        request = self.site.next()
        assert request.path == f"/api/{method}", request.path
        token = self.holdpoint["app_token" if method == "apps.connections.open" else "token"]
        assert request.headers["authorization"] == f"Bearer {token}"
        return json.loads(request.body)

    def connection(self):
        """The next one that Holdpoint opens."""
        self.called("apps.connections.open")
        return self._opened.get(timeout=PATIENCE)

    def is_quiet(self):
        """Whether there is nothing that has not been looked at."""
        return self.site.is_quiet() and self._opened.empty()


def refused(office, connection, asked):
    """What is acknowledged and does not count, and who is told."""
    approve, deny = buttons(asked)["Approve"], buttons(asked)["Deny"]
    longer = choices(asked)["this tree until it ends"]
    for bad in [click(deny, conversation="C2"), click(deny | {"value": "approve"}), click(with_value(longer, scope="host"))]:
        connection.click(bad)
    for user, team in [("U2", "T1"), ("U1", "T2")]:
        connection.click(click(deny, user, team))
        check_told(office, user, f"no reviewer in the policy is Slack's user {team}/{user}")
    for forged, why in [
        (with_value(approve, digest="0" * 64), "wrong digest: this is not what is held"),
        (with_value(approve, hold="0000000000000008"), "unknown hold"),
        (with_value(longer, scope="24h"), "this rule does not offer that scope; it offers: once, process, tree, 30m"),
    ]:
        connection.click(click(forged))
        check_told(office, "U1", why)


def main():
    office = Office()
    first = office.connection()
    print("connected", flush=True)
    asked = office.called("chat.postMessage")
    check(asked)
    refused(office, first, asked)
    first.announce_end("warning")
    second = office.connection()
    assert not first.closed.is_set(), "the next one is there before this one ends"
    deny = buttons(asked)["Deny"]
    first.click(click(deny, user="U3"))
    check_told(office, "U3", "no reviewer in the policy is Slack's user T1/U3")
    second.announce_end("refresh_requested")
    third = office.connection()
    assert not second.closed.is_set(), "likewise"
    first.end()
    third.drop()
    fourth = office.connection()
    assert not second.closed.is_set()
    approve = click(choices(asked)["this tree until it ends"])
    fourth.click(approve)
    told = office.called("chat.update")
    check(told)
    assert (told["channel"], told["ts"], buttons(told), choices(told)) == ("C1", TS, {}, {})
    fourth.click(approve)
    second.click(approve)
    second.end()
    fourth.click(click(deny, user="U4"))
    check_told(office, "U4", "no reviewer in the policy is Slack's user T1/U4")
    assert office.is_quiet() and fourth.is_quiet()


if __name__ == "__main__":
    main()
