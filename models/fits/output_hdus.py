"""The HDUs of a file to be written, and their headers as bytes.

Each header has reserved cards for CHECKSUM and DATASUM, which can be filled in later without moving
anything.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.errors import ModelError, one_line
from calbatch.models.fits.byteorder import bzero_of
from calbatch.models.fits.card_formats import format_card, format_header
from calbatch.models.fits.cards import (
    BLOCK_LENGTH,
    CARD_LENGTH,
    Card,
    is_structural,
    pad_length,
    read_cards,
)
from calbatch.models.fits.checksum import ALL_ONES, add, checksum, encode
from calbatch.models.fits.hdu import Hdu

Updates = Mapping[str, Any]

_BITPIX = {"u1": 8, "i1": 8, "i2": 16, "u2": 16, "i4": 32, "u4": 32, "i8": 64, "u8": 64}
_BITPIX |= {"f4": -32, "f8": -64}
_PLAIN_COLUMNS = {"u1": "B", "i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
_MOST_COLUMNS = 999
_LONGEST_NAME = 68  # characters of a card's value, in which a quote takes two

_RESERVED: tuple[Card, ...] = (
    ("CHECKSUM", "0" * 16, "HDU checksum"),
    ("DATASUM", "0", "data unit checksum"),
)
_CHECKSUM_AT = 11  # within its card, after the quote


@dataclass(frozen=True, kw_only=True)
class OutputImage:
    """An image HDU whose pixels are written row by row, or a primary HDU without data.

    Attributes
    ----------
    name : str
        Name of the field of its pixels.
    extname, extver : str, int
        Name and version in the file; the first HDU is the primary one, regardless of its name.
    dtype : numpy.dtype, optional
        Native type of the pixels; bool is stored as uint8.
    shape : tuple of int, optional
        Shape in NumPy's order; None without data.
    cards : sequence of (keyword, value, comment)
        Header cards, in order. Those that describe the storage are ignored.
    header : bytes, optional
        The blocks of the header, if they have been made already; ``cards`` are then ignored.
    """

    name: str
    extname: str
    extver: int = 1
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] | None = None
    cards: Sequence[Card] = ()
    header: bytes | None = None

    @property
    def pixel_type(self) -> np.dtype[Any]:
        """The stored type, in native byte order."""
        kind = np.dtype(np.uint8 if self.dtype is None or self.dtype == bool else self.dtype)
        return kind.newbyteorder("=")


@dataclass(frozen=True)
class OutputTable:
    """A binary table in memory.

    Attributes
    ----------
    extname : str
        Name in the file.
    array : structured ndarray
        The rows of the table.
    cards : sequence of (keyword, value, comment)
        Further header cards, such as units (TUNITn).
    extver : int
        Version in the file.
    """

    extname: str
    array: npt.NDArray[Any]
    cards: Sequence[Card] = ()
    extver: int = 1


@dataclass(frozen=True)
class CopiedHdu:
    """An HDU of another file whose header and data are copied unchanged.

    Attributes
    ----------
    hdu : Hdu
        Any but the primary HDU of a file, which must not change before it is copied.
    """

    hdu: Hdu

    @property
    def size(self) -> int:
        """Length in bytes, including padding."""
        return self.hdu.end - self.hdu.header_offset


OutputHdu = OutputImage | OutputTable | CopiedHdu


def image_header(output: OutputImage, primary: bool) -> bytes:
    """Return the blocks of an image's header; see `image_cards`."""
    if output.header is not None:
        return output.header
    return format_header(output.extname, image_cards(output, primary))


def image_cards(output: OutputImage, primary: bool) -> list[Card]:
    """Return all cards of an image's header but END.

    Raises
    ------
    ModelError
        If FITS does not have the pixels' type, or cannot hold a card.
    """
    kind = output.pixel_type
    shape = output.shape or ()
    if kind.str[1:] not in _BITPIX:
        raise ModelError(f"{output.extname}: FITS has no images of type {output.dtype}")
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
        cards += _names(output.extname, output.extver)
    return [*cards, *_without_structure(output.cards), *_RESERVED]


def table_bytes(output: OutputTable) -> tuple[bytes, bytes]:
    """Return the blocks of a table's header, and its data without padding.

    Raises
    ------
    ModelError
        If FITS does not have the type of a column, or cannot hold a card.
    """
    plain = output.array.ndim == 1 and _is_plain(output.array.dtype)
    try:
        structure, data = (_plain_table if plain else _any_table)(output.array)
    except (ValueError, TypeError, KeyError, _verify_error()) as error:
        raise ModelError(
            f"{output.extname}: FITS cannot hold the table: {one_line(error)}"
        ) from error
    cards = [
        *structure,
        *_names(output.extname, output.extver),
        *_without_structure(output.cards, len(output.array.dtype.names or ())),
        *_RESERVED,
    ]
    return format_header(output.extname, cards), data


def _verify_error() -> type[Exception]:
    """Return astropy's error for content that is not FITS."""
    from astropy.io.fits.verify import VerifyError

    return VerifyError


def _is_plain(dtype: np.dtype[Any]) -> bool:
    """Return whether FITS and NumPy store all columns alike, except for byte order and encoding."""
    names = dtype.names or ()
    if not 0 < len({name.lower() for name in names}) == len(names) <= _MOST_COLUMNS:
        return False
    kinds = [dtype[name] for name in names]
    stored_alike = [k.base.kind in "SU" or k.base.str[1:] in _PLAIN_COLUMNS for k in kinds]
    fit_a_card = [n.isprintable() and len(n) + n.count("'") <= _LONGEST_NAME for n in names]
    described = all(fit_a_card) and all(map(str.isascii, names))
    return all(stored_alike) and described and all(kind.itemsize for kind in kinds)


