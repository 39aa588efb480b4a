"""The files that running clients need, which pruning a shared cache must spare.

A client records the names that it requested in ``config/<observatory>/.in-use/<id>.names`` and
locks ``<id>.lock`` beside it. When the process ends in any way, the operating system releases the
lock; the record is void from then on, and the next process that prunes removes it.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock

from calbatch.crds_client.answers import MAX_ANSWER
from calbatch.crds_client.cache.layout import Cache, is_mapping, replace_text
from calbatch.models.storage.files import read_small_file

log = logging.getLogger(__name__)


def _folder(cache: Cache) -> Path:
    return cache.config / ".in-use"


@contextlib.contextmanager
def lock_holds(cache: Cache) -> Iterator[None]:
    """Keep other processes from recording names or pruning; both are quick operations."""
    folder = _folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        yield


class Hold:
    """The files that one client needs, which other processes do not prune while it runs.

    Parameters
    ----------
    cache : Cache
        The cache. Nothing is written before the first name, or if the cache is read-only.
    """

    def __init__(self, cache: Cache) -> None:
        self.id = uuid.uuid4().hex
        self._cache = cache
        self._names: set[str] = set()
        self._lock: filelock.BaseFileLock | None = None

    def __reduce__(self) -> tuple[type[Hold], tuple[Cache]]:
        """Copy and pickle as an empty hold: a lock belongs to its process."""
        return Hold, (self._cache,)

    def add(self, names: Iterable[str]) -> None:
        """Record references, unless the cache cannot be written to. Rules are never pruned."""
        new = {name for name in names if not is_mapping(name)} - self._names
        if not new or self._cache.read_only:
            return
        folder = _folder(self._cache)
        with contextlib.suppress(OSError):
            with lock_holds(self._cache):
                if self._lock is None:
                    names_in_use(self._cache)  # removes the records of dead processes
                    self._lock = filelock.FileLock(folder / f"{self.id}.lock", thread_local=False)
                    self._lock.acquire()
                names = self._names | new
                replace_text(folder / f"{self.id}.names", "\n".join(sorted(names)))
            self._names = set(names)

    def release(self) -> None:
        """Release all names."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._names = set()


def names_in_use(cache: Cache, except_for: str = "") -> set[str]:
    """Return the names that running clients need; remove the records of dead ones.

    Parameters
    ----------
    cache : Cache
        The cache, inside `lock_holds`.
    except_for : str
        Id of a `Hold` whose names are left out.
    """
    names: set[str] = set()
    for path in _folder(cache).glob("*.names"):
        if path.stem != except_for and not _remove_if_abandoned(path):
            names.update(_read_names(path))
    return names


def _read_names(path: Path) -> list[str]:
    """Return the names in a record; none if it is not a file, or not one that can be read."""
    try:
        return read_small_file(path, MAX_ANSWER).decode("utf-8", "replace").split()
    except OSError as error:
        log.warning("%s cannot be read, and reserves no reference: %s", path, error)
        return []


def _remove_if_abandoned(path: Path) -> bool:
    """Remove a record whose process has ended; return whether it was removed."""
    lock = path.with_suffix(".lock")
    try:
        with filelock.FileLock(lock, timeout=0):
            path.unlink()
            lock.unlink(missing_ok=True)
    except filelock.Timeout:
        return False
    return True
