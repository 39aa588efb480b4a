"""Which files running clients need, so that pruning a shared cache spares them.

A client notes the names it asked for in ``config/<observatory>/.in-use/<id>.names`` and locks
``<id>.lock`` beside it. The operating system lets go of the lock when the process ends, however it
ends; what was noted counts for nothing from then on, and the next to prune removes it.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock

from calbatch.crds_client.cache.layout import Cache, is_mapping, replace_text


def _folder(cache: Cache) -> Path:
    return cache.config / ".in-use"


@contextlib.contextmanager
def lock_holds(cache: Cache) -> Iterator[None]:
    """Keep others from noting names, or from pruning, meanwhile: both take little time."""
    folder = _folder(cache)
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        yield


class Hold:
    """The names that one client needs; others' pruning spares them until the process ends.

    Parameters
    ----------
    cache : Cache
        Nothing is written until there is something to note, or if the cache is read-only.
    """

    def __init__(self, cache: Cache) -> None:
        self.id = uuid.uuid4().hex
        self._cache = cache
        self._names: set[str] = set()
        self._lock: filelock.BaseFileLock | None = None

    def __reduce__(self) -> tuple[type[Hold], tuple[Cache]]:
        """Copy and pickle as one that holds nothing yet: a lock is its process's own."""
        return Hold, (self._cache,)

    def add(self, names: Iterable[str]) -> None:
        """Note references; rules are not pruned. A cache that cannot be written to is let be."""
        new = {name for name in names if not is_mapping(name)} - self._names
        if not new or self._cache.read_only:
            return
        folder = _folder(self._cache)
        with contextlib.suppress(OSError):
            with lock_holds(self._cache):
                if self._lock is None:
                    names_in_use(self._cache)  # what dead ones left goes
                    self._lock = filelock.FileLock(folder / f"{self.id}.lock", thread_local=False)
                    self._lock.acquire()
                names = self._names | new
                replace_text(folder / f"{self.id}.names", "\n".join(sorted(names)))
            self._names = set(names)

    def release(self) -> None:
        """Need nothing any more."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._names = set()


def names_in_use(cache: Cache, but: str = "") -> set[str]:
    """Give the names that running clients need, and remove what dead ones left.

    Parameters
    ----------
    cache : Cache
        With `noting` held.
    but : str
        The `Hold` whose names do not count.
    """
    found: set[str] = set()
    for path in _folder(cache).glob("*.names"):
        if path.stem != but and not _remove_if_abandoned(path):
            found.update(path.read_text(encoding="utf-8").split())
    return found


def _remove_if_abandoned(path: Path) -> bool:
    """Tell whether whoever noted the names is gone; then remove them."""
    lock = path.with_suffix(".lock")
    try:
        with filelock.FileLock(lock, timeout=0):
            path.unlink()
            lock.unlink(missing_ok=True)
    except filelock.Timeout:
        return False
    return True
