"""Decoded copies of references that cannot be read in place, made once per host.

Rows of an uncompressed array are read directly from its FITS file. A reference that is compressed,
scaled or gzipped is first decoded into a file on the host's own disk, which all workers and batches
on the host share. If the copies grow too large, the least recently used ones are removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from calbatch.models.errors import explain_errors
from calbatch.models.private import make_private_folder, open_private_folder

_OFFSETS = {8: -128, 16: 2**15, 32: 2**31, 64: 2**63}
"""By BITPIX: offsets that only make integers signed or unsigned, which readers handle."""

DEFAULT_BYTES = 20 * 2**30

_INSTEAD = "choose another folder in CALBATCH_DECODED_DIR"
_COPY = re.compile(r".+\.[0-9a-f]{20}\.(?:fits|[^/]+\.npy)")


def default_folder() -> Path:
    """Return the host's folder for decoded files, one for each user."""
    base = os.environ.get("CALBATCH_DECODED_DIR") or tempfile.gettempdir()
    return Path(base) / f"calbatch-decoded-{os.getuid()}"


class DecodedCopies:
    """Decoded copies of references on the host's disk.

    Parameters
    ----------
    folder : path, optional
        Folder of the copies; by default one in ``CALBATCH_DECODED_DIR`` or the temporary folder.
    max_bytes : int
        Total size above which the least recently used copies are removed.
    """

    def __init__(self, folder: str | Path | None = None, max_bytes: int = DEFAULT_BYTES) -> None:
        self.folder = Path(folder) if folder else default_folder()
        self.max_bytes = max_bytes

    def plain_file(self, path: str | Path) -> Path:
        """Return a file whose arrays can be read in place: the reference itself, or its copy.

        Raises
        ------
        FileError
            If the reference cannot be read, or its copy cannot be written.
        """
        path = Path(path)
        with explain_errors(path, "cannot be decoded"):
            return (
                path
                if is_readable_in_place(path)
                else self._make_once(path, ".fits", _decode_images)
            )

    def table_file(self, path: str | Path, extension: str | int) -> Path:
        """Return an ``.npy`` file with the rows of a table, in native byte order.

        Raises
        ------
        FileError
            If there is no such table, or it has cells of variable length.
        """
        path = Path(path)

        def decode(source: Path, part: Path) -> None:
            _decode_table(source, part, extension)

        with explain_errors(path, "cannot be decoded"):
            return self._make_once(path, f".{extension}.npy", decode)

    def _make_once(self, path: Path, suffix: str, decode: Callable[[Path, Path], None]) -> Path:
        """Return the copy of a file, which the first process makes while others wait."""
        make_private_folder(self.folder, _INSTEAD)
        identity = _identity(path)
        copy = self.folder / f"{path.name}.{identity}{suffix}"
        if _mark_used(copy):
            return copy
        # Locks that copies share are few; one for each copy would outlive it.
        with filelock.FileLock(self.folder / f".{identity[:2]}.lock"):
            if not copy.exists():
                # Only the holder of the lock uses this name, and it replaces a leftover file.
                part = copy.with_name(f".{copy.name}.part{copy.suffix}")
                part.unlink(missing_ok=True)
                try:
                    decode(path, part)
                    part.replace(copy)
                finally:
                    part.unlink(missing_ok=True)
            _mark_used(copy)
        self._clean(keep=copy)
        return copy

    def _clean(self, keep: Path) -> None:
        with open_private_folder(self.folder, _INSTEAD) as folder:
            found = {copy.name: copy.lstat() for copy in self.copies()}
            excess = sum(status.st_size for status in found.values()) - self.max_bytes
            for name in sorted(found, key=lambda name: found[name].st_atime):
                if excess <= 0:
                    return
                if name != keep.name:
                    excess -= found[name].st_size
                    # Processes that have the copy open can still read it.
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)

    def copies(self) -> Iterator[Path]:
        """Yield the existing copies, and no other files of the folder."""
        for path in self.folder.glob("*"):
            if not path.name.startswith(".") and _COPY.fullmatch(path.name) and path.is_file():
                yield path


def _mark_used(copy: Path) -> bool:
    """Set the time at which a copy was used last; return False if there is no such copy.

    Readers identify the file by its modification time, which stays.
    """
    try:
        os.utime(copy, ns=(time.time_ns(), copy.stat().st_mtime_ns))
    except FileNotFoundError:
        return False
    return True


def is_readable_in_place(path: Path) -> bool:
    """Return whether all arrays of a FITS file can be read in place.

    This is True for files that are not FITS, which readers refuse.
    """
    with path.open("rb") as stream:
        start = stream.read(9)
    if start[:2] == b"\x1f\x8b":
        return False
    if start != b"SIMPLE  =":
        return True
    from astropy.io import fits

    with fits.open(path, disable_image_compression=True, lazy_load_hdus=True) as hdus:
        return all(_is_stored_plainly(hdu) for hdu in hdus)


def _is_stored_plainly(hdu: Any) -> bool:
    header = hdu.header
    if header.get("ZIMAGE"):
        return False
    if not hdu.is_image or not header.get("NAXIS"):
        return True
    offset = header.get("BZERO", 0)
    return header.get("BSCALE", 1) == 1 and offset in (0, _OFFSETS.get(header["BITPIX"]))


def _identity(path: Path) -> str:
    """Return a digest of a reference's path, size and modification time."""
    real = path.resolve()
    state = real.stat()
    text = f"{real}\0{state.st_size}\0{state.st_mtime_ns}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:20]


def _decode_images(path: Path, part: Path) -> None:
    """Write a copy of a file with its arrays decoded."""
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        plain = fits.HDUList([_plain_hdu(hdu, index) for index, hdu in enumerate(hdus)])
        plain.writeto(part, output_verify="silentfix")


def _decode_table(path: Path, part: Path, extension: str | int) -> None:
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        data = hdus[extension].data
        if data is None or data.dtype.names is None:
            raise ValueError(f"{extension} is not a table")
        rows = np.empty(len(data), [(name, data[name].dtype.newbyteorder("="), data[name].shape[1:])
                                    for name in data.names])  # fmt: skip
        for name in data.names:
            column = data[name]
            rows[name] = np.strings.rstrip(column) if column.dtype.kind == "U" else column
    with part.open("wb") as stream:
        np.save(stream, rows, allow_pickle=False)


def _plain_hdu(hdu: Any, index: int) -> Any:
    from astropy.io import fits

    if not hdu.is_image:
        return hdu
    data, header = hdu.data, hdu.header.copy()
    for key in ("BSCALE", "BZERO", "BLANK", "CHECKSUM", "DATASUM"):
        header.remove(key, ignore_missing=True)
    if index == 0:
        return fits.PrimaryHDU(data, header)
    return fits.ImageHDU(data, header, name=hdu.name, ver=hdu.ver)
