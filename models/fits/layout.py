"""The layout of a FITS file: position, shape and type of each HDU, checked.

Only headers are read. No memory is allocated for a size in a header before the size has been
checked against that of the file. Source: FITS standard 4.0.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TypeVar

from calbatch.models.errors import FileError, ValidationWarning, escape_text, explain_errors
from calbatch.models.fits.cards import (
    BLOCK_LENGTH,
    CARD_LENGTH,
    HeaderKeywords,
    pad_length,
    replace_foreign_bytes,
)
from calbatch.models.fits.checksum import ALL_ONES, add, checksum
from calbatch.models.fits.hdu import Hdu, Kind, ParsedHeader, Pixels, parse_hdu, parse_header
from calbatch.models.fits.signatures import check_signature
from calbatch.models.storage import files
from calbatch.models.storage.location import is_url
from calbatch.models.storage.stamps import ReadAt, Stamp

__all__ = [
    "Hdu",
    "Kind",
    "Layout",
    "Pixels",
    "read_layout",
    "verify_checksums",
    "walk_headers",
]  # fmt: skip

_LONGEST_HEADER = 8 << 20
_LONGEST_HEADERS = 64 << 20
_MOST_HDUS = 10_000
_OF_HEADERS = re.compile(rb"XTENSION=|BITPIX  =|NAXIS\d? *=  |TFORM\d+ *= '")
_BEST_GZIP = 1032
"""Maximum compression ratio of deflate."""

# bytes.find would stop at the many blanks of a header, and take twenty times as long.
_END = re.compile(rb"(?P<cards>(?:.{80})*?)END     ", re.DOTALL)

HduT = TypeVar("HduT", Hdu, ParsedHeader)

_HEADER_READ = 8 * BLOCK_LENGTH
_SUM_READ = 1 << 18


@dataclass(frozen=True)
class Layout:
    """The HDUs of a file, and the file's stamp.

    Attributes
    ----------
    stamp : Stamp
        The file's stamp, by which readers refuse a changed file.
    hdus : tuple of Hdu
        The HDUs in order.
    is_clean : bool
        True if nothing follows the last HDU.
    """

    stamp: Stamp
    hdus: tuple[Hdu, ...]
    is_clean: bool = True

    @property
    def path(self) -> str:
        """Absolute path of the file, or its URL."""
        return self.stamp.path

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self.stamp.size

    @property
    def mtime_ns(self) -> int:
        """Modification time of the file, in nanoseconds."""
        return self.stamp.mtime_ns

    @property
    def names(self) -> tuple[str, ...]:
        """The HDUs' names in order, with repetitions."""
        return tuple(hdu.name for hdu in self.hdus)

    def find(self, name: str, version: int = 1) -> Hdu | None:
        """Return the first HDU of a name (in any case) and version, or None."""
        key = (name.upper(), version)
        return next((hdu for hdu in self.hdus if (hdu.name, hdu.version) == key), None)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all headers, in hexadecimal; through DATASUM it also covers the data."""
        total = hashlib.sha256()
        for hdu in self.hdus:
            total.update(hdu.raw_header)
        return total.hexdigest()


def read_layout(path: str | os.PathLike[str] | Stamp) -> Layout:
    """Find the HDUs of a file, and check that the file is complete.

    Parameters
    ----------
    path : str, path-like or Stamp
        A FITS file or its URL, or the file's stamp if it has been read already. A gzipped file is
        decompressed once to check its length.

    Returns
    -------
    Layout
        The file's layout.

    Raises
    ------
    FileError
        If the file is not a regular file, not FITS or truncated, or a header is implausible.
    StorageError
        If the server of a URL cannot be reached or fails.

    Warns
    -----
    ValidationWarning
        If the last HDU is followed by other data.
    """
    stamp = path if isinstance(path, Stamp) else files.read_stamp(path)
    layout = (_layout_of_object if is_url(stamp.path) else _layout_of)(stamp)
    if not layout.is_clean:
        message = f"{stamp.path}: data after {layout.hdus[-1].label} are not an HDU and are ignored"
        warnings.warn(escape_text(message), ValidationWarning, stacklevel=2)
    return layout


def _layout_of(stamp: Stamp) -> Layout:
    with explain_errors(stamp.path), files.open_decompressed(stamp) as read_at:
        hdus = tuple(_walk(stamp, read_at, partial(parse_hdu, known={})))
        tail = read_at(hdus[-1].end, BLOCK_LENGTH)
        if tail:
            _require_nothing_lost(hdus[-1], read_at)
        return Layout(stamp, hdus, is_clean=not tail.strip(b"\0"))


_layout_of_object = lru_cache(maxsize=16)(_layout_of)
"""Cached, because planning, verifying and opening an object each read its layout."""


def walk_headers(stamp: Stamp, read_at: ReadAt) -> Iterator[HeaderKeywords]:
    """Yield the headers of an open file, reading one after the other.

    The positions and sizes of the data are checked, but not their kinds.

    Parameters
    ----------
    stamp : Stamp
        The file's stamp.
    read_at : callable
        Reads the file; see `calbatch.models.storage.files.open_decompressed`.

    Raises
    ------
    FileError
        As for `read_layout`, which also checks the bytes after the last HDU.
    """
    for header in _walk(stamp, read_at, parse_header):
        yield header.keywords


def _walk(
    stamp: Stamp, read_at: ReadAt, parse: Callable[[Stamp, int, int, bytes], HduT]
) -> Iterator[HduT]:
    """Yield the HDUs of an open file, parsed from their headers."""
    check_signature(stamp.path, read_at(0, 512))
    position, index, headers = 0, 0, 0
    while index == 0 or _is_extension_start(read_at(position, 8)):
        if index >= _MOST_HDUS or headers > _LONGEST_HEADERS:
            raise FileError(
                stamp.path, f"has {index} HDUs with {headers >> 20} MB of headers, and still more"
            )
        raw = _read_header(stamp.path, read_at, position, f"HDU {index}")
        hdu = parse(stamp, index, position, raw)
        _require_data(hdu, read_at)
        yield hdu
        position, index, headers = hdu.end, index + 1, headers + len(raw)


def _require_nothing_lost(last: Hdu, read_at: ReadAt) -> None:
    """Raise an error if an extension begins within or after the data of the last HDU.

    If blocks are missing or a length is wrong, headers would be read as pixels, and the rest would
    be ignored.
    """
    position, before = last.data_offset, b""
    while piece := read_at(position, _SUM_READ):
        match = _OF_HEADERS.search(before + piece)
        if match is not None:
            raise FileError(
                last.stamp.path,
                f"damaged: there is a header at byte {position - len(before) + match.start()}, but "
                f"{last.label} ends at byte {last.end}, where no extension begins",
            )
        position, before = position + len(piece), piece[-CARD_LENGTH:]


def _is_extension_start(start: bytes) -> bool:
    """Return whether an extension begins, which may be cut off by the end of the file."""
    return start != b"" and b"XTENSION".startswith(start)


def _read_header(path: str, read_at: ReadAt, position: int, where: str) -> bytes:
    """Return a header's blocks, up to the one that holds its END card."""
    raw = bytearray()
    while len(raw) < _LONGEST_HEADER:
        known = len(raw)
        raw += read_at(position + known, _HEADER_READ)
        end = _find_end(raw, known)
        _require_text(path, bytes(raw[known : end if end >= 0 else None]), where)
        if end >= 0 and len(raw) >= pad_length(end + CARD_LENGTH):
            return bytes(raw[: pad_length(end + CARD_LENGTH)])
        if len(raw) < known + _HEADER_READ:
            raise FileError(
                path, f"truncated: the file ends in the header of {where}, after {len(raw)} bytes"
            )
    raise FileError(path, f"{where}: no END card in {_LONGEST_HEADER >> 20} MB of header")


