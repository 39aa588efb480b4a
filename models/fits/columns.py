"""A table's columns as its header describes them: their units, and checks before they are read.

Source: FITS standard 4.0, sections 7.2 and 7.3 (TFORMn, TBCOLn, TUNITn, THEAP).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from calbatch.models.errors import FileError, format_count
from calbatch.models.fits.card_formats import unwritable_reason
from calbatch.models.fits.cards import HeaderKeywords
from calbatch.models.fits.hdu import Hdu
from calbatch.models.storage.files import open_decompressed
from calbatch.models.storage.memory import require_memory

_FORM = re.compile(r" *([0-9]*)([LXBIJKAEDCMPQ])([A-Za-z]?)")
_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16}
_WORDS = {"L": "bool", "B": "uint8", "I": "int16", "J": "int32", "K": "int64", "A": "text"}
_WORDS |= {"X": "bits", "E": "float32", "D": "float64", "C": "complex64", "M": "complex128"}
_OFFSETS = {"I": "32768", "J": "2147483648", "K": "9223372036854775808"}
_DESCRIPTORS: dict[str, np.dtype[Any]] = {"P": np.dtype(">i4"), "Q": np.dtype(">i8")}
_ASCII = re.compile(r" *[AIFED]([0-9]+)")


class _Column(NamedTuple):
    """A column's place in a row and, for variable-length cells, the types of its descriptors."""

    keyword: str
    start: int
    width: int
    descriptor: np.dtype[Any] | None = None
    item: int = 0


def describe_units(hdu: Hdu) -> dict[str, str]:
    """Return the unit of each column of a table by the column's name; values are not read.

    Parameters
    ----------
    hdu : Hdu
        A table. A column without a name that is text is left out. A unit that is missing, not text,
        or not allowed by FITS is "".
    """
    cards = hdu.keywords
    named = (_name_and_unit(cards, n) for n in range(1, cards.integer("TFIELDS") + 1))
    return {name: unit for name, unit in named if name}


