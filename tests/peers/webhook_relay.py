"""A reviewer's side that Holdpoint asks for answers, by the library of Standard Webhooks: it verifies each look, and signs what
it finds."""

import base64
import json
from datetime import datetime, timedelta, timezone

from standardwebhooks.webhooks import Webhook

from loopback import Site, said
from webhook_reviewer import ANOTHER, check_refused


class Relay:
    """Takes questions, and has an answer to each look."""

    def __init__(self):
        self.finds_nothing()
        self.site = Site(lambda request: self.found if request.method == "GET" else said({}))
        self.webhook = Webhook(self.site.meet()["secret"])

    def message(self):
        """The next message, which is signed."""
        request = self.site.next()
        assert request.method == "POST", request
        return self.webhook.verify(request.body, request.headers)

    def look(self, hold):
        """The next look at the decision, whose signature is right for this secret only."""
        request = self.site.next()
        assert (request.method, request.path, request.body) == ("GET", f"/decisions/{hold}", b""), request
        assert request.headers["prefer"] == "wait=30"
        self.webhook.verify(b"", request.headers, json_parse=False)
        check_refused(Webhook(ANOTHER), b"", request.headers)
        check_refused(self.webhook, b"{}", request.headers)

    def finds(self, question, webhook=None, age=0, signed=True, tampered=False, **changed):
        """What the looks after the next one find."""
        data = question["data"]
        answer = {"hold": data["hold"], "digest": data["digest"], "decision": "approve", "who": "alice"} | changed
        body, at = json.dumps(answer), datetime.now(timezone.utc) - timedelta(seconds=age)
        headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp()))}
        headers["webhook-signature"] = (webhook or self.webhook).sign("msg_1", at, body)
        if tampered:
            body = body.replace("approve", "deny")
        self.found = (200, headers if signed else {}, body.encode())

    def finds_nothing(self):
        self.found = (204, {}, b"")


def main():
    relay = Relay()
    question = relay.message()
    assert question["type"] == "holdpoint.request.created"
    assert "callback_url" not in question["data"] or question["data"]["callback_url"] is None
    hold = question["data"]["hold"]
    relay.look(hold)
    for bad in [{"signed": False}, {"webhook": Webhook(ANOTHER)}, {"tampered": True}, {"age": 400}, {"hold": "0" * 16}]:
        relay.finds(question, **bad)
        relay.look(hold)
        # So that the pauses after errors do not grow.
        relay.finds_nothing()
        relay.look(hold)
    relay.finds(question, who="mallory")
    relay.look(hold)
    relay.finds(question, why="as agreed")
    relay.look(hold)
    while (request := relay.site.next()).method == "GET":
        pass
    ended = relay.webhook.verify(request.body, request.headers)
    assert ended["type"] == "holdpoint.request.ended"
    assert (ended["data"]["state"], ended["data"]["by"]) == ("approved", "alice")
    assert relay.site.is_quiet()


if __name__ == "__main__":
    main()
