"""The columns of a binary table, checked before anything is allocated for what they claim.

Source for the rules: FITS standard 4.0, section 7.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from calbatch.models.cards import Cards
from calbatch.models.errors import FileError
from calbatch.models.files import reading
from calbatch.models.hdu import Hdu
from calbatch.models.memory import require_memory

_FORM = re.compile(r" *([0-9]*)([LXBIJKAEDCMPQ])([A-Za-z]?)")
_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16}
_DESCRIPTORS: dict[str, np.dtype[Any]] = {"P": np.dtype(">i4"), "Q": np.dtype(">i8")}


class _Column(NamedTuple):
    """A column's place in a row; of one with cells of varying length, what they are made of."""

    keyword: str
    start: int
    width: int
    descriptor: np.dtype[Any] | None = None
    item: int = 0


def require_columns(hdu: Hdu) -> None:
    """Refuse a binary table whose columns claim more than its rows, or its heap, can hold.

    Parameters
    ----------
    hdu : Hdu
        A table; in ASCII tables, columns are places in a row's text, and nothing is checked.

    Raises
    ------
    FileError
        Names the column.
    """
    require_memory(hdu.stamp.path, hdu.data_size, f"{hdu.label}, a table read whole,")
    cards = Cards(hdu.stamp.path, hdu.index, hdu.raw_header)
    if cards.text("XTENSION") == "TABLE":
        return
    for column in _columns(cards, hdu.dtype.itemsize):
        if column.descriptor is not None and column.width:
            _require_heap(hdu, cards, column)


def _columns(cards: Cards, row: int) -> Iterator[_Column]:
    start = 0
    for number in range(1, cards.integer("TFIELDS") + 1):
        column = _column(cards, f"TFORM{number}", start)
        start += column.width
        if start > row:
            raise _fault(cards, column, f"ends at byte {start} of rows of {row} bytes")
        yield column


def _column(cards: Cards, keyword: str, start: int) -> _Column:
    text = cards.text(keyword)
    found = _FORM.match(text)
    if found is None:
        raise cards.fault(f"{keyword} = {text!r:.40} is not the format of a column")
    repeat, code = int(found[1] or 1), found[2]
    if code in _DESCRIPTORS:
        item = _BYTES.get(found[3], 0)  # of bits, eight are a byte
        kind = _DESCRIPTORS[code]
        return _Column(keyword, start, 2 * kind.itemsize * min(repeat, 1), kind, item)
    width = -(-repeat // 8) if code == "X" else repeat * _BYTES[code]
    return _Column(keyword, start, width)


def _require_heap(hdu: Hdu, cards: Cards, column: _Column) -> None:
    """Refuse cells of varying length that lie outside the table's heap."""
    assert column.descriptor is not None
    row, rows = hdu.dtype.itemsize, hdu.shape[0]
    heap = cards.integer("THEAP", row * rows)
    with reading(hdu.stamp) as read_at:
        table = np.frombuffer(read_at(hdu.data_offset, row * rows), np.uint8).reshape(rows, row)
    cells = np.ascontiguousarray(table[:, column.start : column.start + column.width])
    counts, places = cells.view(column.descriptor).astype(np.float64).T
    ends = places + counts * column.item
    if (counts < 0).any() or (places < 0).any() or (ends > hdu.data_size - heap).any():
        raise _fault(cards, column, "has cells that lie outside the table")


def _fault(cards: Cards, column: _Column, what: str) -> FileError:
    return cards.fault(f"the column of {column.keyword} {what}")
