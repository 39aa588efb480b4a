"""Files by path or URL: identified once, and rejected if they have changed when they are read.

See `calbatch.models.storage.stamps` for the interface of both kinds of file.
"""

import errno
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import IO

from calbatch.models.errors import FileError, ModelError, one_line
from calbatch.models.storage.local_files import LocalFile
from calbatch.models.storage.location import Url, is_url, location
from calbatch.models.storage.remote_files import RemoteFile
from calbatch.models.storage.stamps import File, FileVersion, OpenFile, Range, ReadAt, Stamp

_GZIP_BUFFER = 1 << 20


def read_small_file(path: str | os.PathLike[str], longest: int) -> bytes:
    """Return the content of a local file, in whose place others may have put something else.

    Parameters
    ----------
    path : path
        The file.
    longest : int
        The largest acceptable size in bytes.

    Raises
    ------
    OSError
        If it cannot be read, is longer, or is a pipe or a device, which is not waited for.
    """

    def open_at_once(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)  # a pipe would be waited for

    with open(path, "rb", opener=open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, not a file")
        content = file.read(longest + 1)
    if len(content) > longest:
        raise OSError(errno.EFBIG, f"it is longer than {longest} bytes")
    return content


def file_at(path: str | os.PathLike[str]) -> File:
    """Return the file at a path or URL; nothing is accessed yet."""
    place = location(path)
    return RemoteFile(place) if isinstance(place, Url) else LocalFile(place)


def _file_of(stamp: Stamp) -> File:
    path = stamp.path
    return RemoteFile(Url(path)) if is_url(path) else LocalFile(path)


def read_stamp(path: str | os.PathLike[str]) -> Stamp:
    """Return the stamp of a regular, readable, non-empty file, or of an object at a URL.

    Raises
    ------
    FileError
        If the file does not exist, is a directory or a device, is empty or not readable.
    StorageError
        If the URL's server cannot be reached or fails.
    """
    return file_at(path).stamp()


def current_version(path: str | os.PathLike[str]) -> FileVersion | None:
    """Return the part of a file's identity that is known without opening the file.

    None if the file evidently cannot be read; `read_stamp` raises an error with the reason.
    """
    file = file_at(path)
    try:
        return file.version()
    except (OSError, ValueError, ModelError):
        return None


def open_file(stamp: Stamp, ranges: Sequence[Range] = ()) -> AbstractContextManager[OpenFile]:
    """Open a file for reading, and verify that it is still the same.

    A local file is verified when it is opened. An object is verified when the context ends: if it
    is unchanged then, so was everything that was read before.

    Parameters
    ----------
    stamp : Stamp
        The file.
    ranges : sequence of (int, int)
        The ranges that will be read, in bytes; an object's are requested together.

    Raises
    ------
    ChangedError
        If its size, time or version has changed.
    FileError
        If the file is gone.
    """
    return _file_of(stamp).open(stamp, ranges)


@contextmanager
def open_decompressed(stamp: Stamp) -> Iterator[ReadAt]:
    """Open a file and yield a function that reads by position, decompressing gzipped content.

    Positions should increase: going back in a gzipped file decompresses it from its beginning.
    """
    with open_file(stamp) as file:
        if not stamp.is_gzipped:
            yield file.read_ahead()
            return
        with file.stream() as raw, gzip.GzipFile(fileobj=raw) as stream:
            # The buffer serves small steps back without decompressing from the beginning.
            buffered = io.BufferedReader(stream, _GZIP_BUFFER)
            yield lambda position, count: _decompress(buffered, position, count, stamp)


def _decompress(stream: IO[bytes], position: int, count: int, stamp: Stamp) -> bytes:
    try:
        stream.seek(position)
        return stream.read(count)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(stamp.path, f"damaged or truncated gzip data: {one_line(error)}") from error
