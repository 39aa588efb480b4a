"""Cache of reference rows, shared by the exposures that a process calibrates.

Exposures of a batch mostly share their references and are cut into the same tiles, so a process
that calibrates many of them would read and decode the same rows again and again. The size of the
cache is ``calbatch.reference-cache-bytes`` in dask's configuration. It is 0 by default: a process
that calibrates one exposure has no use for the rows afterwards.

A few columns, such as those of reference pixels, take as long to read as the whole rows, but hardly
any memory. Every process keeps them, in a small cache of their own.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import dask

from calbatch.models.fits.readers import Array, Reader
from calbatch.models.fits.row_runs import Bounds
from calbatch.models.storage.memory import allocate_pages, has_own_pages

SETTING = "calbatch.reference-cache-bytes"

PATIENCE = 4
"""An array can be evicted when this many times the limit has been requested since its last use.

Exposures request the same rows in turn. With plain least-recently-used eviction, a limit just below
their total size would evict every array shortly before its next use.
"""

COLUMN_BYTES = 1 << 22
"""Limit of the cache of columns."""

_ENTRY_BYTES = 6144
"""Memory that an array of a few columns takes at least: its page, its key and its entry."""

_NARROW = 64
"""The columns of rows that are this many times wider are kept in the cache of columns."""


@dataclass
class _CachedArray:
    array: Array
    used: int  # total bytes requested from the cache by the time of its last use


class ReferenceCache:
    """Arrays by key, within a limit of bytes; thread-safe.

    Parameters
    ----------
    least : int
        Bytes that an array counts at least.

    Attributes
    ----------
    bytes : int
        Total size of the arrays.
    requests, hits : int
        Number of arrays that were asked for, and of those that were there.
    """

    def __init__(self, least: int = 0) -> None:
        self._least = least
        self._entries: OrderedDict[Hashable, _CachedArray] = OrderedDict()  # oldest use first
        self._lock = threading.Lock()
        self._requested = 0
        self.bytes = self.requests = self.hits = 0

    def find(self, key: Hashable) -> Array | None:
        """Return the array of a key, or None."""
        with self._lock:
            self.requests += 1
            entry = self._entries.get(key)
            if entry is None:
                return None
            self.hits += 1
            self._entries.move_to_end(key)
            self._requested += entry.array.nbytes
            entry.used = self._requested
            return entry.array

    def add(self, key: Hashable, array: Array, limit: int) -> None:
        """Add an array if there is room for it, evicting arrays that are no longer used."""
        with self._lock:
            self._requested += array.nbytes
            if key in self._entries or not array.nbytes:  # another thread may have added it
                return
            self._drop_beyond(limit)
            size = max(array.nbytes, self._least)
            while self.bytes + size > limit and self._is_oldest_unused(limit):
                self._drop_oldest()
            if self.bytes + size <= limit:
                self._entries[key] = _CachedArray(_on_own_pages(array), self._requested)
                self.bytes += size

    def has_room(self, size: int, limit: int) -> bool:
        """Return whether as many bytes could be added without an eviction."""
        return self.bytes + size <= limit

    def drop_excess(self, limit: int) -> None:
        """Evict arrays, those used longest ago first, until the others are within a limit."""
        with self._lock:
            self._drop_beyond(limit)

    def _drop_beyond(self, limit: int) -> None:
        while self.bytes > limit:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, oldest = self._entries.popitem(last=False)
        self.bytes -= max(oldest.array.nbytes, self._least)

    def clear(self) -> None:
        """Remove all arrays."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def _is_oldest_unused(self, limit: int) -> bool:
        oldest = next(iter(self._entries.values()), None)
        return oldest is not None and self._requested - oldest.used > PATIENCE * limit


def _on_own_pages(array: Array) -> Array:
    """Return the array, or a read-only copy that does not lie among the arrays of tiles."""
    if has_own_pages(array):
        return array
    copy = allocate_pages(array.shape, array.dtype)
    copy[:] = array
    copy.flags.writeable = False
    return copy


_rows = ReferenceCache()
_columns = ReferenceCache(_ENTRY_BYTES)


def cached_bytes() -> int:
    """Return the size of this process's cache of rows."""
    return _rows.bytes


def count_requests() -> tuple[int, int]:
    """Return the numbers of requests for rows to this process's cache, and of those it answered."""
    return _rows.requests, _rows.hits


def drop_excess() -> None:
    """Evict rows from this process's cache until it is within the limit that is set now."""
    _rows.drop_excess(_row_limit())


def clear() -> None:
    """Empty this process's caches of rows and of columns."""
    _rows.clear()
    _columns.clear()


def _row_limit() -> int:
    limit: int = dask.config.get(SETTING, None) or 0
    return limit


def read_shared_rows(reader: Reader, rows: Bounds, cols: Bounds) -> Array:
    """Return some rows and columns of a reader, read-only: other callers may share the array.

    Raises
    ------
    FileError, ValueError
        As `Reader.read`.
    """
    (array,) = read_shared_columns(reader, rows, [cols])
    return array


def read_shared_columns(reader: Reader, rows: Bounds, cols: Sequence[Bounds]) -> list[Array]:
    """Return several ranges of columns of the same rows, read in one pass.

    The arrays are read-only, as those of `read_shared_rows`.
    """
    width = sum(stop - start for start, stop in cols)
    is_narrow = width * _NARROW <= len(reader.window.cols)
    cache, limit = (_columns, COLUMN_BYTES) if is_narrow else (_rows, _row_limit())
    reader_key = reader.key() if limit else None
    if reader_key is None:
        return _read_only(reader, rows, cols)
    keys = [(reader_key, rows, each) for each in cols]
    cached = [cache.find(key) for key in keys]
    arrays = [array for array in cached if array is not None]
    if len(arrays) < len(keys):
        column = reader.dtype.itemsize * math.prod(reader.window.cut(rows, (0, 0)).shape[:-1])
        fits = cache.has_room(column * width, limit)
        # Arrays that are kept are read into their own pages, rather than copied to them.
        arrays = _read_only(reader.into(allocate_pages) if fits else reader, rows, cols)
        for key, array in zip(keys, arrays, strict=True):
            cache.add(key, array, limit)
    return arrays


def _read_only(reader: Reader, rows: Bounds, cols: Sequence[Bounds]) -> list[Array]:
    arrays = reader.read_beside(rows, cols)
    for array in arrays:
        array.flags.writeable = False
    return arrays
