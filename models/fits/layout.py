"""Where things lie in a FITS file: every HDU's place, shape and type, checked before any pixel.

Only headers are read. Nothing is allocated for what a header claims before the claim has been
compared with the size of the file. Source for the rules: FITS standard 4.0.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from calbatch.models.errors import FileError, ValidationWarning, escape_text, explain_errors
from calbatch.models.fits.cards import (
    BLOCK_LENGTH,
    CARD_LENGTH,
    HeaderKeywords,
    pad_length,
    replace_foreign_bytes,
)
from calbatch.models.fits.checksum import ALL_ONES, add, checksum
from calbatch.models.fits.hdu import Hdu, Kind, Pixels, parse_hdu
from calbatch.models.fits.signatures import check_signature
from calbatch.models.storage import files
from calbatch.models.storage.location import is_url
from calbatch.models.storage.stamps import ReadAt, Stamp

__all__ = ["Hdu", "Kind", "Layout", "Pixels", "read_layout", "verify_checksums"]

_LONGEST_HEADER = 8 << 20
_LONGEST_HEADERS = 64 << 20
_MOST_HDUS = 10_000
_OF_HEADERS = re.compile(rb"XTENSION=|BITPIX  =|NAXIS\d? *=  |TFORM\d+ *= '")
_BEST_GZIP = 1032
"""How many bytes deflate can make of one, at most."""

_WITHOUT_VALUE = (b"        ", b"COMMENT ", b"HISTORY ", b"CONTINUE")

_HEADER_READ = 8 * BLOCK_LENGTH
_SUM_READ = 1 << 18


@dataclass(frozen=True)
class Layout:
    """A file's HDUs, and the file as it was when they were found.

    Attributes
    ----------
    stamp : Stamp
        Readers refuse a file that has changed since.
    hdus : tuple of Hdu
        In the file's order.
    is_clean : bool
        Whether nothing follows the last one.
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
        """Time of the file's last change, in nanoseconds."""
        return self.stamp.mtime_ns

    @property
    def names(self) -> tuple[str, ...]:
        """The HDUs' names in order, repeated where they are."""
        return tuple(hdu.name for hdu in self.hdus)

    def find(self, name: str, version: int = 1) -> Hdu | None:
        """Return the first HDU of that name (any case) and version, or None."""
        wanted = (name.upper(), version)
        return next((hdu for hdu in self.hdus if (hdu.name, hdu.version) == wanted), None)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all headers, in hexadecimal; with DATASUM in them it stands for the data."""
        total = hashlib.sha256()
        for hdu in self.hdus:
            total.update(hdu.raw_header)
        return total.hexdigest()


def read_layout(path: str | os.PathLike[str] | Stamp) -> Layout:
    """Find a file's HDUs and check that they are all there.

    Parameters
    ----------
    path : str, path-like or Stamp
        A FITS file or its URL, gzipped or not; its stamp, where it has been looked at already. A
        gzipped one is decompressed once to check its length.

    Returns
    -------
    Layout

    Raises
    ------
    FileError
        Not a regular file, not FITS, truncated, or with a header that cannot be true.
    StorageError
        The URL's server cannot be reached or fails.

    Warns
    -----
    ValidationWarning
        Something that is no HDU follows the last one.
    """
    stamp = path if isinstance(path, Stamp) else files.read_stamp(path)
    layout = (_layout_of_object if is_url(stamp.path) else _layout_of)(stamp)
    if not layout.is_clean:
        message = f"{stamp.path}: what follows {layout.hdus[-1].label} is no HDU and is ignored"
        warnings.warn(escape_text(message), ValidationWarning, stacklevel=2)
    return layout


def _layout_of(stamp: Stamp) -> Layout:
    with explain_errors(stamp.path), files.open_decompressed(stamp) as read_at:
        check_signature(stamp.path, read_at(0, 512))
        hdus = tuple(_walk(stamp, read_at))
        tail = read_at(hdus[-1].end, BLOCK_LENGTH)
        if tail:
            _require_nothing_lost(hdus[-1], read_at)
        return Layout(stamp, hdus, is_clean=not tail.strip(b"\0"))


_layout_of_object = lru_cache(maxsize=16)(_layout_of)
"""An exposure is looked at, verified and opened one after the other: requests that are saved."""


def _walk(stamp: Stamp, read_at: ReadAt) -> Iterator[Hdu]:
    position, index, headers = 0, 0, 0
    while index == 0 or _begins_extension(read_at(position, 8)):
        if index >= _MOST_HDUS or headers > _LONGEST_HEADERS:
            raise FileError(
                stamp.path, f"has {index} HDUs with {headers >> 20} MB of headers, and still more"
            )
        raw = _read_header(stamp.path, read_at, position, f"HDU {index}")
        hdu = parse_hdu(stamp, index, position, raw)
        _require_data(hdu, read_at)
        yield hdu
        position, index, headers = hdu.end, index + 1, headers + len(raw)


def _require_nothing_lost(last: Hdu, read_at: ReadAt) -> None:
    """Refuse a file with the beginning of an extension within or after its last HDU's data.

    Where blocks were lost, or a length is wrong, headers are taken for pixels, and all that follows
    for rubbish.
    """
    position, before = last.data_offset, b""
    while piece := read_at(position, _SUM_READ):
        found = _OF_HEADERS.search(before + piece)
        if found is not None:
            raise FileError(
                last.stamp.path,
                f"damaged: there is a header at byte {position - len(before) + found.start()}, but "
                f"by its own {last.label} ends at byte {last.end}, where no extension begins",
            )
        position, before = position + len(piece), piece[-CARD_LENGTH:]


def _begins_extension(start: bytes) -> bool:
    """Tell whether an extension begins, or as much of it as the file has."""
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
    """Return where the END card begins, or -1."""
    at = raw.find(b"END     ", start)
    while at >= 0 and at % CARD_LENGTH:
        at = raw.find(b"END     ", at + 1)
    return at


def _text_column(card: bytes) -> int:
    """Return the column from which a card may hold free text: after its keyword and ``=``."""
    return 8 if card[:8] in _WITHOUT_VALUE else 10


def _require_text(path: str, raw: bytes, where: str) -> None:
    """Refuse zeros, and bytes above 0x7F in a card's keyword: nobody knows which one it was.

    Elsewhere in a card such a byte, which many programs write, is read as a question mark.
    """
    if raw.isascii() and b"\0" not in raw:
        return
    for at in range(0, len(raw), CARD_LENGTH):
        card = raw[at : at + CARD_LENGTH]
        start = _text_column(card)
        bad = [c for c, octet in enumerate(card) if octet == 0 or (octet > 0x7F and c < start)]
        if bad:
            keyword = replace_foreign_bytes(card[:8]).decode("ascii").strip()
            what = f"byte 0x{card[bad[0]]:02x} in card {keyword!r} is not text"
            raise FileError(path, f"{where}: damaged header: {what}")


def _require_data(hdu: Hdu, read_at: ReadAt) -> None:
    """Refuse data that end early; the padding of the last block is part of the file."""
    path, size = hdu.stamp.path, hdu.stamp.size
    # A stream's length is known only by decompressing it; a file's needs no look at its disk.
    if hdu.stamp.is_gzipped:
        whole = hdu.end <= _BEST_GZIP * size and read_at(hdu.end - 1, 1) != b""
    else:
        whole = hdu.end <= size
    if hdu.data_size == 0 or whole:
        return
    found = "fewer" if hdu.stamp.is_gzipped else str(max(0, size - hdu.data_offset))
    raise FileError(
        path,
        f"truncated: {hdu.label} needs {hdu.end - hdu.data_offset} bytes of data from byte "
        f"{hdu.data_offset} on, and {found} are there",
    )


def verify_checksums(layout: Layout) -> int:
    """Check the DATASUM and CHECKSUM of every HDU that has them.

    Parameters
    ----------
    layout : Layout
        Of a file that may be gzipped. It is read once, in small pieces.

    Returns
    -------
    int
        How many HDUs had a checksum.

    Raises
    ------
    FileError
        The first one that does not match.
    """
    count = 0
    with explain_errors(layout.path), files.open_decompressed(layout.stamp) as read_at:
        for hdu in layout.hdus:
            count += _verify(hdu, read_at)
    return count


def _verify(hdu: Hdu, read_at: ReadAt) -> bool:
    cards = HeaderKeywords(hdu.stamp.path, hdu.index, hdu.raw_header)
    wanted, whole = cards.bare("DATASUM"), cards.bare("CHECKSUM")
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
