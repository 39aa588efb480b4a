"""Digests that are made of local files while these are read for something else.

Where an exposure has reference pixels at its sides, or is a single tile, its file is read from the
beginning to the end in one pass. Whoever wants a digest afterwards need not read it again.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from calbatch.models.storage.stamps import Hashing, ReadAt, Stamp

LARGEST_GAP = 1 << 20
"""The longest gap, in bytes, that is read only for the digest, such as headers.

After a longer one, the rest of the file is left to be read at the end.
"""


class PassingDigest:
    """A digest of the beginning of a file, as far as it has been read; thread-safe.

    Parameters
    ----------
    hashing : Hashing
        The kind of digest.

    Attributes
    ----------
    kind : str
        The kind.
    """

    def __init__(self, hashing: Hashing) -> None:
        self.kind = hashing.kind
        self._digest, self._stop = hashing.new(), 0
        self._lock = threading.Lock()

    def add(self, read: ReadAt, position: int, octets: memoryview) -> None:
        """Take up bytes that have been read, if they follow those so far, or nearly so.

        Parameters
        ----------
        read : callable
            Reads the bytes that are missing between those so far and these.
        position : int
            The position of the first byte in the file.
        octets : memoryview
            The bytes.
        """
        stop = position + len(octets)
        with self._lock:
            if stop <= self._stop or position > self._stop + LARGEST_GAP:
                return
            if position > self._stop:
                between = read(self._stop, position - self._stop)
                if self._stop + len(between) < position:
                    return  # the file has become shorter, as its next reader will report
                self._digest.update(between)
            self._digest.update(octets[max(0, self._stop - position) :])
            self._stop = stop

    def so_far(self) -> tuple[Any, int]:
        """Return a copy of the digest, to be continued, and the number of bytes that it covers."""
        with self._lock:
            return self._digest.copy(), self._stop


_in_progress: dict[tuple[Stamp, int], PassingDigest] = {}
"""The digests in progress, by stamp and time of the last status change.

A stamp alone does not tell a file from a replacement of the same size and time.
"""


@contextmanager
def digest_in_passing(stamp: Stamp, hashing: Hashing) -> Iterator[None]:
    """Make a digest of a local file while this process reads it within the context.

    Of threads that read the same file at the same time, the first makes the digest.
    """
    key, mine = (stamp, stamp.ctime_ns), PassingDigest(hashing)
    try:
        _in_progress.setdefault(key, mine)
        yield
    finally:
        if _in_progress.get(key) is mine:
            del _in_progress[key]


def find_passing_digest(stamp: Stamp, ctime_ns: int) -> PassingDigest | None:
    """Return the digest that is being made of a file, or None.

    Parameters
    ----------
    stamp : Stamp
        The file.
    ctime_ns : int
        The time of its last status change, of the file that is open or of that in the stamp.
    """
    return _in_progress.get((stamp, ctime_ns))
