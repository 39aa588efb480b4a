"""Files on this machine.

Memory mapping is not used: if a mapped file is truncated, reading it kills the process.
"""

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from calbatch.models.errors import (
    ChangedError,
    FileError,
    MissingFileError,
    StorageError,
    format_count,
)
from calbatch.models.storage.passing_digests import PassingDigest, find_passing_digest
from calbatch.models.storage.stamps import GZIP_MAGIC, FileVersion, Hashing, Range, ReadAt, Stamp

READ_AHEAD = 1 << 16
"""Bytes that are read at a time where headers are read."""

_PAGE = 1 << 12
_WORTH_FLUSHING = 1 << 18
"""Bytes from which on a range of a file is written to disk early."""

_REASONS = {
    errno.ENOENT: "there is no such file",
    errno.EACCES: "no permission to read it",
    errno.EPERM: "no permission to read it",
    errno.ENOTDIR: "there is no such file: part of the path is not a directory",
    errno.ELOOP: "its symbolic links form a loop",
}


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine.

    Parameters
    ----------
    path : str or path-like
        Its path.
    """

    path: str | os.PathLike[str]

    def _absolute_path(self) -> Path:
        path = self.path if isinstance(self.path, Path) else Path(self.path)
        return path.absolute()

    def stamp(self) -> Stamp:
        """Return the identity of a regular, readable, non-empty file.

        Raises
        ------
        FileError
            If the file does not exist, is a directory or a device, is empty or not readable.
        """
        path = self._absolute_path()
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            raise _access_error(path, error) from error
        _require_regular(path, status)
        stamp = Stamp(str(path), status.st_size, status.st_mtime_ns, ctime_ns=status.st_ctime_ns)
        with self.open(stamp) as file:
            magic = file.read(0, len(GZIP_MAGIC))
        return replace(stamp, is_gzipped=True) if magic == GZIP_MAGIC else stamp

    def version(self) -> FileVersion | None:
        """Return the file's path, size and time; None if it is empty or not a regular file.

        Raises
        ------
        OSError, ValueError
            If the file does not exist or its status cannot be read.
        """
        path = self._absolute_path()
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
            return None
        return FileVersion(str(path), status.st_size, status.st_mtime_ns)

    @contextmanager
    def open(self, stamp: Stamp, ranges: Sequence[Range] = ()) -> Iterator["OpenLocalFile"]:
        """Open the file and verify that its size and time are those of the stamp.

        Opening takes a few microseconds, so descriptors are not kept open: threads share none, a
        fork inherits none, and the process does not run out of them.

        Raises
        ------
        ChangedError
            If the size or time has changed.
        FileError
            If the file is gone or cannot be opened.
        """
        try:
            descriptor = os.open(stamp.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _access_error(Path(stamp.path), error) from error
        try:
            status = os.fstat(descriptor)
            if (status.st_size, status.st_mtime_ns) != (stamp.size, stamp.mtime_ns):
                raise ChangedError(stamp.path, "was replaced or changed since it was first read")
            digest = find_passing_digest(stamp, status.st_ctime_ns)
            yield OpenLocalFile(descriptor, stamp.path, digest)
        finally:
            os.close(descriptor)

    def content_digest(self, stamp: Stamp, hashing: Hashing) -> str:
        """Return the kind and the digest of the file as stored.

        What has no digest yet (see `calbatch.models.storage.passing_digests`) is read again. Soon
        after the pixels were read, the system still caches it.

        Raises
        ------
        ChangedError
            If anything about the file has changed since it was stamped, even its permissions.
        FileError
            If the file is gone.
        StorageError
            If the disk fails.
        """
        with self.open(stamp) as file, file.stream() as stream:
            try:
                begun, position = _find_begun(stamp, hashing)
                stream.seek(position)
                digest = hashlib.file_digest(cast("io.BufferedReader", stream), lambda: begun)
                status = os.fstat(stream.fileno())
            except OSError as error:
                raise _disk_error(stamp.path, error) from error
        now = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        if now != (stamp.size, stamp.mtime_ns, stamp.ctime_ns):
            raise ChangedError(stamp.path, "was replaced or changed while it was read")
        return f"{hashing.kind}:{digest.hexdigest()}"


def _find_begun(stamp: Stamp, hashing: Hashing) -> tuple[Any, int]:
    """Return the digest to continue, and the position at which to continue."""
    passing = find_passing_digest(stamp, stamp.ctime_ns)
    if passing is None or passing.kind != hashing.kind:
        return hashing.new(), 0
    return passing.so_far()


class OpenLocalFile:
    """A file on this machine that is open for reading; the caller closes the descriptor.

    Parameters
    ----------
    descriptor : int
        The open file.
    path : str
        Its path, for messages.
    digest : PassingDigest, optional
        A digest that is made in passing of what fills buffers.
    """

    def __init__(self, descriptor: int, path: str, digest: PassingDigest | None = None) -> None:
        self._descriptor, self._path, self._digest = descriptor, path, digest

    def read(self, position: int, count: int) -> bytes:
        """Return the bytes at a position, fewer where the file ends."""
        try:
            return os.pread(self._descriptor, count, position)
        except OSError as error:
            raise _disk_error(self._path, error) from error

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill a buffer with the bytes at a position.

        Raises
        ------
        FileError
            If the file ends too early.
        StorageError
            If the disk fails.
        """
        done = 0
        while done < len(view):
            try:
                count = os.preadv(self._descriptor, [view[done:]], position + done)
            except OSError as error:
                raise _disk_error(self._path, error) from error
            if count == 0:
                raise FileError(
                    self._path,
                    f"truncated while reading: {format_count(len(view), 'byte')} requested at byte "
                    f"{position}, only {done} present",
                )
            done += count
        if self._digest is not None:
            self._digest.add(self.read, position, view)

    def read_ahead(self) -> ReadAt:
        """Return a function like `read` that serves many small reads from few large ones."""
        return _ReadAhead(self.read)

    def stream(self) -> IO[bytes]:
        """Return a file object with a descriptor of its own."""
        return os.fdopen(os.dup(self._descriptor), "rb")


