"""Reads messages for Slack with slack_sdk: it understands all of them, they are within Slack's limits, and what a subject
wrote is text in them.

Limits: https://docs.slack.dev/reference/block-kit/blocks. slack_sdk checks those of a section's and a header's text, of a
button's label and value, of identities, and the number of a block's elements; the rest is checked here.
"""

import re

from slack_sdk.models.blocks import Block

from harmless import check_visible, is_simple, messages, only

BLOCKS = 50
CHARACTERS = 12_000
"""In all blocks; about 13,200 are refused."""
NOTIFICATION = 4_000

TYPES = {"header", "section", "context", "divider", "actions", "button", "static_select", "plain_text"}
KEYS = {"type", "text", "elements", "block_id", "action_id", "value", "style", "emoji", "placeholder", "options", "confirm", "url"}
"""All that a block may have: nothing that loads or mentions, no link but the button's to the page, and no `fields`."""
TYPELESS = [{"text", "value"}, {"title", "text", "confirm", "deny"}]
"""An option of a list, and what Slack asks back."""
PAGE = re.compile(r"https://review\.example/h/[0-9a-f]{16}")
NOTHING_ELSE = {"mrkdwn": False, "parse": "none", "link_names": False, "unfurl_links": False, "unfurl_media": False}


def check(message):
    """Slack would take `message` and show its text as text."""
    blocks = message["blocks"]
    # This validates, too.
    assert [Block.parse(block).to_dict() for block in blocks] == blocks, "slack_sdk reads something else than was sent"
    check_limits(message)
    assert {key: message[key] for key in NOTHING_ELSE} == NOTHING_ELSE
    only(message, {"channel", "ts", "text", "blocks", *NOTHING_ELSE})
    assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", message["text"]), message["text"]
    for part in parts(blocks):
        if "type" not in part:
            assert set(part) in TYPELESS, part
            continue
        only(part, KEYS)
        only([part["type"]], TYPES)
        if "url" in part:
            assert part["action_id"] == "review" and PAGE.fullmatch(part["url"]), part
        if part["type"] == "plain_text":
            assert part["emoji"] is False
            check_visible(part["text"])


def check_limits(message):
    """The limits that slack_sdk leaves to us."""
    everything = list(parts(message["blocks"]))
    texts = [part["text"] for part in everything if part.get("type") == "plain_text"]
    assert len(message["blocks"]) <= BLOCKS
    assert all(texts), "a text is empty"
    assert sum(map(len, texts)) <= CHARACTERS
    assert 0 < len(message["text"]) <= NOTIFICATION
    for name in ["block_id", "action_id"]:
        names = [part[name] for part in everything if name in part]
        assert len(names) == len(set(names)) and all(0 < len(name) <= 255 for name in names), names


def parts(value):
    """All objects in `value`."""
    if isinstance(value, list):
        for item in value:
            yield from parts(item)
    elif isinstance(value, dict):
        yield value
        yield from parts(list(value.values()))


def buttons(message):
    """The buttons by what they say."""
    return {part["text"]["text"]: part for part in parts(message["blocks"]) if part.get("type") == "button"}


def choices(message):
    """What can be chosen from the list beside the buttons: actions by what they say. Slack asks back before it sends one."""
    lists = [part for part in parts(message["blocks"]) if part.get("type") == "static_select"]
    assert all({"confirm", "placeholder"} <= set(part) for part in lists), lists
    action = lambda part, option: {"type": part["type"], "action_id": part["action_id"], "selected_option": option}
    return {option["text"]["text"]: action(part, option) for part in lists for option in part["options"]}


def facts(message):
    """The sections after the title: label and what follows it."""
    sections = [block["text"]["text"] for block in message["blocks"] if block["type"] == "section"][1:]
    return [section.split(":", 1) for section in sections]


def check_template(sent, plain, text):
    """`sent` is `plain` but for what a subject wrote."""
    cut = [fact for fact in facts(sent) if fact[0] == "Cut"]
    rest = [fact for fact in facts(sent) if fact not in cut]
    assert [label for label, _ in rest] == [label for label, _ in facts(plain)]
    assert sent["text"] == plain["text"], "a subject has written into the notification"
    expected = set(buttons(plain)) - ({"Approve"} if cut else set())
    assert set(buttons(sent)) == expected, "what is not whole has no Approve"
    assert set(choices(sent)) == (set() if cut else set(choices(plain))), "nor anything else that approves"
    for (label, said), (_, plainly) in zip(rest, facts(plain)):
        if plainly == " plain" and is_simple(text):
            assert said == f" {text}", f"{label}:{said}"


if __name__ == "__main__":
    for sent, plain, text in messages():
        check(sent)
        check_template(sent, plain, text)
