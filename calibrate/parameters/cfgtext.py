"""Quote and split the strings and lists of ``.cfg`` files and command lines.

A value is bare, or in quotes, ``"..."`` or ``'...'``, inside which every character is literal:
ConfigObj has no escapes. Text with both kinds of quotes, or with line breaks, is triple-quoted.
Commas separate list items; a trailing comma marks a list of one item.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from calbatch.calibrate.errors import ParameterError

_PLAIN = re.compile(r"[A-Za-z0-9_.:/+-]+")
_WORDS = ("none", "n/a")  # which are no paths where a path is expected
_BRACKETS = {")": "(", "]": "[", "}": "{"}


class NotInFileError(ParameterError):
    """Raised for a value that a parameter file cannot hold."""


def quote(text: str) -> str:
    """Return a string in the syntax of a ``.cfg``.

    Raises
    ------
    NotInFileError
        If no quoting works, e.g. if the text has triple quotes of both kinds.
    """
    if _PLAIN.fullmatch(text):
        return text
    lines = "\n" in text
    for quote in ("'''", '"""') if lines else ('"', "'", "'''", '"""'):
        if quote not in text and not text.endswith(quote[0]):
            return f"{quote}{text}{quote}"
    raise NotInFileError("a parameter file cannot hold this mixture of quotes")


def quote_items(items: Sequence[str]) -> str:
    """Return a list of strings in the syntax of a ``.cfg``.

    Raises
    ------
    NotInFileError
        If an item has both kinds of quotes, or a line break.
    """
    return ", ".join(map(_quote_item, items)) + ","


def _quote_item(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    for quote in ('"', "'"):
        if quote not in text and "\n" not in text:
            return f"{quote}{text}{quote}"
    raise NotInFileError(
        f"a parameter file cannot hold the list item {text!r}: it has both kinds of quotes, "
        "or a line break"
    )


def split_items(text: str) -> list[str]:
    """Return the items of a comma-separated list.

    Commas inside quotes or brackets do not separate items. Quotes around a whole item are removed;
    empty items are omitted unless they are quoted.
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
    if quote or open_brackets:  # unbalanced quotes or brackets are literal
        yield from text[start:].split(",")
    else:
        yield text[start:]


def _unquote(part: str) -> str:
    quote = part[0]
    whole = len(part) > 1 and quote in "\"'" and part.find(quote, 1) == len(part) - 1
    return part[1:-1] if whole else part


def comment(text: str) -> str:
    """Return a text as a one-line comment of a ``.cfg``."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(["#", *words])


def show_value(value: Any) -> str:
    """Return a value for a message."""
    try:
        return f"{value!r:.200}"
    except ValueError:  # an integer of thousands of digits
        return f"a huge {type(value).__name__}"


def path_text(path: os.PathLike[Any]) -> str:
    """Return the text of a path, which is not taken for a word such as None."""
    text = os.fsdecode(path)
    return f".{os.sep}{text}" if text.strip().lower() in _WORDS else text
