"""A reviewer's side by the library of Standard Webhooks: it verifies what Holdpoint sends, and signs what it answers."""

import base64
import json
from datetime import datetime, timedelta, timezone

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from loopback import Site, post, said

ANOTHER = "whsec_" + base64.b64encode(bytes(32)).decode()


class Reviewer:
    """The receiver, and Holdpoint as it has introduced itself."""

    def __init__(self):
        self.site = Site(lambda _: said({}))
        self.webhook = Webhook(self.site.meet()["secret"])

    def message(self):
        """The next message, whose signature is right for these bytes and this secret only."""
        request = self.site.next()
        check_refused(Webhook(ANOTHER), request.body, request.headers)
        check_refused(self.webhook, request.body.replace(b"holdpoint.request", b"holdpoint.Request"), request.headers)
        return self.webhook.verify(request.body, request.headers)

    def answer(self, question, webhook=None, tampered=False, age=0, **changed):
        """The status of an answer to `question`."""
        data = question["data"]
        answer = {"hold": data["hold"], "digest": data["digest"], "decision": "approve", "who": "alice"} | changed
        body, at = json.dumps(answer), datetime.now(timezone.utc) - timedelta(seconds=age)
        signature = (webhook or self.webhook).sign("msg_1", at, body)
        stamp = str(int(at.timestamp()))
        headers = {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}
        if tampered:
            body = body.replace("approve", "deny")
        return post(data["callback_url"], body, headers).status


def check_refused(webhook, body, headers):
    """The library does not take it."""
    try:
        webhook.verify(body, headers)
    except WebhookVerificationError:
        return
    raise AssertionError("the library takes everything")


def main():
    reviewer = Reviewer()
    question = reviewer.message()
    assert question["type"] == "holdpoint.request.created"
    assert reviewer.answer(question, tampered=True) == 401
    assert reviewer.answer(question, webhook=Webhook(ANOTHER)) == 401
    assert reviewer.answer(question, age=400) == 401
    assert reviewer.answer(question, age=-400) == 401
    assert reviewer.answer(question, digest="0" * 64) == 422
    assert reviewer.answer(question, who="mallory") == 403
    assert reviewer.answer(question, why="as agreed") == 200
    assert reviewer.answer(question) == 200, "it repeats what was decided"
    assert reviewer.answer(question, decision="deny") == 409
    ended = reviewer.message()
    assert ended["type"] == "holdpoint.request.ended"
    assert (ended["data"]["state"], ended["data"]["by"]) == ("approved", "alice")
    assert reviewer.site.is_quiet()


if __name__ == "__main__":
    main()