def _plain_table(table: npt.NDArray[Any]) -> tuple[list[Card], bytes]:
    """Return the structural cards and the data of a table with plain columns."""
    columns = [(name, table.dtype[name]) for name in table.dtype.names or ()]
    kinds = [(name, _storage_type(kind.base), kind.shape) for name, kind in columns]
    stored = np.dtype([(n, base.newbyteorder(">"), shape) for n, base, shape in kinds])
    cards: list[Card] = [
        ("XTENSION", "BINTABLE", "binary table extension"),
        ("BITPIX", 8, "array data type"),
        ("NAXIS", 2, "number of array dimensions"),
        ("NAXIS1", stored.itemsize, "length of dimension 1"),
        ("NAXIS2", table.size, "length of dimension 2"),
        ("PCOUNT", 0, "number of group parameters"),
        ("GCOUNT", 1, "number of groups"),
        ("TFIELDS", len(kinds), "number of table fields"),
    ]
    for number, (name, base, shape) in enumerate(kinds, 1):
        cards += _column_cards(number, name, base, shape)
    return cards, table.astype(stored).tobytes()


def _storage_type(base: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which elements are stored: text as ASCII."""
    one = np.dtype("U1").itemsize
    return np.dtype(f"S{base.itemsize // one}") if base.kind == "U" else base


def _column_cards(
    number: int, name: str, base: np.dtype[Any], shape: tuple[int, ...]
) -> list[Card]:
    """Return the structural cards of a plain column, without the import of `astropy.table`.

    Source: FITS standard 4.0, section 7.3 (TFORMn, TDIMn).
    """
    is_text = base.kind == "S"
    count = math.prod(shape) * (base.itemsize if is_text else 1)
    code = "A" if is_text else _PLAIN_COLUMNS[base.str[1:]]
    cards: list[Card] = [
        (f"TTYPE{number}", name, ""),
        (f"TFORM{number}", f"{count}{code}" if count > 1 or is_text else code, ""),
    ]
    if shape:
        lengths = (*shape, base.itemsize) if is_text else shape
        cards.append((f"TDIM{number}", f"({','.join(map(str, reversed(lengths)))})", ""))
    return cards


def _any_table(table: npt.NDArray[Any]) -> tuple[list[Card], bytes]:
    """Return the structural cards and the data of a table, made by astropy."""
    from astropy.io import fits

    hdu = fits.BinTableHDU(_storable_copy(table))
    stream = io.BytesIO()
    hdu.writeto(stream)
    # astropy writes a primary HDU of one block before the table.
    start = BLOCK_LENGTH + len(hdu.header.tostring())
    size = hdu.header["NAXIS1"] * hdu.header["NAXIS2"]
    structure: list[Card] = [(c.keyword, c.value, c.comment) for c in hdu.header.cards]
    return structure, stream.getvalue()[start : start + size]


def _storable_copy(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a copy, which astropy may modify, with types that it stores correctly."""
    kinds = []
    for name in table.dtype.names or ():
        base, shape = table.dtype[name].base, table.dtype[name].shape
        # astropy would store signed bytes as logical values.
        base = np.dtype(np.int16) if base == np.int8 else base.newbyteorder("=")
        kinds.append((name, base, shape))
    return table.astype(np.dtype(kinds), copy=True)


def _names(extname: str, extver: int) -> list[Card]:
    return [("EXTNAME", extname, "extension name"), ("EXTVER", extver, "extension value")]


def _without_structure(cards: Iterable[Card], columns: int = 0) -> list[Card]:
    """Return the cards that do not describe the storage of the data, the same objects.

    The TDIMn of a column that the table lacks is kept: jwst states the dimensions of a cube's
    wavelengths in this way.
    """
    return [
        card
        for card in cards
        if (keyword := card[0]).startswith("TUNIT")
        or not is_structural(keyword.upper())
        or (columns and _is_beyond(keyword, columns))
    ]


def _is_beyond(keyword: str, columns: int) -> bool:
    number = keyword.upper().removeprefix("TDIM")
    return number.isdigit() and int(number) > columns


def update_cards(header: bytes, where: str, values: Updates) -> bytes:
    """Return a header of the same length with new values in some of its cards.

    Parameters
    ----------
    header : bytes
        The header's blocks.
    where : str
        The HDU, for messages.
    values : mapping
        Values by keyword; None blanks the card.

    Raises
    ------
    ModelError
        If the header has no such keyword, or no room for a longer value.
    """
    for keyword, value in values.items():
        header = _update_card(header, where, keyword.upper(), value)
    return header


def _update_card(header: bytes, where: str, keyword: str, value: Any) -> bytes:
    start, stop = _span(header, where, keyword)
    (_, _, comment), *_ = read_cards(header[start:stop].decode("ascii"))
    text = "" if value is None else format_card(where, (keyword, value, comment))
    # Padding keeps END in its block if the new value is shorter.
    image = text.ljust(stop - start).encode("ascii")
    changed = (header[:start] + image + header[stop:]).rstrip()
    if pad_length(len(changed) - len(b"END") + CARD_LENGTH) > len(header):
        raise ModelError(f"{where}: no room in the header for a longer {keyword}")
    return changed.ljust(len(header))


def _span(header: bytes, where: str, keyword: str) -> tuple[int, int]:
    """Return the byte range of a card and its CONTINUE cards."""
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
        The header's blocks, with both cards reserved.
    datasum : int
        The sum of the data unit, with or without its padding of zeros.
    """
    header = _update_card(header, "", "DATASUM", str(datasum))
    total = add(datasum, checksum(header))
    start, _ = _span(header, "", "CHECKSUM")
    at = start + _CHECKSUM_AT
    return header[:at] + encode(ALL_ONES - total).encode("ascii") + header[at + 16 :]
