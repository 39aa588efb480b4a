"""Looking after a cache: what it holds, whether that is right, what may go."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import filelock

from calbatch.crds_client.answers import FileInfo, file_descriptions, parse_infos
from calbatch.crds_client.cache.holds import lock_holds, names_in_use
from calbatch.crds_client.cache.layout import Cache, is_mapping
from calbatch.crds_client.errors import CrdsError, MappingError
from calbatch.crds_client.fetching import file_lock, find_damage
from calbatch.crds_client.rules.mapping import load_mapping


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not as it should be."""

    name: str
    path: Path
    problem: str


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a cache holds: files and bytes."""

    files: int
    bytes: int


def cached_files(cache: Cache) -> Iterator[Path]:
    """Give all rules and references of a cache; not what is being fetched."""
    for folder in (cache.mappings, cache.references):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path


def usage(cache: Cache) -> Usage:
    """Say how much a cache holds."""
    sizes = [path.stat().st_size for path in cached_files(cache)]
    return Usage(len(sizes), sum(sizes))


def config_infos(cache: Cache, names: Iterable[str]) -> dict[str, FileInfo]:
    """Give the sizes and sums that the cache's ``server_config`` states."""
    return parse_infos(file_descriptions(cache.server_config()), names)


def verify(
    cache: Cache,
    infos: Mapping[str, FileInfo],
    names: Collection[str] | None = None,
    workers: int = 4,
) -> list[Fault]:
    """Read files again and compare them with what they should be.

    Parameters
    ----------
    cache : Cache
        As it is.
    infos : mapping
        Sizes and sums by name; rules also state their own.
    names : collection of str, optional
        Which files; all that the cache holds unless said.
    workers : int
        Files at once.

    Returns
    -------
    list of Fault
        Truncated, altered, unknown; in the order of names.
    """
    paths = [path for path in cached_files(cache) if names is None or path.name in names]
    with ThreadPoolExecutor(workers) as pool:
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
        return "is not known to the server, so that it cannot be verified"
    try:
        load_mapping(path.name, lambda _: path.read_text(encoding="utf-8"))
    except (MappingError, UnicodeDecodeError) as error:
        return str(error)
    return ""


def prune(cache: Cache, max_bytes: int, keep: Collection[str] = (), *, own: str = "") -> list[Path]:
    """Remove the references that were longest not used until the cache is small enough.

    What running clients asked for stays, in whatever process of whatever host they are.

    Parameters
    ----------
    cache : Cache
        Rules in it stay: they are small.
    max_bytes : int
        Of rules and references together.
    keep : collection of str
        Names that stay, such as those of the batch.
    own : str
        The `calbatch.crds_client.cache.holds.Hold` of who prunes: what it asked for earlier may go.

    Returns
    -------
    list of Path
        What was removed. A file that is being fetched is left alone.
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
        with contextlib.suppress(filelock.Timeout), file_lock(cache, path.name, waiting=0):
            path.unlink(missing_ok=True)
            excess -= size
            removed.append(path)
    return removed


def _oldest_first(cache: Cache) -> list[Path]:
    references = [path for path in cached_files(cache) if not is_mapping(path.name)]
    return sorted(references, key=lambda path: max(path.stat().st_atime, path.stat().st_mtime))