class _ReadAhead:
    """Serves small reads, such as those of headers, from the last piece that was read."""

    def __init__(self, read: ReadAt) -> None:
        self._read, self._start, self._piece = read, -1, b""

    def __call__(self, position: int, count: int) -> bytes:
        """Return the bytes at a position, fewer where the file ends."""
        if count >= READ_AHEAD:
            return self._read(position, count)
        at = position - self._start
        is_whole = len(self._piece) == READ_AHEAD  # a shorter piece ends where the file does
        if not 0 <= at <= len(self._piece) - (count if is_whole else 0):
            self._start, self._piece, at = position, self._read(position, READ_AHEAD), 0
        return self._piece[at : at + count]


def _require_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise FileError(path, "is a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise FileError(path, "is not a regular file")
    if status.st_size == 0:
        raise FileError(path, "is empty (0 bytes)")


def _access_error(path: Path, error: Exception) -> FileError:
    is_missing = isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR)
    return (MissingFileError if is_missing else FileError)(path, _reason(path, error))


def _reason(path: Path, error: Exception) -> str:
    if not isinstance(error, OSError) or error.errno is None:
        return f"is not a path: {error}"
    if error.errno == errno.ENOENT and path.is_symlink():
        return f"is a symbolic link to {path.readlink()}, which does not exist"
    return _REASONS.get(error.errno, f"cannot be read: {os.strerror(error.errno)}")


def _disk_error(path: str, error: OSError) -> StorageError:
    return StorageError(path, f"reading failed: {error.strerror or error}")


def sync_folder(folder: Path) -> None:
    """Flush the names of a folder's files to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_flush(descriptor: int, start: int, stop: int, floor: int = 0) -> None:
    """Begin to write a range of a file to disk, without waiting, if the system supports it.

    What `os.fsync` waits for later is then done already. Pages at both ends are left out if other
    bytes of them may follow. Most of these pages stay in the system's cache, since they are not on
    disk when the advice is given; those before them, as many again, are released if they are.

    Parameters
    ----------
    descriptor : int
        The open file.
    start, stop : int
        The range, in bytes.
    floor : int
        Position before which no pages are released, such as those of a header to be read again.
    """
    pages = whole_pages(start, stop)
    if pages:
        release_pages(descriptor, pages.start, len(pages))
        before = max(floor, start - len(pages))
        if before < start:
            release_pages(descriptor, before, start - before)


def release_pages(descriptor: int, start: int = 0, size: int = 0) -> None:
    """Remove the pages of a file that are on disk from the system's cache, if it supports this.

    The next pages to be written take their place. Otherwise, a batch fills the memory with files
    that nobody may read soon: they count in the memory of a container, and a virtual machine that
    returns free memory to its host has to request it again, at ten times the cost of writing.

    Parameters
    ----------
    descriptor : int
        The open file.
    start : int
        Position of the first byte.
    size : int
        Number of bytes; 0 for all that follow. Pages that are in this range only in part stay.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):  # only an advice
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)


def whole_pages(start: int, stop: int) -> range:
    """Return the part of a range that is whole pages; nothing if it is not worth a flush."""
    first, last = -(-start // _PAGE) * _PAGE, stop // _PAGE * _PAGE
    return range(first, last if last - first >= _WORTH_FLUSHING else first)


def reserve_space(descriptor: int, size: int) -> None:
    """Set a file's size, and reserve its disk space if the system supports it."""
    if hasattr(os, "posix_fallocate"):
        try:
            return os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    return os.ftruncate(descriptor, size)