def describe_columns(hdu: Hdu) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and unit of each column of a table; values are not read.

    Parameters
    ----------
    hdu : Hdu
        A table. The type is that before scaling, with the number of a cell's elements.
    """
    cards = hdu.keywords
    for number in range(1, cards.integer("TFIELDS") + 1):
        name, unit = _name_and_unit(cards, number)
        keywords = (f"TFORM{number}", f"TDIM{number}", f"TZERO{number}")
        kind = _describe_form(*map(cards.bare_text, keywords))
        yield name or cards.bare_text(f"TTYPE{number}"), kind, unit


def _name_and_unit(cards: HeaderKeywords, number: int) -> tuple[str, str]:
    name, unit = "", ""
    with contextlib.suppress(FileError):
        name = cards.text(f"TTYPE{number}")
    with contextlib.suppress(FileError):
        unit = cards.text(f"TUNIT{number}")
    return name, "" if unwritable_reason(unit) else unit


def _describe_form(form: str, lengths: str, zero: str) -> str:
    """Return a TFORM in words.

    Parameters
    ----------
    form, lengths, zero : str
        TFORM, TDIM (the lengths of the axes of a cell) and TZERO, which marks unsigned integers.
    """
    found = _FORM.fullmatch(re.sub(r"\(.*", "", form))
    if found is None:  # such as I10 in a table of text
        return form
    repeat, code, element = found.groups()
    kind = element if code in _DESCRIPTORS else code
    word = f"{'u' if zero == _OFFSETS.get(kind) else ''}{_WORDS.get(kind, kind)}"
    if code in _DESCRIPTORS:
        return f"{word} of any number"
    shape = lengths or (f"({repeat})" if repeat not in ("", "1") else "")
    return f"{word} {shape}".rstrip()


def require_full_rows(hdu: Hdu) -> None:
    """Raise an error if a table's columns do not fill its rows, as its values would be misread.

    Parameters
    ----------
    hdu : Hdu
        A table, of which only the header is read.

    Raises
    ------
    FileError
        If they do not; the message names the column, or states the total width.
    """
    cards, row = hdu.keywords, hdu.dtype.itemsize
    count = cards.integer("TFIELDS")
    if cards.text("XTENSION") == "TABLE":
        _require_columns_within(cards, count, row)
        return
    total = sum(column.width for column in _columns(cards, count))
    if total != row:
        raise cards.fault(
            f"the TFORM of its {format_count(count, 'column')} adds up to "
            f"{format_count(total, 'byte')}, but a row has NAXIS1 = {row}: its values cannot be "
            "separated; create the table again"
        )


def require_columns(hdu: Hdu) -> None:
    """Raise an error if a table's columns do not fill its rows, or cells lie outside the table.

    Parameters
    ----------
    hdu : Hdu
        A table to be read as a whole.

    Raises
    ------
    FileError
        In either case, or if the table would not fit in memory.
    """
    require_full_rows(hdu)
    require_memory(hdu.stamp.path, hdu.data_size, f"reading {hdu.label} as a whole")
    cards = hdu.keywords
    if cards.text("XTENSION") == "TABLE":
        return
    for column in _columns(cards, cards.integer("TFIELDS")):
        if column.descriptor is not None and column.width:
            _require_heap(hdu, cards, column)


def _columns(cards: HeaderKeywords, count: int) -> Iterator[_Column]:
    start = 0
    for number in range(1, count + 1):
        column = _column(cards, f"TFORM{number}", start)
        start += column.width
        yield column


def _column(cards: HeaderKeywords, keyword: str, start: int) -> _Column:
    text = cards.text(keyword)
    found = _FORM.match(text)
    if found is None:
        raise cards.fault(f"{keyword} = {text!r:.40} is not the format of a column")
    repeat, code = int(found[1] or 1), found[2]
    if code in _DESCRIPTORS:
        item = _BYTES.get(found[3], 0)  # 0 for bits, of which eight are a byte
        kind = _DESCRIPTORS[code]
        return _Column(keyword, start, 2 * kind.itemsize * min(repeat, 1), kind, item)
    width = -(-repeat // 8) if code == "X" else repeat * _BYTES[code]
    return _Column(keyword, start, width)


def _require_columns_within(cards: HeaderKeywords, count: int, row_bytes: int) -> None:
    """Raise an error if a column of an ASCII table ends after its row; gaps are allowed."""
    for n in range(1, count + 1):
        text, start = cards.text(f"TFORM{n}"), cards.integer(f"TBCOL{n}")
        found = _ASCII.match(text)
        if found is None:
            raise cards.fault(f"TFORM{n} = {text!r:.40} is not the format of a column")
        end = start + int(found[1]) - 1
        if start < 1 or end > row_bytes:
            raise cards.fault(
                f"column {n} takes bytes {start} to {end} of a row by its TBCOL and TFORM, "
                f"but a row has NAXIS1 = {row_bytes}"
            )


def _require_heap(hdu: Hdu, cards: HeaderKeywords, column: _Column) -> None:
    """Raise an error if variable-length cells lie outside the table's heap."""
    assert column.descriptor is not None
    row, rows = hdu.dtype.itemsize, hdu.shape[0]
    heap = cards.integer("THEAP", row * rows)
    with open_decompressed(hdu.stamp) as read_at:
        table = np.frombuffer(read_at(hdu.data_offset, row * rows), np.uint8).reshape(rows, row)
    cells = np.ascontiguousarray(table[:, column.start : column.start + column.width])
    counts, places = cells.view(column.descriptor).astype(np.float64).T
    ends = places + counts * column.item
    if (counts < 0).any() or (places < 0).any() or (ends > hdu.data_size - heap).any():
        raise cards.fault(f"the column of {column.keyword} has cells that lie outside the table")
