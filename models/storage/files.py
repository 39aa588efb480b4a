"""Bytes of files: looked at once, and refused when the file is another one by the time of reading.

A file lies on this machine, or is an object at a URL (`calbatch.models.storage.remote_files`). Memory
mapping is not used: a mapped file that is truncated meanwhile kills the process.
"""

import errno
import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Protocol, cast

from calbatch.models.errors import ChangedError, FileError, ModelError, StorageError, one_line
from calbatch.models.storage.location import Url, is_url, location
from calbatch.models.storage.remote_files import OpenRemoteFile
from calbatch.models.storage.stores import ObjectInfo, Store

ReadAt = Callable[[int, int], bytes]
"""Returns the bytes at a position, fewer than asked for where the file ends."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BUFFER = 1 << 20
_AHEAD = 1 << 16

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
        Absolute path, or URL.
    size : int
        In bytes.
    mtime_ns : int
        Time of the last change, in nanoseconds; of an object see
        `calbatch.models.storage.stores.Facts`.
    gzipped : bool
        Whether positions refer to its decompressed content.
    identity : str
        What an object's store calls this version of it (an ETag, else a time); empty of a file.
    kind : str
        What that is; see `calbatch.models.storage.stores.Facts`.
    ctime_ns : int
        Of a file, when anything about it last changed, which nobody can set; in nanoseconds.
    """

    path: str
    size: int
    mtime_ns: int
    gzipped: bool = False
    identity: str = ""
    kind: str = ""
    ctime_ns: int = field(default=0, compare=False)  # a new link to a file makes it no other file


