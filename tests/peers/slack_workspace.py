"""A Slack whose people click: slack_sdk reads what Holdpoint posts and signs what Slack would send.

Interactions: https://docs.slack.dev/reference/interaction-payloads/block_actions-payload.
"""

import json
import time
from urllib.parse import urlencode

from slack_sdk.signature import SignatureVerifier

from loopback import Site, post, said
from slack_messages import buttons, check, choices

SECONDS = 3
"""What Slack waits for an answer."""
TS = "1503435956.000247"
NOBODY_KNOWS = "0123456789abcdef0123456789abcdef"


class Workspace:
    """Slack, and Holdpoint as it has introduced itself."""

    def __init__(self):
        self.site = Site(lambda _: said({"ok": True, "channel": "C1", "ts": TS}))
        self.holdpoint = self.site.meet()

    def called(self, method):
        """The arguments of the next call, which is of `method`."""
        request = self.site.next()
        assert request.path == f"/api/{method}", request.path
        assert request.headers["authorization"] == f"Bearer {self.holdpoint['token']}"
        return json.loads(request.body)

    def signed(self, click, secret=None, age=0):
        """Headers and body of a click that happened `age` seconds ago."""
        body = urlencode({"payload": json.dumps(click)})
        stamp = str(int(time.time()) - age)
        signature = SignatureVerifier(secret or self.holdpoint["secret"]).generate_signature(timestamp=stamp, body=body)
        headers = {"x-slack-request-timestamp": stamp, "x-slack-signature": signature}
        return body, headers | {"content-type": "application/x-www-form-urlencoded"}

    def send(self, body, headers):
        """What Holdpoint answers to it, in time and without a word."""
        response = post(self.holdpoint["listener"], body, headers)
        assert response.seconds < SECONDS, f"{response.seconds:.1f} s"
        assert response.body == b""
        return response.status

    def click(self, click, **how):
        """The status of a click."""
        return self.send(*self.signed(click, **how))


def check_told(slack, user, why):
    """Holdpoint has told `user` alone why it does not count."""
    told = slack.called("chat.postEphemeral")
    assert told == {"channel": "C1", "user": user, "text": f"Your answer does not count: {why}."}, told


def click(button, user="U1", team="T1", conversation="C1"):
    """A click on `button` as Slack describes it."""
    return {
        "type": "block_actions",
        "user": {"id": user, "username": "someone", "team_id": team},
        "team": {"id": team, "domain": "example"},
        "api_app_id": "A1",
        "trigger_id": "12466734323.1395872398",
        "container": {"type": "message", "message_ts": TS, "channel_id": conversation, "is_ephemeral": False},
        "channel": {"id": conversation, "name": "approvals"},
        "response_url": "https://hooks.slack.com/actions/T1/1/x",
        "actions": [button | {"action_ts": "1503435957.111111"}],
    }


def with_value(button, **changed):
    """`button`, or a choice, saying something else."""
    if "selected_option" in button:
        return button | {"selected_option": with_value(button["selected_option"], **changed)}
    return button | {"value": json.dumps(json.loads(button["value"]) | changed)}


def refused(slack, asked):
    """What does not count, and who is told."""
    approve, deny = buttons(asked)["Approve"], buttons(asked)["Deny"]
    assert slack.click(click(deny), secret=NOBODY_KNOWS) == 401
    assert slack.click(click(deny), age=400) == 401
    assert slack.click(click(deny), age=-400) == 401
    body, headers = slack.signed(click(approve))
    assert slack.send(body.replace("holdpoint_approve", "holdpoint_deny"), headers) == 401
    assert slack.click(click(deny, conversation="C2")) == 400
    assert slack.click(click(deny | {"value": "approve"})) == 400
    assert slack.click(click(with_value(approve, by="alice"))) == 400
    for user, team in [("U2", "T1"), ("U1", "T2")]:
        assert slack.click(click(deny, user, team)) == 200
        check_told(slack, user, f"no reviewer in the policy is Slack's user {team}/{user}")
    assert slack.click(click(with_value(approve, digest="0" * 64))) == 200
    check_told(slack, "U1", "wrong digest: this is not what is held")
    assert slack.click(click(with_value(approve, hold="0000000000000008"))) == 200
    check_told(slack, "U1", "unknown hold")
    longer = choices(asked)["this tree until it ends"]
    assert slack.click(click(with_value(longer, scope="host"))) == 400
    assert slack.click(click(with_value(longer, scope="24h"))) == 200
    check_told(slack, "U1", "this rule does not offer that scope; it offers: once, process, tree, 30m")


def main():
    slack = Workspace()
    asked = slack.called("chat.postMessage")
    check(asked)
    refused(slack, asked)
    body, headers = slack.signed(click(choices(asked)["this tree until it ends"]))
    assert slack.send(body, headers) == 200
    assert slack.send(body, headers) == 401, "replayed"
    told = slack.called("chat.update")
    check(told)
    assert (told["channel"], told["ts"], buttons(told)) == ("C1", TS, {})
    assert slack.site.is_quiet()


if __name__ == "__main__":
    main()
