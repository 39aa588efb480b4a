"""Choosing the place where a batch runs, and opening it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Self

from calbatch.cluster.errors import RequestError, SiteLostError
from calbatch.cluster.sites.forking import keep_freed_memory
from calbatch.cluster.sites.in_process import InProcess, describe_threads
from calbatch.cluster.sites.kinds import find_kind
from calbatch.cluster.sites.named_sites import NamedSite, find_site, open_site, override_options
from calbatch.cluster.sites.options import AddressOptions, LocalOptions
from calbatch.cluster.sites.site import Site
from calbatch.models.errors import format_count
from calbatch.models.jit import load_numba

SMALL_BATCH = 64 * 2**20
"""Bytes of input that take less time to calibrate than a cluster takes to start."""

FEW, FEW_BYTES = 3, 384 * 2**20
"""Number and bytes of exposures that threads finish first, without the start of a cluster.

Measured on two cores with full frames of 10 groups: three take 2.3 s in threads and 2.5 s in a
cluster, four 2.9 s and 2.6 s.
"""

REUSES = 3
"""A worker that has more exposures than this keeps decoded references for the next ones.

Measured with the same exposures: with two or three for each worker, new memory for the references
takes longer than reading them again; with 12, a batch takes a tenth less time if they are kept.
"""

IN_PROCESS = ("threads", "sync")
"""Schedulers that run in this process."""


@dataclass(frozen=True)
class SiteRequest:
    """The place that a user requested.

    Attributes
    ----------
    scheduler : str
        ``auto``, ``local``, ``threads``, ``sync``, or the address of a scheduler.
    workers : int, optional
        Number of worker processes or threads; by default one per core, as far as memory allows.
    grain : {"auto", "exposure", "tile"}
        Size of a task.
    insecure : bool
        Accept an unencrypted scheduler on another machine.
    site : str, optional
        Name of a configured site, instead of ``scheduler``.
    options : mapping
        Options of that site that override its configuration, as text.
    """

    scheduler: str = "auto"
    workers: int | None = None
    grain: str = "auto"
    insecure: bool = False
    site: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def named_site(self) -> NamedSite | None:
        """Return the site that is requested by name, with its options; None if none is.

        Raises
        ------
        RequestError
            If there is no such site, or an option is wrong.
        """
        if self.site is None:
            if self.options:
                raise RequestError(f"--site.{next(iter(self.options))}: of which site? --site NAME")
            return None
        return override_options(find_site(self.site), self.options)


@dataclass(frozen=True)
class Place:
    """The resolved place to run.

    Attributes
    ----------
    scheduler : str
        As in `SiteRequest`, but never ``auto``; the kind of a named site.
    workers : int
        Number of processes or threads; 0 if the site decides.
    grain : {"exposure", "tile"}
        Size of a task.
    insecure : bool
        As in `SiteRequest`.
    named_site : NamedSite, optional
        The configured site, if one was requested by name.
    keeps_references : bool
        False if each local worker has so few exposures that new memory costs more than it saves:
        it keeps no decoded references from one exposure to the next, and its tiles are small.
    """

    scheduler: str
    workers: int
    grain: str
    insecure: bool = False
    named_site: NamedSite | None = None
    keeps_references: bool = True

    @property
    def site(self) -> NamedSite | None:
        """The site to open; None if the batch runs in this process."""
        if self.named_site is not None:
            return self.named_site
        if self.scheduler in IN_PROCESS:
            return None
        if self.scheduler == "local":
            return NamedSite("local", "local", LocalOptions(self.workers))
        return NamedSite("", "address", AddressOptions(self.scheduler, self.insecure))

    @property
    def threads(self) -> int:
        """Threads of a batch that runs in this process."""
        return self.workers if self.scheduler == "threads" else 0

    @property
    def description(self) -> str:
        """A description of the place before it is opened."""
        if self.scheduler in IN_PROCESS:
            return describe_threads(self.threads)
        if self.scheduler == "local":
            return format_count(self.workers, "local worker")
        if self.named_site is not None:
            return f"the site {self.named_site.name}"
        return f"the scheduler at {self.scheduler}"

    def for_one(self) -> Place:
        """Return the place for one exposure that may need all of its memory."""
        site = self.site
        if site is None:
            return self
        options = find_kind(site.kind).for_one_exposure(site.options)
        if options == site.options:
            return self
        if self.scheduler == "local":
            return replace(self, workers=options.workers)
        return replace(self, named_site=replace(site, options=options))


def check_request(request: SiteRequest) -> None:
    """Refuse a request that cannot be met, before anything starts.

    Raises
    ------
    RequestError
        If the scheduler is of no known kind, or is not safe.
    """
    if request.named_site() is None and "://" in request.scheduler:
        from calbatch.cluster.sites.remote import refuse_insecure

        refuse_insecure(request.scheduler, insecure=request.insecure)
    choose_place(request, 1, 0)


def choose_place(
    request: SiteRequest,
    exposures: int,
    size: int,
    *,
    is_trusted: bool = False,
    has_killed: bool = False,
) -> Place:
    """Return the place for a request, with all open choices resolved.

    Parameters
    ----------
    request : SiteRequest
        The user's request.
    exposures : int
        Number of exposures.
    size : int
        Bytes of all inputs.
    is_trusted : bool
        True if only calbatch's own code reads and calibrates them, and none has failed before.
        Other code may crash a process, which is not to be this one.
    has_killed : bool
        True if a process died over one of them. What is open is then chosen such that nothing of
        an exposure runs in this process.

    Raises
    ------
    RequestError
        If the scheduler is of no known kind.
    """
    site = request.named_site()
    if site is not None and site.kind == "local":
        request = replace(
            request, scheduler="local", workers=request.workers or site.options.workers
        )
    elif site is not None:
        return Place(site.kind, 0, _grain_elsewhere(request), named_site=site)
    scheduler = request.scheduler
    if scheduler == "auto":
        is_open = request.grain == "auto" and not request.workers
        is_few = is_open and is_trusted and exposures <= FEW and size <= FEW_BYTES
        is_brief = size <= SMALL_BATCH or is_few
        is_here = not has_killed and (is_brief or _cores() == 1)
        scheduler = "threads" if is_here else "local"
    if "://" in scheduler:
        return Place(scheduler, 0, _grain_elsewhere(request), request.insecure)
    if scheduler == "sync":
        return Place(scheduler, 1, "tile")
    if scheduler == "threads":
        return Place(scheduler, request.workers or _cores(), "tile")
    if scheduler != "local":
        raise RequestError(
            f"scheduler {scheduler!r}: must be auto, local, threads, sync, or an address such as "
            "tcp://127.0.0.1:8786"
        )
    return _place_locally(request, exposures, has_killed=has_killed)


def _place_locally(request: SiteRequest, exposures: int, *, has_killed: bool) -> Place:
    """Return the place of worker processes on this machine."""
    workers = request.workers or _affordable_workers()
    grain = request.grain
    if grain == "auto":  # with fewer exposures than workers, some workers would be idle
        grain = "tile" if exposures < workers and not has_killed else "exposure"
    if grain == "exposure" and not request.workers:
        workers = max(1, min(workers, exposures))
    keeps_references = grain != "exposure" or exposures > REUSES * workers
    return Place("local", workers, grain, keeps_references=keeps_references)


def _grain_elsewhere(request: SiteRequest) -> str:
    return request.grain if request.grain != "auto" else "exposure"


def _cores() -> int:
    from dask.system import CPU_COUNT  # respects the limits of containers

    return CPU_COUNT


def _affordable_workers() -> int:
    from calbatch.cluster.sites.local import affordable_workers

    return affordable_workers()


def prepare_place(place: Place) -> None:
    """Start the slow part of `open_place` in the background."""
    if place.scheduler == "local":
        from calbatch.cluster.sites.local import start_server

        start_server()


def prepare_likely_place(request: SiteRequest, inputs: Sequence[str]) -> None:
    """Start the slow part of `open_place` before anything else is known, if workers are likely.

    Other modules are then imported, and exposures planned, while the process from which workers
    are forked imports what workers need. The guess decides nothing else.

    Parameters
    ----------
    request : SiteRequest
        The user's request.
    inputs : sequence of str
        Files and folders; others, such as globs, are not counted.
    """
    if request.site is None and "://" not in request.scheduler:
        count, size = _count_likely_exposures(inputs)
        with suppress(RequestError, OSError):  # reported when the batch is registered and driven
            prepare_place(choose_place(request, count, size, is_trusted=True))


def _count_likely_exposures(inputs: Sequence[str]) -> tuple[int, int]:
    """Return the number and bytes of FITS files among inputs, as soon as they are many."""
    count = size = 0
    for file in chain.from_iterable(map(_list_likely_files, inputs)):
        with suppress(OSError):
            size += file.stat().st_size
            count += 1
        if count > FEW and size > SMALL_BATCH:
            break
    return count, size


def _list_likely_files(name: str) -> Iterator[Path | os.DirEntry[str]]:
    """Yield the FITS files that an input names."""
    if os.path.isdir(name):  # noqa: PTH112 - a path raises errors for some names
        with suppress(OSError), os.scandir(name) as entries:
            yield from (entry for entry in entries if ".fits" in entry.name)
    elif os.path.isfile(name):  # noqa: PTH113
        yield Path(name)


def open_place(place: Place, alone: bool = False, batch: str = "") -> AbstractContextManager[Site]:
    """Return a context manager that opens the site of a place.

    Parameters
    ----------
    place : Place
        The place.
    alone : bool
        True if the site is for one exposure that may need all of its memory.
    batch : str
        Name of the batch that the site is for, if any. Jobs that earlier drivers of that batch left
        running are ended first.

    Raises
    ------
    RequestError
        On entering the context, if a scheduler cannot be reached or used.
    """
    place = place.for_one() if alone else place
    site = place.site
    if site is None:
        return _in_this_process(place)
    return _open_configured(place, open_site(site, place.grain, batch))


@contextmanager
def _open_configured(place: Place, opened: AbstractContextManager[Site]) -> Iterator[Site]:
    with configure_memory(place), opened as site:
        yield site


@contextmanager
def configure_memory(place: Place) -> Iterator[None]:
    """Set the memory of tiles and kept references for a place, as far as it is not configured."""
    import dask

    from calbatch.models.tiling import reference_cache, tile_edges

    wanted = {}
    if not place.keeps_references:
        wanted[reference_cache.SETTING] = 0
    if place.threads > 1 or not place.keeps_references:
        wanted[tile_edges.DEFAULT_BYTES] = tile_edges.SMALL_TILE_BYTES
    missing = {name: each for name, each in wanted.items() if dask.config.get(name, None) is None}
    with dask.config.set(missing):
        yield


@contextmanager
def _in_this_process(place: Place) -> Iterator[Site]:
    keep_freed_memory()
    load_numba()
    with configure_memory(place):
        yield InProcess(place.threads)


class SharedSite:
    """A site that stays open from one batch to the next, until it is lost.

    Parameters
    ----------
    place : Place
        The place.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._open = ExitStack()
        self._site: Site | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self._open.close()

    @contextmanager
    def open(self, place: Place, alone: bool, batch: str) -> Iterator[Site]:
        """Yield the site, opened again after a loss; a site for one exposure is not kept open."""
        if alone:
            with open_place(self.place, True, batch) as other:
                yield other
            return
        if self._site is None:
            self._site = self._open.enter_context(open_place(self.place))
        try:
            yield self._site
        except SiteLostError:
            self._site = None
            with suppress(Exception):  # it is lost already
                self._open.close()
            raise
