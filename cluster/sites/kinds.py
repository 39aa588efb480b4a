"""The kinds of sites: one table, to which other packages add theirs through entry points.

A package adds a kind through the entry-point group ``calbatch.sites``. The entry point's name is
that of the kind; its object is a subclass of `SiteKind`:

.. code-block:: toml

   [project.entry-points."calbatch.sites"]
   htcondor = "calbatch_htcondor:CondorKind"
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import is_dataclass, replace
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites.options import (
    AddressOptions,
    ClusterOptions,
    LocalOptions,
    SlurmOptions,
)

if TYPE_CHECKING:
    from calbatch.cluster.sites.site import Site
    from calbatch.cluster.sites.slurm.driver_job import DriverJob

OptionsT = TypeVar("OptionsT")

GROUP = "calbatch.sites"
"""Entry-point group of kinds that other packages add."""


class SiteKind(Generic[OptionsT]):
    """A kind of site: its options, and how to open a site with them.

    Attributes
    ----------
    options : type
        A frozen dataclass whose fields are declared with
        `calbatch.cluster.sites.options.option`, with types as in the built-in kinds' options.
    required : str
        Name of the option without which there is no site; empty if there is none.
    """

    options: ClassVar[type]
    required: ClassVar[str] = ""

    def open(self, options: OptionsT, grain: str, batch: str) -> AbstractContextManager[Site]:
        """Return a context manager that opens a site.

        Parameters
        ----------
        options : dataclass
            The site's options.
        grain : {"exposure", "tile"}
            Size of a task.
        batch : str
            Name of the batch that it is opened for; empty if for several.

        Raises
        ------
        RequestError
            On entering the context, if the site cannot be opened.
        """
        raise NotImplementedError

    def for_one_exposure(self, options: OptionsT) -> OptionsT:
        """Return the options of a site for one exposure that may need all of its memory."""
        return options

    def driver_job(self, options: OptionsT, name: str) -> DriverJob | None:
        """Return the Slurm job that is to run a batch's driver.

        None, the default, stands for a background process of this host.
        """
        return None

    def end_jobs(self, options: OptionsT, batch: str) -> None:
        """End the worker jobs of a batch whose driver has died.

        Raises
        ------
        RequestError
            If they cannot be ended.
        """


class LocalKind(SiteKind[LocalOptions]):
    """Worker processes of this machine."""

    options = LocalOptions

    def open(self, options: LocalOptions, grain: str, batch: str) -> AbstractContextManager[Site]:
        """Return a context manager that starts a local cluster."""
        from calbatch.cluster.sites.local import affordable_workers, open_local_cluster

        return open_local_cluster(options.workers or affordable_workers(), grain)

    def for_one_exposure(self, options: LocalOptions) -> LocalOptions:
        """Return the options of a single worker, which has all the memory."""
        return replace(options, workers=1)


class SlurmKind(SiteKind[SlurmOptions]):
    """Workers in Slurm jobs."""

    options = SlurmOptions

    def open(self, options: SlurmOptions, grain: str, batch: str) -> AbstractContextManager[Site]:
        """Return a context manager that submits worker jobs."""
        from calbatch.cluster.sites.slurm.slurm_site import open_slurm

        return open_slurm(options, grain, batch)

    def for_one_exposure(self, options: SlurmOptions) -> SlurmOptions:
        """Return the options of one job with a single worker, which has twice the memory."""
        from calbatch.cluster.sites.slurm.job_options import single_worker_job

        return single_worker_job(options)

    def driver_job(self, options: SlurmOptions, name: str) -> DriverJob | None:
        """Return the driver's job."""
        from calbatch.cluster.sites.slurm.job_options import driver_job

        return driver_job(options, name)

    def end_jobs(self, options: SlurmOptions, batch: str) -> None:
        """Cancel the jobs, and remove their certificates."""
        from calbatch.cluster.sites.slurm.slurm_site import end_batch_jobs

        end_batch_jobs(options, batch)


class AddressKind(SiteKind[AddressOptions]):
    """A dask scheduler that is already running."""

    options = AddressOptions
    required = "address"

    def open(self, options: AddressOptions, grain: str, batch: str) -> AbstractContextManager[Site]:
        """Return a context manager that connects to the scheduler."""
        from calbatch.cluster.sites.remote import open_scheduler

        return open_scheduler(options.address, grain, insecure=options.insecure)


class ClusterKind(SiteKind[ClusterOptions]):
    """Any dask cluster class."""

    options = ClusterOptions
    required = "path"

    def open(self, options: ClusterOptions, grain: str, batch: str) -> AbstractContextManager[Site]:
        """Return a context manager that creates a cluster."""
        from calbatch.cluster.sites.custom import open_cluster

        return open_cluster(options, grain)


KINDS: dict[str, SiteKind[Any]] = {
    "local": LocalKind(),
    "slurm": SlurmKind(),
    "address": AddressKind(),
    "cluster": ClusterKind(),
}
"""Built-in kinds by name; no entry point replaces one."""


def kind_names() -> list[str]:
    """Return the names of all kinds, the built-in ones first."""
    return [*KINDS, *sorted(_package_kinds() - KINDS.keys())]


def find_kind(name: str) -> SiteKind[Any]:
    """Return a kind by its name.

    Raises
    ------
    RequestError
        If there is no such kind, or the package that adds it is broken.
    """
    if name in KINDS:
        return KINDS[name]
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        close = get_close_matches(str(name), kind_names(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise RequestError(f"kind {name!r}: unknown{hint}; kinds are {', '.join(kind_names())}")
    return _load(points[name])


def _package_kinds() -> set[str]:
    return {point.name for point in entry_points(group=GROUP)}


def _load(point: EntryPoint) -> SiteKind[Any]:
    try:
        kind = point.load()
    except Exception as error:  # importing another package's code may raise anything
        raise RequestError(
            f"kind {point.name}: {point.value} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, SiteKind)):
        raise RequestError(f"kind {point.name}: {point.value} is not a subclass of SiteKind")
    if not is_dataclass(getattr(kind, "options", None)):
        raise RequestError(f"kind {point.name}: {point.value} has no dataclass `options`")
    return kind()