class OpenFile(Protocol):
    """A file or object that is open for reading."""

    def read(self, position: int, count: int) -> bytes:
        """Return bytes at a position, fewer where it ends."""
        ...

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill a buffer with the bytes at a position."""
        ...

    def stream(self) -> IO[bytes]:
        """Return a file object of its own, to be closed."""
        ...


def read_stamp(path: str | os.PathLike[str]) -> Stamp:
    """Return the stamp of a regular, readable, non-empty file, or of an object at a URL.

    Raises
    ------
    FileError
        There is none, or it is a directory, a device, empty, or not readable.
    StorageError
        The URL's server cannot be reached or fails.
    """
    place = location(path)
    if isinstance(place, Url):
        return _look_at_url(place)
    place = place.absolute()
    try:
        status = place.stat()
    except (OSError, ValueError) as error:
        raise FileError(place, _reason(place, error)) from error
    _require_regular(place, status)
    stamp = Stamp(str(place), status.st_size, status.st_mtime_ns, ctime_ns=status.st_ctime_ns)
    with open_file(stamp) as file:
        magic = file.read(0, len(_GZIP_MAGIC))
    return replace(stamp, gzipped=magic == _GZIP_MAGIC)


FileVersion = tuple[str, int, int]
"""Absolute path or URL of a file, its size in bytes, and the time of its last change [ns]."""


def current_version(path: str | os.PathLike[str]) -> FileVersion | None:
    """Return what tells whether a file is as it was, without opening it.

    None where it is no file that can be read, as far as that shows: `look` says what is wrong.
    """
    place = location(path)
    try:
        if isinstance(place, Url):
            stamp = read_stamp(place)
            return stamp.path, stamp.size, stamp.mtime_ns
        place = place.absolute()
        status = place.stat()
    except (OSError, ValueError, ModelError):
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return None
    return str(place), status.st_size, status.st_mtime_ns


def _look_at_url(url: Url) -> Stamp:
    facts = Store(url).facts()
    if facts.size == 0:
        raise FileError(url, "is empty (0 bytes)")
    gzipped = _is_gzipped(url, facts)
    return Stamp(url.text, facts.size, facts.mtime_ns, gzipped, facts.identity, facts.kind)


@lru_cache(maxsize=1024)
def _is_gzipped(url: Url, facts: ObjectInfo) -> bool:
    # Read without another look: whoever goes on reading has one.
    magic = OpenRemoteFile(url, facts, [(0, len(_GZIP_MAGIC))]).read(0, len(_GZIP_MAGIC))
    return magic == _GZIP_MAGIC


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
def open_file(stamp: Stamp, wanted: Sequence[tuple[int, int]] = ()) -> Iterator[OpenFile]:
    """Open for reading, and check that the file is still the same.

    Opening takes a few microseconds, so descriptors are not kept: there is nothing to share between
    threads, to inherit in a fork, or to run out of. An object at a URL is checked when it has been
    read: that it was the same then, as it was when looked at, covers all that was read.

    Parameters
    ----------
    stamp : Stamp
        The file.
    wanted : sequence of (start, stop)
        What will be read, in bytes: of an object, it is then asked for together.

    Raises
    ------
    ChangedError
        Its size, time or version has changed.
    FileError
        The file is gone.
    """
    if is_url(stamp.path):
        with _opened_url(stamp, wanted) as remote:
            yield remote
        return
    try:
        descriptor = os.open(stamp.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FileError(stamp.path, _reason(Path(stamp.path), error)) from error
    try:
        status = os.fstat(descriptor)
        if (status.st_size, status.st_mtime_ns) != (stamp.size, stamp.mtime_ns):
            raise ChangedError(stamp.path, "was replaced or changed since it was first read")
        yield _LocalBytes(descriptor, stamp)
    finally:
        os.close(descriptor)


@contextmanager
def _opened_url(stamp: Stamp, wanted: Sequence[tuple[int, int]]) -> Iterator[OpenFile]:
    facts = ObjectInfo(stamp.size, stamp.mtime_ns, stamp.identity, stamp.kind)
    remote = OpenRemoteFile(Url(stamp.path), facts, wanted)
    try:
        yield remote
    except StorageError:
        raise
    except Exception:
        remote.check()  # what cannot be made sense of may be of two objects
        raise
    if not remote.untouched:
        remote.check()


class _LocalBytes:
    """A file of this machine, opened by a descriptor that somebody else closes."""

    def __init__(self, descriptor: int, stamp: Stamp) -> None:
        self._descriptor, self._stamp = descriptor, stamp

    def read(self, position: int, count: int) -> bytes:
        """Return bytes at a position, fewer where the file ends."""
        try:
            return os.pread(self._descriptor, count, position)
        except OSError as error:
            raise _disk_fault(self._stamp, error) from error

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill a buffer with the bytes at a position.

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
                count = os.preadv(self._descriptor, [view[done:]], position + done)
            except OSError as error:
                raise _disk_fault(self._stamp, error) from error
            if count == 0:
                raise FileError(
                    self._stamp.path,
                    f"truncated while reading: {len(view)} bytes wanted at byte {position}, "
                    f"{done} are there",
                )
            done += count

    def stream(self) -> IO[bytes]:
        """Return a file object with a descriptor of its own."""
        return os.fdopen(os.dup(self._descriptor), "rb")


def content_digest(stamp: Stamp) -> str:
    """Return what all bytes of a file come to, after refusing one that was touched since a look.

    Of a file it is read, to the end: soon after its pixels were, the system still has them. An
    object is not fetched again: each time it was read, its store said that it was this version.

    Parameters
    ----------
    stamp : Stamp
        The file, looked at before it was read.

    Returns
    -------
    str
        ``sha256:`` and the digest of a file, as stored; of an object, its version after what that
        is, such as ``etag:``; see `calbatch.models.storage.stores.Facts`.

    Raises
    ------
    ChangedError
        Something about the file has changed since, if only who may read it.
    FileError
        The file is gone.
    StorageError
        The disk failed.
    """
    if is_url(stamp.path):
        return f"{stamp.kind}:{stamp.identity}"
    with open_file(stamp) as file, file.stream() as stream:
        try:
            found = hashlib.file_digest(cast("io.BufferedReader", stream), "sha256").hexdigest()
            status = os.fstat(stream.fileno())
        except OSError as error:
            raise _disk_fault(stamp, error) from error
    if (status.st_size, status.st_mtime_ns, status.st_ctime_ns) != _times(stamp):
        raise ChangedError(stamp.path, "was replaced or changed while it was read")
    return f"sha256:{found}"


def _times(stamp: Stamp) -> tuple[int, int, int]:
    return stamp.size, stamp.mtime_ns, stamp.ctime_ns


def _disk_fault(stamp: Stamp, error: OSError) -> StorageError:
    return StorageError(stamp.path, f"reading failed: {error.strerror or error}")


@contextmanager
def open_decompressed(stamp: Stamp) -> Iterator[ReadAt]:
    """Give a function that returns bytes by position, decompressed where the file is gzipped.

    Positions should rise: going back in a gzipped file starts from its beginning.
    """
    with open_file(stamp) as file:
        if not stamp.gzipped:
            yield file.read if is_url(stamp.path) else _ReadAhead(file.read)
            return
        with file.stream() as raw, gzip.GzipFile(fileobj=raw) as stream:
            # The buffer serves small steps back, which else decompress from the beginning.
            buffered = io.BufferedReader(stream, _GZIP_BUFFER)
            yield lambda position, count: _read_gzip(buffered, position, count, stamp)


class _ReadAhead:
    """Serves small reads from the last piece that was read: headers are walked in small steps."""

    def __init__(self, read: ReadAt) -> None:
        self._read, self._start, self._piece = read, -1, b""

    def __call__(self, position: int, count: int) -> bytes:
        """Return the bytes at a position, fewer where the file ends."""
        if count >= _AHEAD:
            return self._read(position, count)
        at = position - self._start
        whole = len(self._piece) == _AHEAD  # otherwise the file ends with it
        if not 0 <= at <= len(self._piece) - (count if whole else 0):
            self._start, self._piece, at = position, self._read(position, _AHEAD), 0
        return self._piece[at : at + count]


def _read_gzip(stream: IO[bytes], position: int, count: int, stamp: Stamp) -> bytes:
    try:
        stream.seek(position)
        return stream.read(count)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(stamp.path, f"damaged or truncated gzip data: {one_line(error)}") from error
