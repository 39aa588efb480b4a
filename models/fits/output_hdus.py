"""The HDUs of a file to be written, and their headers as bytes.

CHECKSUM and DATASUM are reserved in every header, so that
filling them in later moves nothing.
"""

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.io.fits.verify import VerifyError, VerifyWarning

from calbatch.models.errors import ModelError, one_line
from calbatch.models.fits.byteorder import bzero_of
from calbatch.models.fits.cards import (
    BLOCK_LENGTH,
    CARD_LENGTH,
    Card,
    format_card,
    format_header,
    is_structural,
    pad_length,
    read_cards,
)
from calbatch.models.fits.checksum import ALL_ONES, add, checksum, encode
from calbatch.models.fits.hdu import Hdu

Updates = Mapping[str, Any]

_BITPIX = {"u1": 8, "i1": 8, "i2": 16, "u2": 16, "i4": 32, "u4": 32, "i8": 64, "u8": 64}
_BITPIX |= {"f4": -32, "f8": -64}
_PLAIN_COLUMNS = {"u1", "i2", "i4", "i8", "f4", "f8"}

_RESERVED: tuple[Card, ...] = (
    ("CHECKSUM", "0" * 16, "HDU checksum"),
    ("DATASUM", "0", "data unit checksum"),
)
_CHECKSUM_AT = 11  # within its card, after the quote


@dataclass(frozen=True)
class OutputImage:
    """An image HDU, whose pixels are written row by row, or a primary HDU without data.

    Attributes
    ----------
    name : str
        The field that its pixels are written by.
    extname, extver : str, int
        Its name in the file; the first part is the primary HDU, whatever its name.
    dtype : numpy.dtype, optional
        Native type of the pixels; bool is stored as uint8.
    shape : tuple of int, optional
        In NumPy's order; None where there are no data.
    cards : sequence of (keyword, value, comment)
        In the file's order. Keywords that describe the storage are left out.
    """

    name: str
    extname: str
    extver: int = 1
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] | None = None
    cards: Sequence[Card] = ()

    @property
    def pixel_type(self) -> np.dtype[Any]:
        """The type that is stored, in native order."""
        kind = np.dtype(np.uint8 if self.dtype is None or self.dtype == bool else self.dtype)
        return kind.newbyteorder("=")


@dataclass(frozen=True)
class OutputTable:
    """A binary table, small enough to be kept in memory.

    Attributes
    ----------
    extname : str
        Its name in the file.
    array : structured ndarray
        One row per element.
    cards : sequence of (keyword, value, comment)
        Further ones, units (TUNITn) among them.
    extver : int
        Its version.
    """

    extname: str
    array: npt.NDArray[Any]
    cards: Sequence[Card] = ()
    extver: int = 1


@dataclass(frozen=True)
class CopiedHdu:
    """An HDU of another file that is copied as it is, header and data.

    Attributes
    ----------
    hdu : Hdu
        Not the first of its file, which must not change before the copy.
    """

    hdu: Hdu

    @property
    def size(self) -> int:
        """Length in bytes, padding included."""
        return self.hdu.end - self.hdu.header_offset


OutputHdu = OutputImage | OutputTable | CopiedHdu


def image_header(part: OutputImage, primary: bool) -> bytes:
    """Return the blocks of an image's header.

    Raises
    ------
    ModelError
        A type that FITS has not, or a card that it cannot hold.
    """
    kind = part.pixel_type
    shape = part.shape or ()
    if kind.str[1:] not in _BITPIX:
        raise ModelError(f"{part.extname}: FITS has no images of type {part.dtype}")
    cards: list[Card] = [
        ("SIMPLE", True, "conforms to FITS standard")
        if primary
        else ("XTENSION", "IMAGE", "Image extension"),
        ("BITPIX", _BITPIX[kind.str[1:]], "array data type"),
        ("NAXIS", len(shape), "number of array dimensions"),
        *((f"NAXIS{n}", length, "") for n, length in enumerate(reversed(shape), 1)),
    ]
    if primary:
        cards.append(("EXTEND", True, ""))
    else:
        cards += [("PCOUNT", 0, "number of parameters"), ("GCOUNT", 1, "number of groups")]
    if bzero_of(kind):
        cards += [("BSCALE", 1, ""), ("BZERO", bzero_of(kind), "")]
    if not primary:
        cards += _names(part.extname, part.extver)
    return format_header(part.extname, [*cards, *_without_structure(part.cards), *_RESERVED])


def table_bytes(part: OutputTable) -> tuple[bytes, bytes]:
    """Return the blocks of a table's header, and its data without padding.

    Raises
    ------
    ModelError
        A column that FITS tables have not, or a card that a header cannot hold.
    """
    plain = part.array.ndim == 1 and _is_plain(part.array.dtype)
    try:
        structure, data = (_plain_table if plain else _any_table)(part.array)
    except (ValueError, TypeError, KeyError, VerifyError) as error:
        raise ModelError(
            f"{part.extname}: FITS cannot hold the table: {one_line(error)}"
        ) from error
    cards = [
        *structure,
        *_names(part.extname, part.extver),
        *_without_structure(part.cards),
        *_RESERVED,
    ]
    return format_header(part.extname, cards), data


