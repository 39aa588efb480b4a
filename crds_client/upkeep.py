"""Maintenance of a cache: its contents, their verification, and their removal."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import filelock

from calbatch.crds_client.answers import FileInfo, file_descriptions, parse_infos
from calbatch.crds_client.cache.holds import lock_holds, names_in_use
from calbatch.crds_client.cache.layout import Cache, is_mapping
from calbatch.crds_client.errors import CrdsError, MappingError
from calbatch.crds_client.fetching import file_lock, find_damage
from calbatch.crds_client.rules.mapping import load_mapping
from calbatch.models.threads import ThreadPool


@dataclass(frozen=True, slots=True)
class Fault:
    """A damaged or missing file."""

    name: str
    path: Path
    problem: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The number of files in a cache, and their size in bytes."""

    files: int
    bytes: int


def cached_files(cache: Cache) -> Iterator[Path]:
    """Yield all rules and references in a cache, without unfinished downloads."""
    for folder in (cache.mappings, cache.references):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path


def usage(cache: Cache) -> Usage:
    """Return the number and size of the files in a cache."""
    sizes = [path.stat().st_size for path in cached_files(cache)]
    return Usage(len(sizes), sum(sizes))


def config_infos(cache: Cache, names: Iterable[str]) -> dict[str, FileInfo]:
    """Return the sizes and checksums in the cache's ``server_config``."""
    return parse_infos(file_descriptions(cache.server_config()), names)


def verify(
    cache: Cache,
    infos: Mapping[str, FileInfo],
    names: Collection[str] | None = None,
    workers: int = 4,
) -> list[Fault]:
    """Read cached files and compare their sizes and checksums with the expected ones.

    Parameters
    ----------
    cache : Cache
        The cache.
    infos : mapping
        Expected sizes and checksums by name. Rules contain their own checksum as well.
    names : collection of str, optional
        The files; by default all in the cache.
    workers : int
        Number of files that are read at the same time.

    Returns
    -------
    list of Fault
        Truncated, altered and unknown files, in the order of names.
    """
    paths = [path for path in cached_files(cache) if names is None or path.name in names]
    with ThreadPool(workers) as pool:
        faults = pool.map(lambda path: _fault(cache, path, infos.get(path.name)), paths)
        return [fault for fault in faults if fault is not None]


def _fault(cache: Cache, path: Path, info: FileInfo | None) -> Fault | None:
    try:
        problem = _problem(cache, path, info)
    except (OSError, CrdsError) as error:
        problem = str(error)
    return Fault(path.name, path, problem) if problem else None


def _problem(cache: Cache, path: Path, info: FileInfo | None) -> str:
    cache.find(path.name)  # UnsafeName
    if info is not None:
        return find_damage(path, info)
    if not is_mapping(path.name):
        return "is not known to the server and cannot be verified"
    try:
        load_mapping(path.name, lambda _: path.read_text(encoding="utf-8"))
    except (MappingError, UnicodeDecodeError) as error:
        return str(error)
    return ""


def prune(cache: Cache, max_bytes: int, keep: Collection[str] = (), *, own: str = "") -> list[Path]:
    """Remove the least recently used references until the cache is small enough.

    Files that running clients have requested are kept, regardless of their process and host.

    Parameters
    ----------
    cache : Cache
        The cache. Its rules are kept, because they are small.
    max_bytes : int
        Size of rules and references together.
    keep : collection of str
        Files to keep, such as those of the batch.
    own : str
        Id of the caller's own `calbatch.crds_client.cache.holds.Hold`, whose files may be removed.

    Returns
    -------
    list of Path
        The removed files. A file that is being fetched is kept.
    """
    excess = usage(cache).bytes - max_bytes
    if excess <= 0:
        return []
    with lock_holds(cache):
        return _prune(cache, excess, names_in_use(cache, own).union(keep))


def _prune(cache: Cache, excess: int, keep: Collection[str]) -> list[Path]:
    removed = []
    for path in _oldest_first(cache):
        if excess <= 0:
            break
        if path.name in keep:
            continue
        size = path.stat().st_size
        with contextlib.suppress(filelock.Timeout), file_lock(cache, path.name, waiting=False):
            path.unlink(missing_ok=True)
            excess -= size
            removed.append(path)
    return removed


def _oldest_first(cache: Cache) -> list[Path]:
    references = [path for path in cached_files(cache) if not is_mapping(path.name)]
    return sorted(references, key=lambda path: max(path.stat().st_atime, path.stat().st_mtime))
