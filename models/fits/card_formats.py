"""FITS header cards as they are written: what they can hold, and their text.

astropy formats a card more slowly than all else that writes a header takes. The standard's ordinary
forms are formatted here, as astropy formats them; all others go to astropy.
"""

import math
import re
import warnings
from collections.abc import Iterable
from typing import Any

from calbatch.models.errors import ModelError, one_line
from calbatch.models.fits.cards import (
    CARD_LENGTH,
    COMMENTARY_LENGTH,
    Card,
    pad_length,
)

_KEYWORD = re.compile(r"(?!(?:COMMENT|HISTORY|CONTINUE|HIERARCH|END)$)[A-Z0-9_-]{1,8}")
_TEXT = re.compile(r"[ -~]*")
_QUOTE = "'"
_LONGEST_TEXT = 70  # with its quotes


def unwritable_reason(value: Any) -> str | None:
    """Return the reason why a FITS header cannot hold a value, or None if it can."""
    if isinstance(value, str):
        fine = replace_unprintable(value) == value
        return None if fine else "FITS headers hold printable ASCII characters only"
    if isinstance(value, float) and not math.isfinite(value):
        return "FITS headers hold finite numbers only"
    if isinstance(value, (bool, int, float)):
        return None
    return f"FITS headers cannot hold a {type(value).__name__}"


def cut_comment(value: Any, comment: str) -> str:
    """Return a comment, shortened to fit into the card of a value."""
    if isinstance(value, str):
        text = value.replace("'", "''")
        length = max(20, len(f"'{text:8}'"))
        if length > CARD_LENGTH - 10:
            return comment  # the text continues in CONTINUE cards, and its comment with it
    else:
        length = 20
    return comment[: max(0, CARD_LENGTH - 10 - length - 3)].rstrip()


def replace_unprintable(text: str) -> str:
    """Return text with a question mark for every character that FITS headers cannot hold."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def commentary(keyword: str, text: str) -> list[Card]:
    """Return text as COMMENT or HISTORY cards, split at the length of a card."""
    cards: list[Card] = []
    for line in text.splitlines() or [""]:
        starts = range(0, max(1, len(line)), COMMENTARY_LENGTH)
        pieces = [line[s : s + COMMENTARY_LENGTH] for s in starts]
        cards += [(keyword, replace_unprintable(piece), "") for piece in pieces]
    return cards


def format_header(where: str, cards: Iterable[Card]) -> bytes:
    """Return the blocks of a header with these cards.

    Raises
    ------
    ModelError
        If FITS cannot hold a card; ``where`` names the HDU.
    """
    return end_header("".join(format_card(where, card) for card in cards))


def end_header(cards: str) -> bytes:
    """Return the blocks of a header with these cards, which are formatted already."""
    text = cards + "END".ljust(CARD_LENGTH)
    return text.ljust(pad_length(len(text))).encode("ascii")


def format_card(where: str, card: Card) -> str:
    """Return the 80 characters of a card, or a multiple of 80 for a long string."""
    return _format_ordinary(*card) or _format_with_astropy(where, card)


def _format_with_astropy(where: str, card: Card) -> str:
    from astropy.io import fits
    from astropy.io.fits.verify import VerifyError, VerifyWarning

    keyword, value, _ = card
    try:
        with warnings.catch_warnings():
            # astropy shortens long comments, and writes long keywords as HIERARCH cards.
            warnings.simplefilter("ignore", VerifyWarning)
            return str(fits.Card(*card))
    except (ValueError, VerifyError) as error:
        raise ModelError(
            f"{where}: FITS cannot hold {keyword} = {value!r:.50}: {one_line(error)}"
        ) from error


def _format_ordinary(keyword: str, value: Any, comment: str) -> str | None:
    """Return an ordinary card, as most are, as astropy formats it but faster; None for others."""
    if keyword == comment == "" and type(value) is str:  # the title of a section
        is_title = len(value) <= COMMENTARY_LENGTH and _TEXT.fullmatch(value)
        return f"{'':8}{value}".ljust(CARD_LENGTH) if is_title else None
    text = _format_value(value)
    if text is None or not _KEYWORD.fullmatch(keyword):
        return None
    if comment != comment.strip() or not _TEXT.fullmatch(comment):
        return None
    card = f"{keyword:8}= {text:20}{' / ' if comment else ''}{comment}"
    return card.ljust(CARD_LENGTH)[:CARD_LENGTH]


def _format_value(value: Any) -> str | None:
    kind = type(value)
    if kind is bool:
        text = f"{'T' if value else 'F':>20}"
    elif kind is int:
        text = f"{value:>20}"
    elif kind is float and math.isfinite(value):
        text = f"{str(value).upper():>20}"
    elif kind is str and value and value[-1] != " " and _TEXT.fullmatch(value):
        text = f"'{value.replace(_QUOTE, 2 * _QUOTE):8}'"
        return text if len(text) <= _LONGEST_TEXT else None
    else:
        return None
    return text if len(text) == 20 else None
