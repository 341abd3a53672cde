"""What holds for the text of every card, whoever shows it."""

import json
import sys
import unicodedata

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of characters that control, reorder or break."""


def messages():
    """What standard input has, an object a line: `sent` is a message, `plain` the same message about the word "plain",
    and `text` what a subject wrote in the place of that word. There is at least one."""
    lines = [json.loads(line) for line in sys.stdin]
    assert lines, "nothing to read"
    for line in lines:
        yield line["sent"], line["plain"], line["text"]


def check_visible(text):
    """No character in `text` is hidden, but for line breaks of our own."""
    found = {c for c in text if c != "\n" and unicodedata.category(c) in HIDDEN}
    assert not found, f"{found!r} in {text!r}"


def is_simple(text):
    """Whether a person should see `text` as it was written."""
    return text.isascii() and text.isprintable() and 0 < len(text) < 80 and "   " not in text


def only(found, known):
    """Nothing was `found` that is not `known`."""
    assert set(found) <= set(known), f"{set(found) - set(known)} is not of the template"
