"""The interface of files: their identity, and how they are read.

It has two implementations: `calbatch.models.storage.local_files` and, for objects at URLs,
`calbatch.models.storage.remote_files`. `calbatch.models.storage.files` chooses between them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple, Protocol

ReadAt = Callable[[int, int], bytes]
"""Takes a position and a number of bytes; returns the bytes, fewer where the file ends."""

Range = tuple[int, int]
"""Start and stop, in bytes."""

GZIP_MAGIC = b"\x1f\x8b"
"""The first bytes of a gzipped file."""


class Hashing(NamedTuple):
    """A kind of digest.

    Attributes
    ----------
    kind : str
        Its name.
    new : callable
        Returns a digest in the making, such as `hashlib.sha256`.
    """

    kind: str
    new: Callable[[], Any]


class FileVersion(NamedTuple):
    """The part of a file's identity that is known without opening the file.

    Attributes
    ----------
    path : str
        Absolute path, or URL.
    size : int
        Size in bytes.
    mtime_ns : int
        Time of the last modification in nanoseconds.
    """

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Stamp:
    """The identity of a file at the time it was first examined.

    Attributes
    ----------
    path : str
        Absolute path, or URL.
    size : int
        Size in bytes.
    mtime_ns : int
        Time of the last modification in nanoseconds; for an object see
        `calbatch.models.storage.stores.ObjectInfo`.
    is_gzipped : bool
        True if positions refer to the decompressed content.
    version : str
        The store's identifier of this version of an object: an ETag, otherwise a time. Empty for
        a local file.
    version_kind : str
        The kind of that identifier; see `calbatch.models.storage.stores.ObjectInfo`.
    ctime_ns : int
        Time of a local file's last status change in nanoseconds, which no program can set.
    """

    path: str
    size: int
    mtime_ns: int
    is_gzipped: bool = False
    version: str = ""
    version_kind: str = ""
    ctime_ns: int = field(default=0, compare=False)  # a new hard link does not make another file


class OpenFile(Protocol):
    """A file that is open for reading."""

    def read(self, position: int, count: int) -> bytes:
        """Return the bytes at a position, fewer where the file ends."""
        ...

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill a buffer with the bytes at a position.

        Raises
        ------
        FileError
            If the file ends too early, is gone or was replaced.
        StorageError
            If the disk or the server fails.
        """
        ...

    def read_ahead(self) -> ReadAt:
        """Return a function like `read` that serves many small reads from few large ones."""
        ...

    def stream(self) -> IO[bytes]:
        """Return a new file object, which the caller closes."""
        ...


class File(Protocol):
    """A file at a path or URL."""

    def stamp(self) -> Stamp:
        """Return the file's identity."""
        ...

    def version(self) -> FileVersion | None:
        """Return the part of the identity that is known without opening the file."""
        ...

    def open(self, stamp: Stamp, ranges: Sequence[Range] = ()) -> AbstractContextManager[OpenFile]:
        """Open the file and verify that it still has the given stamp."""
        ...

    def content_digest(self, stamp: Stamp, hashing: Hashing) -> str:
        """Return a digest, or the version, of the content that the stamp stands for."""
        ...
