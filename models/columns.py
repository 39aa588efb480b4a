"""Whether the columns of a table fill its rows, by the header alone.

Source: FITS standard 4.0, sections 7.2 and 7.3 (TFORMn, TBCOLn).
"""

import re

from calbatch.models.cards import Cards

MOST_COLUMNS = 999
"""That a table may have, by the standard."""

_WIDTHS = {
    **{"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4},
    **{"K": 8, "D": 8, "C": 8, "P": 8, "M": 16, "Q": 16},
}
_BINARY = re.compile(r"(\d*)([A-Z])")
_ASCII = re.compile(r"[AIFED](\d+)")


def require_full_rows(cards: Cards, row_bytes: int) -> None:
    """Refuse a table whose columns are not as wide as its rows: all its values would be misread.

    Parameters
    ----------
    cards : Cards
        The table's header.
    row_bytes : int
        The length of a row (NAXIS1).

    Raises
    ------
    FileError
        Naming what the columns add up to, or a format that there is not.
    """
    count = cards.integer("TFIELDS")
    if not 0 <= count <= MOST_COLUMNS:
        raise cards.fault(f"TFIELDS = {count} is not between 0 and {MOST_COLUMNS}")
    if cards.text("XTENSION") == "TABLE":
        _require_columns_within(cards, count, row_bytes)
        return
    total = sum(_width(cards, f"TFORM{n}") for n in range(1, count + 1))
    if total != row_bytes:
        raise cards.fault(
            f"its {count} columns take {total} bytes by their TFORM, a row has NAXIS1 = "
            f"{row_bytes}: its values cannot be told apart; make the table anew"
        )


def _width(cards: Cards, keyword: str) -> int:
    """Return how many bytes a column of a binary table takes in a row."""
    text = cards.text(keyword).strip()
    found = _BINARY.match(text)
    if found is None or (found[2] != "X" and found[2] not in _WIDTHS):
        raise cards.fault(f"{keyword} = {text!r} is no format of a column")
    repeat = int(found[1] or 1)
    return -(-repeat // 8) if found[2] == "X" else repeat * _WIDTHS[found[2]]


def _require_columns_within(cards: Cards, count: int, row_bytes: int) -> None:
    """Refuse a column of an ASCII table that ends behind the row; between columns may be gaps."""
    for n in range(1, count + 1):
        text, start = cards.text(f"TFORM{n}").strip(), cards.integer(f"TBCOL{n}")
        found = _ASCII.match(text)
        if found is None:
            raise cards.fault(f"TFORM{n} = {text!r} is no format of a column")
        end = start + int(found[1]) - 1
        if start < 1 or end > row_bytes:
            raise cards.fault(
                f"column {n} takes bytes {start} to {end} of a row by its TBCOL and TFORM, a row "
                f"has NAXIS1 = {row_bytes}"
            )
