"""Bytes of files: looked at once, and refused when the file is another one by the time of reading.

Memory mapping is not used: a mapped file that is truncated meanwhile kills the process.
"""

import errno
import gzip
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from calbatch.models.errors import ChangedError, FileError, StorageError, one_line

ReadAt = Callable[[int, int], bytes]
"""Returns the bytes at a position, fewer than asked for where the file ends."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BUFFER = 1 << 20

_REASONS = {
    errno.ENOENT: "there is no such file",
    errno.EACCES: "no permission to read it",
    errno.EPERM: "no permission to read it",
    errno.ENOTDIR: "there is no such file: part of the path is not a directory",
    errno.ELOOP: "its symbolic links run in a circle",
}


@dataclass(frozen=True)
class Stamp:
    """A file as it was when it was looked at.

    Attributes
    ----------
    path : str
        Absolute path.
    size : int
        In bytes.
    mtime_ns : int
        Time of the last change, in nanoseconds.
    gzipped : bool
        Whether positions refer to its decompressed content.
    """

    path: str
    size: int
    mtime_ns: int
    gzipped: bool = False


def look(path: str | os.PathLike[str]) -> Stamp:
    """Return the stamp of a regular, readable, non-empty file.

    Raises
    ------
    FileError
        There is none, or it is a directory, a device, empty, or not readable.
    """
    place = Path(path).absolute()
    try:
        status = place.stat()
    except (OSError, ValueError) as error:
        raise FileError(place, _reason(place, error)) from error
    _require_regular(place, status)
    stamp = Stamp(str(place), status.st_size, status.st_mtime_ns)
    with opened(stamp) as descriptor:
        magic = _pread(descriptor, 0, len(_GZIP_MAGIC), stamp)
    return replace(stamp, gzipped=magic == _GZIP_MAGIC)


def _require_regular(place: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FileError(place, "is a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise FileError(place, "is not a regular file")
    if status.st_size == 0:
        raise FileError(place, "is empty (0 bytes)")


def _reason(place: Path, error: Exception) -> str:
    if not isinstance(error, OSError) or error.errno is None:
        return f"is not a path: {error}"
    if error.errno == errno.ENOENT and place.is_symlink():
        return f"is a symbolic link to {place.readlink()}, which does not exist"
    return _REASONS.get(error.errno, f"cannot be read: {os.strerror(error.errno)}")


@contextmanager
def opened(stamp: Stamp) -> Iterator[int]:
    """Give a descriptor for reading, having checked that the file is still the same.

    Opening takes a few microseconds, so descriptors are not kept: there is nothing to share between
    threads, to inherit in a fork, or to run out of.

    Raises
    ------
    FileError
        The file is gone.
    ChangedError
        Its size or time has changed.
    """
    try:
        descriptor = os.open(stamp.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FileError(stamp.path, _reason(Path(stamp.path), error)) from error
    try:
        status = os.fstat(descriptor)
        if (status.st_size, status.st_mtime_ns) != (stamp.size, stamp.mtime_ns):
            raise ChangedError(stamp.path, "was replaced or changed since it was first read")
        yield descriptor
    finally:
        os.close(descriptor)


def _disk_fault(stamp: Stamp, error: OSError) -> StorageError:
    return StorageError(stamp.path, f"reading failed: {error.strerror or error}")


def read_into(descriptor: int, view: memoryview, position: int, stamp: Stamp) -> None:
    """Fill a buffer with the bytes at a position of an opened file.

    Raises
    ------
    FileError
        The file ends too early.
    StorageError
        The disk failed.
    """
    done = 0
    while done < len(view):
        try:
            count = os.preadv(descriptor, [view[done:]], position + done)
        except OSError as error:
            raise _disk_fault(stamp, error) from error
        if count == 0:
            raise FileError(
                stamp.path,
                f"truncated while reading: {len(view)} bytes wanted at byte {position}, "
                f"{done} are there",
            )
        done += count


def _pread(descriptor: int, position: int, count: int, stamp: Stamp) -> bytes:
    try:
        return os.pread(descriptor, count, position)
    except OSError as error:
        raise _disk_fault(stamp, error) from error


@contextmanager
def reading(stamp: Stamp) -> Iterator[ReadAt]:
    """Give a function that returns bytes by position, decompressed where the file is gzipped.

    Positions should rise: going back in a gzipped file starts from its beginning.
    """
    with opened(stamp) as descriptor:
        if not stamp.gzipped:
            yield lambda position, count: _pread(descriptor, position, count, stamp)
            return
        with os.fdopen(os.dup(descriptor), "rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
            # The buffer serves small steps back, which else decompress from the beginning.
            buffered = io.BufferedReader(stream, _GZIP_BUFFER)
            yield lambda position, count: _read_gzip(buffered, position, count, stamp)


def _read_gzip(stream: IO[bytes], position: int, count: int, stamp: Stamp) -> bytes:
    try:
        stream.seek(position)
        return stream.read(count)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(stamp.path, f"damaged or truncated gzip data: {one_line(error)}") from error
