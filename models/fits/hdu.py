"""A header and data unit: shape, type and size as given by its header, checked.

Source: FITS standard 4.0, sections 4.4 and 10 (tile compression).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from calbatch.models.fits.astropy_hdu import open_astropy_hdu, read_header_text
from calbatch.models.fits.byteorder import bzero_of
from calbatch.models.fits.cards import (
    CARD_LENGTH,
    HeaderKeywords,
    hdu_label,
    pad_length,
    replace_foreign_bytes,
)
from calbatch.models.storage.stamps import Stamp

if TYPE_CHECKING:
    from astropy.io import fits

Kind = Literal["image", "table", "compressed", "other", "empty"]

_STORED = {
    bitpix: np.dtype(f">{kind}{abs(bitpix) // 8}")
    for bitpix, kind in ((8, "u"), (16, "i"), (32, "i"), (64, "i"), (-32, "f"), (-64, "f"))
}
_NATIVE = {bitpix: stored.newbyteorder("=") for bitpix, stored in _STORED.items()}
_TABLES = ("BINTABLE", "TABLE", "A3DTABLE")
_IMAGES = ("IMAGE", "IUEIMAGE")
_MOST_AXES = 999
_MOST_COLUMNS = 999
_MOST_BYTES = 2**63 - 1
_LONGEST_ROW = 2**31 - 1  # NumPy's limit for the row of a table
# Even a constant image has a descriptor for each of its tiles.
_BEST_COMPRESSION = 10_000
_SMALL = 1 << 20
_BLANK_CARD = b" " * CARD_LENGTH
_TEN_BLANK_CARDS = 10 * _BLANK_CARD
_UNSHARED = 8
"""The number of HDUs at the beginning of a file whose headers are kept whole, which is faster."""


class Pixels(NamedTuple):
    """The storage of an array's pixels.

    Attributes
    ----------
    dtype, stored : numpy.dtype
        Native type after decoding, and big-endian type in the file.
    bscale, bzero : float
        Scaling of the stored values.
    is_scaled : bool
        True if decoding requires arithmetic, other than the offsets of unsigned integers.
    """

    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    bscale: float = 1.0
    bzero: float = 0.0
    is_scaled: bool = False


_PLAIN = {bitpix: Pixels(_NATIVE[bitpix], stored) for bitpix, stored in _STORED.items()}


@dataclass(frozen=True, slots=True)
class Hdu:
    """A header and data unit of a file.

    A file may have thousands, so an HDU beyond the first few holds the cards of its header, most of
    which other HDUs share. Everything else is made from them when it is asked for.

    Attributes
    ----------
    index : int
        Index in the file, from 0.
    name, version : str, int
        EXTNAME in capitals ("PRIMARY" for the first HDU, "" without EXTNAME) and EXTVER.
    kind : {"image", "table", "compressed", "other", "empty"}
        "compressed" is a tile-compressed image; "empty" has no pixels; "other" is copied unread.
    shape : tuple of int
        Shape in NumPy's order; for a table, its number of rows.
    pixels : Pixels
        Storage of the pixels.
    header_offset, data_offset, data_size : int
        Positions and size in bytes, the size without padding.
    parts : tuple of bytes
        The header without the blank cards at its end, as a whole or by card.
    stamp : Stamp
        The file.
    """

    index: int
    name: str
    version: int
    kind: Kind
    shape: tuple[int, ...]
    pixels: Pixels
    header_offset: int
    data_offset: int
    data_size: int
    parts: tuple[bytes, ...] = field(repr=False)
    stamp: Stamp = field(repr=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Native type of the decoded pixels."""
        return self.pixels.dtype

    @property
    def stored(self) -> np.dtype[Any]:
        """Big-endian type of the pixels in the file."""
        return self.pixels.stored

    @property
    def bscale(self) -> float:
        """Factor of the stored values."""
        return self.pixels.bscale

    @property
    def bzero(self) -> float:
        """Offset of the stored values."""
        return self.pixels.bzero

    @property
    def label(self) -> str:
        """The HDU's name in messages."""
        return hdu_label(self.index, self.name)

    @property
    def end(self) -> int:
        """Position of the next HDU."""
        return self.data_offset + pad_length(self.data_size)

    @property
    def cards(self) -> Sequence[bytes]:
        """The header's cards, without the blank ones at its end."""
        return _split(self.parts[0]) if len(self.parts) == 1 else self.parts

    @property
    def raw_header(self) -> bytes:
        """The header's blocks."""
        return b"".join(self.parts).ljust(self.data_offset - self.header_offset)

    @property
    def header(self) -> fits.Header:
        """The header; for a compressed image, the header of the image, read from the file."""
        if self.kind == "compressed":
            with open_astropy_hdu(self.stamp, self.index, self.label) as hdu:
                return hdu.header.copy()
        return read_header_text(self.text)

    @property
    def keywords(self) -> HeaderKeywords:
        """The values of the header by keyword; of a compressed image as it is stored."""
        return HeaderKeywords(self.stamp.path, self.index, self.raw_header)

    def find_card(self, keyword: str) -> str:
        """Return the text of a keyword's first card, and of the CONTINUE cards after it, or "".

        It is faster than `keywords`, which first makes an index of the whole header.
        """
        start = keyword.ljust(8).encode()
        cards = self.cards
        number = next((n for n, card in enumerate(cards) if card.startswith(start)), None)
        if number is None:
            return ""
        following = takewhile(lambda card: card.startswith(b"CONTINUE"), cards[number + 1 :])
        return replace_foreign_bytes(b"".join([cards[number], *following])).decode("ascii")

    @property
    def text(self) -> str:
        """The header's cards, with a question mark for every byte that is not ASCII."""
        return replace_foreign_bytes(self.raw_header).decode("ascii")


