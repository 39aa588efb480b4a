"""Reading what selection needs from many files' headers, fast.

Only the header blocks of a FITS file are read. As the official client does, a keyword is taken
from the first of the file's headers that has it; reading ends when every wanted one was found.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, cast

from astropy.io.fits import Card

from calbatch.crds_client.asdf_trees import flatten, read_tree
from calbatch.crds_client.errors import CrdsError, HeaderError, convert_errors

_BLOCK = 2880
_CARD = 80
_MAX_BLOCKS = 20_000
"""Of one header: more is no FITS file."""
_MAX_AXES = 999

Values = dict[str, Any]


def read_selection_header(path: str | os.PathLike[str], wanted: Collection[str]) -> Values:
    """Read keywords from a FITS file, which may be gzipped, or all plain values of an ASDF file.

    Parameters
    ----------
    path : path
        The file.
    wanted : collection of str
        FITS keywords, in upper case; other names are ignored.

    Returns
    -------
    dict
        Keyword to value, of those that are there.

    Raises
    ------
    HeaderError
        If the file is not there or neither; starts with its path.
    """
    with convert_errors(HeaderError, path), Path(path).open("rb") as stream:
        if stream.read(2) == b"\x1f\x8b":
            with gzip.open(path, "rb") as unpacked:
                return _read(cast(IO[bytes], unpacked), wanted)
        stream.seek(0)
        if stream.read(6) == b"#ASDF ":
            return flatten(read_tree(Path(path)))
        stream.seek(0)
        return _read(stream, wanted)


def read_selection_headers(
    paths: Iterable[str | os.PathLike[str]], wanted: Collection[str]
) -> tuple[dict[str, Values], dict[str, str]]:
    """Read many files; give headers by path, and the faults of files that have none."""
    headers, faults = {}, {}
    for path in paths:
        try:
            headers[str(path)] = read_selection_header(path, wanted)
        except CrdsError as error:
            faults[str(path)] = str(error)
    return headers, faults


def _read(stream: IO[bytes], wanted: Collection[str]) -> Values:
    names = {name.encode("ascii", "replace").ljust(8) for name in wanted if len(name) <= 8}
    structure = {b"XTENSION", b"BITPIX  ", b"NAXIS   ", b"PCOUNT  ", b"GCOUNT  "}
    found: Values = {}
    for number in range(_MAX_BLOCKS):
        cards = _header(stream, first=number == 0)
        if cards is None:
            break
        sizes: Values = {}
        for card in cards:
            keyword = card[:8]
            if keyword in names:
                found.setdefault(keyword.decode().strip(), _value(card))
            if keyword in structure or keyword.startswith(b"NAXIS"):
                sizes[keyword.decode("ascii", "replace").strip()] = _value(card)
        if len(found) == len(names):
            break
        stream.seek(_padded(_data_size(sizes)), os.SEEK_CUR)
    return found


def _header(stream: IO[bytes], *, first: bool) -> list[bytes] | None:
    """Give the cards of the next header; None at the end of the file."""
    cards: list[bytes] = []
    for _ in range(_MAX_BLOCKS):
        block = stream.read(_BLOCK)
        if len(block) < _BLOCK:
            if not first and not cards:
                return None
            raise ValueError("the file ends within a header: not a whole FITS file")
        if not cards and not block.startswith(b"SIMPLE  =" if first else b"XTENSION="):
            if first:
                raise ValueError("not a FITS file: it does not begin with SIMPLE")
            return None
        for start in range(0, _BLOCK, _CARD):
            card = block[start : start + _CARD]
            if card.startswith(b"END     "):
                return cards
            cards.append(card)
    raise ValueError("a header without END")


def _value(card: bytes) -> Any:
    """Give a card's value; text, numbers and T or F as they are mostly written, fast."""
    text = card[8:].decode("ascii", "replace")
    if not text.startswith("= "):
        return None
    field = text[2:].lstrip()
    if field.startswith("'"):
        end = field.find("'", 1)
        if end > 0 and field[end + 1 : end + 2] != "'":
            return field[1:end].rstrip()
    elif (word := field.split("/", 1)[0].strip()) in ("T", "F"):
        return word == "T"
    elif word.lstrip("+-").isdigit():
        return int(word)
    value = Card.fromstring(card).value
    return value if isinstance(value, str | int | float | bool) else None


def _data_size(sizes: Mapping[str, Any]) -> int:
    axes = int(sizes.get("NAXIS") or 0)
    if not 0 <= axes <= _MAX_AXES:
        raise ValueError(f"NAXIS = {axes}")
    if axes == 0:
        return 0
    lengths = [int(sizes.get(f"NAXIS{axis}") or 0) for axis in range(1, axes + 1)]
    count = 1
    for length in lengths:
        count *= length
    size = abs(int(sizes.get("BITPIX") or 8)) // 8
    size *= int(sizes.get("GCOUNT") or 1) * (int(sizes.get("PCOUNT") or 0) + count)
    if size < 0 or size > 2**60:
        raise ValueError("a header states an impossible size")
    return size


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
