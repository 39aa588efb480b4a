"""The few header cards that say how an HDU is laid out, read without parsing all the others."""

import math
import re
from collections.abc import Iterator

from calbatch.models.errors import FileError

CARD = 80
BLOCK = 2880

_INTEGER = re.compile(r" *([+-]?\d+) *(?:/|$)")
_NUMBER = re.compile(r" *([+-]?(?:\d+\.?\d*|\.\d+)(?:[EDed][+-]?\d+)?) *(?:/|$)")
_LOGICAL = re.compile(r" *([TF]) *(?:/|$)")
_TEXT = re.compile(r" *'((?:[^']|'')*)'")


def padded(size: int) -> int:
    """Return a size rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


_ASCII = bytes(range(0x80)) + b"?" * 0x80
_COMMENTARY = (b"        ", b"COMMENT ", b"HISTORY ", b"CONTINUE")


def ascii_only(raw: bytes) -> bytes:
    """Return a header with a question mark, as astropy has it, for every byte above 0x7F."""
    return raw if raw.isascii() else raw.translate(_ASCII)


def foreign_cards(raw: bytes) -> Iterator[str]:
    """Yield the keyword of each card of a header that has a byte above 0x7F."""
    if raw.isascii():
        return
    for at in range(0, len(raw), CARD):
        if not raw[at : at + CARD].isascii():
            yield ascii_only(raw[at : at + 8]).decode("ascii").strip()


def text_begins(card: bytes) -> int:
    """Return the column from which a card may hold free text: behind its keyword and ``=``."""
    return 8 if card[:8] in _COMMENTARY else 10


def label(index: int, name: str) -> str:
    """Return what messages call an HDU."""
    return f"HDU {index} ({name.strip()})" if name.strip() else f"HDU {index}"


class Cards:
    """A header's cards by keyword, the first one of each.

    Parameters
    ----------
    path : str
        The file, for messages.
    index : int
        The HDU's place in the file, for messages.
    raw : bytes
        The header, a multiple of 80 bytes; those that are not ASCII are read as question marks.
    """

    def __init__(self, path: str, index: int, raw: bytes) -> None:
        raw = ascii_only(raw)
        self.path = path
        self.index = index
        # Backwards, so that the first card of a keyword is the one that stays.
        self._places = {raw[at : at + 8]: at for at in range(len(raw) - CARD, -1, -CARD)}
        self._raw = raw

    def _content(self, keyword: str) -> str | None:
        """Return what follows the value indicator, or None if there is no such card."""
        at = self._places.get(keyword.ljust(8).encode())
        if at is None:
            return None
        if self._raw[at + 8 : at + 10] != b"= ":
            raise self.fault(f"keyword {keyword} has no value")
        return self._raw[at + 10 : at + CARD].decode("ascii")

    def fault(self, message: str) -> FileError:
        """Return an error about this header."""
        at = self._places.get(b"EXTNAME ", len(self._raw))
        name = _TEXT.match(self._raw[at + 10 : at + CARD].decode("ascii"))
        return FileError(self.path, f"{label(self.index, name[1] if name else '')}: {message}")

    def _match(self, keyword: str, pattern: re.Pattern[str], wanted: str) -> str | None:
        content = self._content(keyword)
        if content is None:
            return None
        found = pattern.match(content)
        if found is None:
            raise self.fault(f"{keyword} = {content.split('/')[0].strip()} is not {wanted}")
        return found[1]

    def integer(self, keyword: str, default: int | None = None) -> int:
        """Return an integer; without a default, its absence is an error."""
        found = self._match(keyword, _INTEGER, "an integer")
        if found is not None:
            return int(found)
        if default is None:
            raise self.fault(f"the required keyword {keyword} is missing")
        return default

    def number(self, keyword: str, default: float) -> float:
        """Return a number, FORTRAN's D exponents included; one beyond 64 bits is an error."""
        found = self._match(keyword, _NUMBER, "a number")
        value = default if found is None else float(found.upper().replace("D", "E"))
        if not math.isfinite(value):
            raise self.fault(f"{keyword} = {found} is too large a number")
        return value

    def logical(self, keyword: str) -> bool:
        """Return True for T; False for F and where there is no such card."""
        return self._match(keyword, _LOGICAL, "T or F") == "T"

    def text(self, keyword: str, default: str = "") -> str:
        """Return a string without its trailing blanks."""
        found = self._match(keyword, _TEXT, "a string")
        return default if found is None else found.replace("''", "'").rstrip()

    def bare(self, keyword: str) -> str:
        """Return a value as it is written, without quotes and blanks; "" where there is none."""
        content = self._content(keyword)
        return "" if content is None else content.split("/")[0].strip(" '")

    def __contains__(self, keyword: str) -> bool:
        return keyword.ljust(8).encode() in self._places