def _is_plain(dtype: np.dtype[Any]) -> bool:
    """Return whether FITS tables store all columns as NumPy does, but for the byte order."""
    bases = [dtype[name].base for name in dtype.names or ()]
    plain = [b.str[1:] in _PLAIN_COLUMNS or (b.kind == "S" and b.itemsize > 0) for b in bases]
    return bool(plain) and all(plain)


def _plain_table(table: npt.NDArray[Any]) -> tuple[list[Card], bytes]:
    """Return the cards of a table's structure, and its data, of plain columns."""
    kinds = [(n, table.dtype[n].base, table.dtype[n].shape) for n in table.dtype.names or ()]
    stored = np.dtype([(n, base.newbyteorder(">"), shape) for n, base, shape in kinds])
    cards = [
        (keyword, table.size if keyword == "NAXIS2" else value, comment)
        for keyword, value, comment in _structure(stored.newbyteorder("="))
    ]
    return cards, table.astype(stored).tobytes()


@lru_cache(maxsize=64)
def _structure(dtype: np.dtype[Any]) -> tuple[Card, ...]:
    """Return the cards of a table's structure, as of no rows; astropy takes milliseconds."""
    header = fits.BinTableHDU(np.zeros(0, dtype)).header
    return tuple((c.keyword, c.value, c.comment) for c in header.cards)


def _any_table(table: npt.NDArray[Any]) -> tuple[list[Card], bytes]:
    """Return the cards of a table's structure, and its data, as astropy has them."""
    hdu = fits.BinTableHDU(_storable(table))
    stream = io.BytesIO()
    hdu.writeto(stream)
    # astropy puts a primary HDU of one block before the table.
    start = BLOCK_LENGTH + len(hdu.header.tostring())
    size = hdu.header["NAXIS1"] * hdu.header["NAXIS2"]
    structure: list[Card] = [(c.keyword, c.value, c.comment) for c in hdu.header.cards]
    return structure, stream.getvalue()[start : start + size]


def _storable(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy that astropy may change, of types that it stores faithfully."""
    kinds = []
    for name in table.dtype.names or ():
        base, shape = table.dtype[name].base, table.dtype[name].shape
        # astropy takes signed bytes for logicals.
        base = np.dtype(np.int16) if base == np.int8 else base.newbyteorder("=")
        kinds.append((name, base, shape))
    return table.astype(np.dtype(kinds), copy=True)


def _names(extname: str, extver: int) -> list[Card]:
    return [("EXTNAME", extname, "extension name"), ("EXTVER", extver, "extension value")]


def _without_structure(cards: Iterable[Card]) -> list[Card]:
    """Return the cards that do not contradict what follows from the data themselves."""
    return [c for c in cards if c[0].startswith("TUNIT") or not is_structural(c[0].upper())]


def update_cards(header: bytes, where: str, values: Updates) -> bytes:
    """Return a header with other values for cards that it has, of the same length.

    Parameters
    ----------
    header : bytes
        Its blocks.
    where : str
        The HDU, for messages.
    values : mapping
        Values by keyword; None blanks the card out.

    Raises
    ------
    ModelError
        A keyword that the header has not, or no room for a longer value.
    """
    for keyword, value in values.items():
        header = _update_card(header, where, keyword.upper(), value)
    return header


def _update_card(header: bytes, where: str, keyword: str, value: Any) -> bytes:
    start, stop = _span(header, where, keyword)
    (_, _, comment), *_ = read_cards(header[start:stop].decode("ascii"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        text = "" if value is None else format_card(where, (keyword, value, comment))
    # A shorter value must not move END into an earlier block.
    image = text.ljust(stop - start).encode("ascii")
    changed = (header[:start] + image + header[stop:]).rstrip()
    if pad_length(len(changed) - len(b"END") + CARD_LENGTH) > len(header):
        raise ModelError(f"{where}: no room in the header for a longer {keyword}")
    return changed.ljust(len(header))


def _span(header: bytes, where: str, keyword: str) -> tuple[int, int]:
    """Return where a card begins and ends, the CONTINUE cards after it included."""
    name = keyword.ljust(8).encode()
    places = range(0, len(header), CARD_LENGTH)
    start = next((at for at in places if header[at : at + 8] == name), None)
    if start is None:
        raise ModelError(f"{where}: no card {keyword} was reserved in the header")
    stop = start + CARD_LENGTH
    while header[stop : stop + 8] == b"CONTINUE":
        stop += CARD_LENGTH
    return start, stop


def fill_checksums(header: bytes, datasum: int) -> bytes:
    """Return a header with its DATASUM and CHECKSUM filled in.

    Parameters
    ----------
    header : bytes
        With both cards reserved.
    datasum : int
        The sum of the data unit, without or with its padding of zeros.
    """
    header = _update_card(header, "", "DATASUM", str(datasum))
    total = add(datasum, checksum(header))
    start, _ = _span(header, "", "CHECKSUM")
    at = start + _CHECKSUM_AT
    return header[:at] + encode(ALL_ONES - total).encode("ascii") + header[at + 16 :]
