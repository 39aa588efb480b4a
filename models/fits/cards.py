"""FITS header cards, read fast and written within their 80 columns.

astropy parses a card in 33 µs, and a ramp has 300 of them: 10 ms an exposure, before anything else
is done with it. Cards in the standard's ordinary forms are parsed here in 2 µs; every other goes
to astropy.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from astropy.io import fits

from calbatch.models.errors import ModelError

#: Keyword, value (None where the card has none) and comment.
Card = tuple[str, Any, str]


@dataclass(frozen=True)
class Unreadable:
    """Stands for a card's value that is none: NaN, or text whose closing quote is missing.

    Attributes
    ----------
    text : str
        What stands in the card.
    """

    text: str


CARD_LENGTH = 80
COMMENTARY = ("", "COMMENT", "HISTORY")
COMMENTARY_LENGTH = CARD_LENGTH - 8

_VALUE = re.compile(
    r" *(?:'((?:[^']|'')*)'"  # text
    r"|([TF])"
    r"|([+-]?\d+)"
    r"|([+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?)"
    r")? *(?:/(.*))?"
)

# What describes the array or table below the header: the writer makes these anew.
_STRUCTURAL = re.compile(
    "|".join(
        (
            "SIMPLE|XTENSION|BITPIX|NAXIS[0-9]*|EXTEND|PCOUNT|GCOUNT|GROUPS|BLOCKED|END",
            "BSCALE|BZERO|BLANK|DATAMIN|DATAMAX|CHECKSUM|DATASUM|EXTNAME|EXTVER|EXTLEVEL",
            "TFIELDS|THEAP|T(?:BCOL|DIM|FORM|TYPE|UNIT|SCAL|ZERO|NULL|DISP)[0-9]+",
            "(?:PTYPE|PSCAL|PZERO)[0-9]+",
            "Z(?:IMAGE|TABLE|CMPTYPE|BITPIX|NAXIS[0-9]*|TILE[0-9]+|NAME[0-9]+|VAL[0-9]+|FORM[0-9]+)",
            "Z(?:SIMPLE|TENSION|EXTEND|BLOCKED|PCOUNT|GCOUNT|HECKSUM|DATASUM|QUANTIZ|DITHER0)",
            "Z(?:BLANK|SCALE|ZERO|MASKCMP|THEAP|CTYP[0-9]+)",
        )
    )
)


@lru_cache(maxsize=4096)
def is_structural(keyword: str) -> bool:
    """Return whether a keyword describes the array or table below it, not the data's meaning."""
    return _STRUCTURAL.fullmatch(keyword) is not None


def read_cards(header: fits.Header | str) -> Iterator[Card]:
    """Iterate over the cards of a header.

    Parameters
    ----------
    header : astropy.io.fits.Header or str
        The header, or better its text: cards of 80 characters, up to END.

    Yields
    ------
    tuple
        Keyword, value and comment. Long texts are put together from their CONTINUE cards. The
        value is `Unreadable` where FITS has no such value.

    Raises
    ------
    ModelError
        At a card whose very keyword makes no sense.
    """
    if isinstance(header, str):
        yield from map(_parse, _split(header))
    else:
        yield from map(_from_astropy, header.cards)


def _split(text: str) -> Iterator[str]:
    pending = ""
    for start in range(0, len(text), CARD_LENGTH):
        image = text[start : start + CARD_LENGTH]
        if image.startswith("CONTINUE"):
            pending += image
            continue
        if pending:
            yield pending
        if image[:8] == "END     " or image[:8] == "END":
            return
        pending = image
    if pending:
        yield pending


def _parse(image: str) -> Card:
    keyword = image[:8].rstrip().upper()
    if keyword in COMMENTARY:
        return keyword, image[8:].rstrip(), ""
    if len(image) == CARD_LENGTH and image[8:10] == "= ":
        match = _VALUE.fullmatch(image, 10)
        if match is not None:
            text, logical, integer, number, comment = match.groups()
            comment = comment.strip() if comment else ""
            if text is not None:
                return keyword, text.replace("''", "'").rstrip(), comment
            if logical is not None:
                return keyword, logical == "T", comment
            if integer is not None:
                return keyword, int(integer), comment
            if number is not None:
                value = float(number.replace("D", "E"))
                return keyword, value if math.isfinite(value) else Unreadable(number), comment
            return keyword, None, comment
    return _from_astropy(fits.Card.fromstring(image), image)


def _from_astropy(card: fits.Card, image: str | None = None) -> Card:
    try:
        keyword = card.keyword
    except (fits.VerifyError, ValueError) as error:
        shown = str(error).partition("\n")[0]
        raise ModelError(f"cannot read a header card: {shown}") from error
    try:
        value, comment = card.value, card.comment
    except (fits.VerifyError, ValueError):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy makes text of the value, and says so
            _, _, text = (image or card.image).partition("=")
        return keyword, Unreadable(text.strip()), ""
    return keyword, None if isinstance(value, fits.card.Undefined) else value, comment


def unwritable(value: Any) -> str | None:
    """Return why a value cannot stand in a FITS header, or None where it can."""
    if isinstance(value, str):
        fine = printable(value) == value
        return None if fine else "FITS headers hold printable ASCII characters only"
    if isinstance(value, float) and not math.isfinite(value):
        return "FITS headers hold finite numbers only"
    if isinstance(value, (bool, int, float)):
        return None
    return f"FITS headers cannot hold a {type(value).__name__}"


def fitted_comment(value: Any, comment: str) -> str:
    """Return as much of a comment as fits into the card of a value."""
    if isinstance(value, str):
        text = value.replace("'", "''")
        length = max(20, len(f"'{text:8}'"))
        if length > CARD_LENGTH - 10:
            return comment  # a text that goes on in CONTINUE cards, and its comment with it
    else:
        length = 20
    room = CARD_LENGTH - 10 - length - 3
    return comment[: max(0, room)].rstrip()


def printable(text: str) -> str:
    """Return a text with a question mark for every character that FITS headers cannot hold."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def commentary(keyword: str, text: str) -> list[Card]:
    """Return a text as COMMENT or HISTORY cards, broken where a card ends."""
    cards: list[Card] = []
    for line in text.splitlines() or [""]:
        starts = range(0, max(1, len(line)), COMMENTARY_LENGTH)
        cards += [(keyword, printable(line[s : s + COMMENTARY_LENGTH]), "") for s in starts]
    return cards
