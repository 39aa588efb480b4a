"""Rows of references that a process keeps from one exposure to the next.

Exposures of a batch mostly share their references, and are cut into the same tiles: a process that
calibrates many of them would read and decode the same rows again and again. How many bytes it keeps
is ``calbatch.reference-cache-bytes`` in dask's configuration; by default none, as a process that
calibrates one exposure would keep them in vain.
"""

import mmap
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import dask
import numpy as np

from calbatch.models.fits.readers import Array, Bounds, Reader

SETTING = "calbatch.reference-cache-bytes"

PATIENCE = 4
"""What is kept makes room once so many times the limit was asked for without it.

Exposures ask for the same rows in turn. Were the oldest always the first to go, a limit just below
what they ask for would keep only what is not asked for next.
"""


@dataclass
class _Entry:
    array: Array
    used: int  # bytes that had been asked for when it was


class Kept:
    """Arrays by key, within a limit of bytes; for any thread."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()  # the longest unused first
        self._lock = threading.Lock()
        self._asked = 0
        self.bytes = 0
        """How many are kept."""

    def find(self, key: Hashable) -> Array | None:
        """Return what is kept, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            self._asked += entry.array.nbytes
            entry.used = self._asked
            return entry.array

    def keep(self, key: Hashable, array: Array, limit: int) -> None:
        """Keep an array if there is room, or can be made from what nobody seems to want."""
        with self._lock:
            self._asked += array.nbytes
            if key in self._entries or not array.nbytes:  # another thread may have been as quick
                return
            while self.bytes > limit or (self.bytes + array.nbytes > limit and self._stale(limit)):
                _, oldest = self._entries.popitem(last=False)
                self.bytes -= oldest.array.nbytes
            if self.bytes + array.nbytes <= limit:
                self._entries[key] = _Entry(_apart(array), self._asked)
                self.bytes += array.nbytes

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def _stale(self, limit: int) -> bool:
        oldest = next(iter(self._entries.values()), None)
        return oldest is not None and self._asked - oldest.used > PATIENCE * limit


def _apart(array: Array) -> Array:
    """Return a read-only copy that has its own pages.

    Among the arrays that come and go with every tile, what stays would leave gaps that are too
    small for the next ones: a third more memory.
    """
    pages = np.frombuffer(mmap.mmap(-1, array.nbytes), array.dtype)
    copy = pages.reshape(array.shape)
    copy[:] = array
    copy.flags.writeable = False
    return copy


_kept = Kept()


def kept_bytes() -> int:
    """Return how many bytes of references this process keeps."""
    return _kept.bytes


def forget() -> None:
    """Let go of the references that this process keeps."""
    _kept.clear()


def shared_rows(reader: Reader, rows: Bounds, cols: Bounds) -> Array:
    """Return some rows and columns of a reader, read-only: others may be given the same array.

    Raises
    ------
    FileError, ValueError
        As `Reader.read`.
    """
    (array,) = shared_beside(reader, rows, [cols])
    return array


def shared_beside(reader: Reader, rows: Bounds, cols: Sequence[Bounds]) -> list[Array]:
    """Return several ranges of columns of the same rows, as `shared_rows`, read in one pass."""
    limit: int = dask.config.get(SETTING, None) or 0
    name = reader.key() if limit else None
    if name is None:
        return _read(reader, rows, cols)
    keys = [(name, rows, each) for each in cols]
    found = [_kept.find(key) for key in keys]
    arrays = [array for array in found if array is not None]
    if len(arrays) < len(keys):
        arrays = _read(reader, rows, cols)
        for key, array in zip(keys, arrays, strict=True):
            _kept.keep(key, array, limit)
    return arrays


def _read(reader: Reader, rows: Bounds, cols: Sequence[Bounds]) -> list[Array]:
    arrays = reader.read_beside(rows, cols)
    for array in arrays:
        array.flags.writeable = False
    return arrays