class ParsedHeader(NamedTuple):
    """The values of an HDU's header, and the position and size of its data.

    Attributes
    ----------
    stamp : Stamp
        The file.
    keywords : HeaderKeywords
        The values of the header.
    bitpix : int
        BITPIX.
    axes : tuple of int
        The axes in NumPy's order.
    counts : tuple of int
        PCOUNT and GCOUNT.
    data_offset, data_size : int
        Position and size in bytes, the size without padding.
    """

    stamp: Stamp
    keywords: HeaderKeywords
    bitpix: int
    axes: tuple[int, ...]
    counts: tuple[int, int]
    data_offset: int
    data_size: int

    @property
    def label(self) -> str:
        """The HDU's name in messages."""
        index = self.keywords.index
        return hdu_label(index, _name(self.keywords, index))

    @property
    def end(self) -> int:
        """Position of the next HDU."""
        return self.data_offset + pad_length(self.data_size)


def parse_header(stamp: Stamp, index: int, position: int, raw: bytes) -> ParsedHeader:
    """Return the header of an HDU; see `parse_hdu`, which also reads the kind of its data."""
    cards = HeaderKeywords(stamp.path, index, raw)
    if index == 0 and not cards.logical("SIMPLE"):
        raise cards.fault("SIMPLE is not T: the file says that it is not standard FITS")
    bitpix, axes = _array(cards, "")
    counts = cards.integer("PCOUNT", 0), cards.integer("GCOUNT", 1)
    size = _data_size(cards, bitpix, axes, counts)
    return ParsedHeader(
        stamp=stamp,
        keywords=cards,
        bitpix=bitpix,
        axes=axes,
        counts=counts,
        data_offset=position + len(raw),
        data_size=size,
    )


def _name(cards: HeaderKeywords, index: int) -> str:
    return "PRIMARY" if index == 0 else cards.text("EXTNAME").strip().upper()


def parse_hdu(
    stamp: Stamp, index: int, position: int, raw: bytes, known: dict[bytes, bytes] | None = None
) -> Hdu:
    """Return an HDU, reading its shape, type and size from its header.

    Parameters
    ----------
    stamp : Stamp
        The file.
    index : int
        The HDU's index in the file, from 0.
    position : int
        Position of its header, in bytes.
    raw : bytes
        The header's blocks.
    known : dict of bytes to bytes, optional
        The cards of the file's earlier HDUs, each by itself; the HDU shares those that it has, too,
        and adds its others. The first HDUs of a file keep their headers to themselves.

    Raises
    ------
    FileError
        If a card is missing, of the wrong type or implausible.
    """
    _, cards, bitpix, axes, counts, data_offset, size = parse_header(stamp, index, position, raw)
    kind = _kind(cards, index, axes, counts)
    if kind in ("table", "compressed"):
        _require_columns(cards)
    if kind == "compressed":
        rows = axes[0]
        bitpix, axes = _array(cards, "Z")
        _require_plausible(cards, bitpix, axes, size, rows)
    return Hdu(
        index=index,
        name=_name(cards, index),
        version=cards.integer("EXTVER", 1),
        kind=kind,
        shape=axes[:1] if kind == "table" else axes,
        pixels=_pixels(cards, kind, bitpix, axes),
        header_offset=position,
        data_offset=data_offset,
        data_size=size,
        parts=_share(raw, index, known),
        stamp=stamp,
    )


def _share(raw: bytes, index: int, known: dict[bytes, bytes] | None) -> tuple[bytes, ...]:
    """Return a header without blank cards at its end, by card if it shares the known ones."""
    end = len(raw)
    for blanks in (_TEN_BLANK_CARDS, _BLANK_CARD):  # a fifth of the time of bytes.rstrip
        while raw.endswith(blanks, 0, end):
            end -= len(blanks)
    if known is None or index < _UNSHARED:
        return (raw[:end],)
    cards = _split(raw[:end])
    return tuple(map(known.setdefault, cards, cards))


def _split(raw: bytes) -> list[bytes]:
    return [raw[start : start + CARD_LENGTH] for start in range(0, len(raw), CARD_LENGTH)]


