"""Texts and lists in the form that a ``.cfg`` has them, and that a command line takes.

A value is plain, or in quotes, ``"..."`` or ``'...'``, within which every character stands for
itself: ConfigObj knows no escapes. A text with quotes of both kinds, or with line breaks, is in
three quotes. Items of a list are separated by commas, and a comma at the end tells a list of one
item from a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from calbatch.calibrate.errors import ParameterError

_PLAIN = re.compile(r"[A-Za-z0-9_.:/+-]+")
_BRACKETS = {")": "(", "]": "[", "}": "{"}


class NotInFileError(ParameterError):
    """A value that a parameter file cannot hold."""


def quote(text: str) -> str:
    """Return a text as a ``.cfg`` holds it.

    Raises
    ------
    NotInFileError
        When it cannot: it has three quotes in a row of both kinds, say.
    """
    if _PLAIN.fullmatch(text):
        return text
    lines = "\n" in text
    for quote in ("'''", '"""') if lines else ('"', "'", "'''", '"""'):
        if quote not in text and not text.endswith(quote[0]):
            return f"{quote}{text}{quote}"
    raise NotInFileError("a parameter file cannot hold this mixture of quotes")


def quote_items(items: Sequence[str]) -> str:
    """Return a list of texts as a ``.cfg`` holds it.

    Raises
    ------
    NotInFileError
        When it cannot: an item has quotes of both kinds, or a line break.
    """
    return ", ".join(map(_quote_item, items)) + ","


def _quote_item(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    for quote in ('"', "'"):
        if quote not in text and "\n" not in text:
            return f"{quote}{text}{quote}"
    raise NotInFileError(
        f"a parameter file cannot hold the item {text!r} of a list: it has quotes of both kinds, "
        "or a line break"
    )


def split_items(text: str) -> list[str]:
    """Return the items of a list that is given as one text.

    Commas within quotes or brackets do not separate. Quotes around a whole item are taken off;
    empty items are left out, unless they are in quotes.
    """
    parts = (part.strip() for part in _parts(text))
    return [_unquote(part) for part in parts if part]


def _parts(text: str) -> Iterator[str]:
    start, quote, open_brackets = 0, "", ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "([{":
            open_brackets += character
        elif open_brackets and _BRACKETS.get(character) == open_brackets[-1]:
            open_brackets = open_brackets[:-1]
        elif character == "," and not open_brackets:
            yield text[start:at]
            start = at + 1
    if quote or open_brackets:  # they do not come in pairs, and mean nothing
        yield from text[start:].split(",")
    else:
        yield text[start:]


def _unquote(part: str) -> str:
    quote = part[0]
    whole = len(part) > 1 and quote in "\"'" and part.find(quote, 1) == len(part) - 1
    return part[1:-1] if whole else part


def comment(text: str) -> str:
    """Return a text as the comment of a ``.cfg``, in one line whatever is in it."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(["#", *words])