def _find_end(raw: bytearray, start: int) -> int:
    """Return the position of the END card, or -1, searching from the start of a card."""
    match = _END.match(raw, start)
    return match.end("cards") if match else -1


def _require_text(path: str, raw: bytes, where: str) -> None:
    """Raise an error for zeros, and for cards of which not even the keyword's place is known.

    A byte above 0x7F, which many programs write, is read as a question mark. If it is in the
    keyword of a card with a value, jwst reads the card as one of another keyword.
    """
    if raw.isascii() and b"\0" not in raw:
        return
    for at in range(0, len(raw), CARD_LENGTH):
        card = raw[at : at + CARD_LENGTH]
        start = 0 if card[8:10] == b"= " else 8
        bad = [c for c, octet in enumerate(card) if octet == 0 or (octet > 0x7F and c < start)]
        if bad:
            keyword = replace_foreign_bytes(card[:8]).decode("ascii").strip()
            what = f"byte 0x{card[bad[0]]:02x} in card {keyword!r} is not text"
            raise FileError(path, f"{where}: damaged header: {what}")


def _require_data(hdu: Hdu | ParsedHeader, read_at: ReadAt) -> None:
    """Raise an error if data or the padding of their last block are missing."""
    path, size = hdu.stamp.path, hdu.stamp.size
    # The length of a gzipped stream is known only by decompressing it.
    if hdu.stamp.is_gzipped:
        whole = hdu.end <= _BEST_GZIP * size and read_at(hdu.end - 1, 1) != b""
    else:
        whole = hdu.end <= size
    if hdu.data_size == 0 or whole:
        return
    count = "fewer" if hdu.stamp.is_gzipped else f"only {max(0, size - hdu.data_offset)}"
    raise FileError(
        path,
        f"truncated: {hdu.label} needs {hdu.end - hdu.data_offset} bytes of data from byte "
        f"{hdu.data_offset} on, but {count} are present",
    )


def verify_checksums(layout: Layout) -> int:
    """Check the DATASUM and CHECKSUM of every HDU that has them.

    Parameters
    ----------
    layout : Layout
        Layout of a file, possibly gzipped, which is read once in small pieces.

    Returns
    -------
    int
        Number of HDUs with a checksum.

    Raises
    ------
    FileError
        For the first checksum that does not match.
    """
    count = 0
    with explain_errors(layout.path), files.open_decompressed(layout.stamp) as read_at:
        for hdu in layout.hdus:
            count += _verify(hdu, read_at)
    return count


def _verify(hdu: Hdu, read_at: ReadAt) -> bool:
    cards = hdu.keywords
    wanted, whole = cards.bare_text("DATASUM"), cards.bare_text("CHECKSUM")
    if not wanted and not whole:
        return False
    found = _sum_data(hdu, read_at)
    if wanted and wanted.lstrip("0") != str(found).lstrip("0"):
        raise cards.fault(f"the data do not match DATASUM: it is {wanted}, they add up to {found}")
    total = add(found, checksum(hdu.raw_header))
    if whole and total not in (0, ALL_ONES):
        raise cards.fault(
            f"the HDU does not match CHECKSUM {whole!r}: it adds up to {total}, not to {ALL_ONES}"
        )
    return True


def _sum_data(hdu: Hdu, read_at: ReadAt) -> int:
    places = range(hdu.data_offset, hdu.end, _SUM_READ)
    return add(*(checksum(read_at(at, min(_SUM_READ, hdu.end - at))) for at in places))