def _array(cards: HeaderKeywords, prefix: str) -> tuple[int, tuple[int, ...]]:
    """Return BITPIX and the axes in NumPy's order; ``prefix`` is Z for a compressed image."""
    bitpix = cards.integer(f"{prefix}BITPIX")
    if bitpix not in _STORED:
        raise cards.fault(f"{prefix}BITPIX = {bitpix} is none of {sorted(_STORED)}")
    naxis = cards.integer(f"{prefix}NAXIS")
    if not 0 <= naxis <= _MOST_AXES:
        raise cards.fault(f"{prefix}NAXIS = {naxis} is not between 0 and {_MOST_AXES}")
    keywords = [f"{prefix}NAXIS{n}" for n in range(naxis, 0, -1)]
    axes = tuple(cards.integer(keyword) for keyword in keywords)
    for keyword, length in zip(keywords, axes, strict=True):
        if length < 0:
            raise cards.fault(f"{keyword} = {length} is negative")
        if length > _MOST_BYTES:
            raise cards.fault(f"{keyword} = {length} is absurd")
    return bitpix, axes


def _data_size(
    cards: HeaderKeywords, bitpix: int, axes: tuple[int, ...], counts: tuple[int, int]
) -> int:
    """Return the data's length in bytes, without padding; ``counts`` are PCOUNT and GCOUNT."""
    pcount, gcount = counts
    if pcount < 0 or gcount < 0:
        raise cards.fault(f"PCOUNT = {pcount} or GCOUNT = {gcount} is negative")
    groups = bool(axes) and axes[-1] == 0 and cards.logical("GROUPS")
    count = math.prod(axes[:-1] if groups else axes) if axes else 0
    size = abs(bitpix) // 8 * gcount * (pcount + count)
    if size > _MOST_BYTES:
        raise cards.fault(f"the axes {axes} require {size} bytes, which is absurd")
    return size


def _kind(
    cards: HeaderKeywords, index: int, axes: tuple[int, ...], counts: tuple[int, int]
) -> Kind:
    extension = "IMAGE" if index == 0 else cards.text("XTENSION")
    if extension in _TABLES:
        if len(axes) != 2:
            raise cards.fault(f"NAXIS = {len(axes)}, where a table has 2")
        return "compressed" if cards.logical("ZIMAGE") else "table"
    grouped = counts != (0, 1)
    if extension not in _IMAGES or grouped or (axes and cards.logical("GROUPS")):
        return "other"
    return "image" if axes and 0 not in axes else "empty"


def _require_columns(cards: HeaderKeywords) -> None:
    columns = cards.integer("TFIELDS")
    if not 0 <= columns <= _MOST_COLUMNS:
        raise cards.fault(f"TFIELDS = {columns} is not between 0 and {_MOST_COLUMNS}")


def _require_plausible(
    cards: HeaderKeywords, bitpix: int, axes: tuple[int, ...], size: int, rows: int
) -> None:
    """Raise an error if no compression could have made an image so small."""
    image_bytes = abs(bitpix) // 8 * math.prod(axes)
    if image_bytes > _SMALL + _BEST_COMPRESSION * size:
        raise cards.fault(
            f"the axes {axes} require {image_bytes} bytes from {size}, which is absurd"
        )
    numbers = range(len(axes), 0, -1)
    sides = [cards.integer(f"ZTILE{n}", axes[-1] if n == 1 else 1) for n in numbers]
    if any(side < 1 for side in sides):
        raise cards.fault(f"its tiles have {sides} pixels")
    tiles = math.prod(-(-axis // side) for axis, side in zip(axes, sides, strict=True))
    if tiles != rows:
        raise cards.fault(f"the axes {axes} make {tiles} tiles of {sides}, but there are {rows}")


def _pixels(cards: HeaderKeywords, kind: Kind, bitpix: int, axes: tuple[int, ...]) -> Pixels:
    if kind == "table":
        if axes[1] > _LONGEST_ROW:
            raise cards.fault(f"NAXIS1 = {axes[1]} is absurd")
        row = np.dtype((np.void, axes[1]))
        return Pixels(row, row)
    stored, native = _STORED[bitpix], _NATIVE[bitpix]
    if kind == "other":
        return _PLAIN[bitpix]
    bscale, bzero = cards.number("BSCALE", 1.0), cards.number("BZERO", 0.0)
    if bscale == 1 and bzero == 0 and (bitpix < 0 or "BLANK" not in cards):
        return _PLAIN[bitpix]
    if bitpix > 0:
        other = np.dtype(f"{'i' if bitpix == 8 else 'u'}{stored.itemsize}")
        if bscale == 1 and bzero == bzero_of(other):
            return Pixels(other, stored, bscale, bzero)
        native = np.dtype(np.float32 if bitpix <= 16 else np.float64)  # as astropy does
    return Pixels(native, stored, bscale, bzero, is_scaled=True)
