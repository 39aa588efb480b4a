"""Jobs: one attempt at an exposure, as a small picklable object, and the code that runs it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from dask.base import compute
from dask.threaded import get as get_in_threads

from calbatch.calibrate import hooks, products
from calbatch.calibrate.errors import StepError
from calbatch.calibrate.references import ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import LostError
from calbatch.cluster.exposure.log import log_to_file
from calbatch.cluster.exposure.outcome import (
    MemoryPeak,
    Outcome,
    Stopwatch,
    collect_warnings,
    failure,
    peak_memory,
)
from calbatch.cluster.exposure.shared_plans import share_plan
from calbatch.cluster.exposure.unit import AssociationKeywords, UnitInput
from calbatch.models import datamodels
from calbatch.models.budget import limit_reference_cache
from calbatch.models.errors import ChangedError
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.fits.writer import FitsWriter
from calbatch.models.model import DataModel
from calbatch.models.saving import SaveResult, build_saving_graph, save_result
from calbatch.models.storage.content_digests import begin_content_digest, content_digest
from calbatch.models.storage.files import read_stamp
from calbatch.models.storage.location import Location, location
from calbatch.models.storage.memory import SETTING as MEMORY
from calbatch.models.storage.stamps import Stamp
from calbatch.models.storage.upload_permits import Permit
from calbatch.models.templates.saving_template import FilledTemplate
from calbatch.models.threads import CancelScope, ThreadPool
from calbatch.models.tiling import reference_cache
from calbatch.models.tiling.blocks import Blocks
from calbatch.models.tiling.portable import pack, unpack


@dataclass(frozen=True, kw_only=True)
class ExposureOptions:
    """Options for reading, tiling and writing exposures.

    Attributes
    ----------
    date : str, optional
        Value of the DATE keyword in products.
    fsync : bool
        True to flush products to disk before they are published.
    tile_rows, tile_bytes : int, optional
        Height of a tile in rows, or its memory limit; chosen by the models by default.
    verify_inputs : bool
        True to verify the checksums of inputs before they are calibrated.
    """

    date: str | None = None
    fsync: bool = True
    tile_rows: int | None = None
    tile_bytes: int | None = None
    verify_inputs: bool = False

    def dask_config(self) -> dict[str, Any]:
        """Return the dask configuration that carries the tile size."""
        values = {"calbatch.tile-rows": self.tile_rows, "calbatch.tile-bytes": self.tile_bytes}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attempt at an exposure.

    Attributes
    ----------
    number : int
        The exposure's position in the batch.
    path : Path or Url
        The input file.
    step : Step
        The configured step or pipeline. Products go to its ``output_dir``.
    references : ResolvedReferences
        The exposure's references.
    options : ExposureOptions
        How the exposure is read, tiled and written.
    batch : str
        Name of the batch, used in the names of unfinished files.
    stamp : (int, int), optional
        Size and modification time of the input when it was planned. A file that differs is refused.
    log : Path, optional
        Log file of the attempt, removed when it ends.
    staging : Path or Permit, optional
        Staging folder, or permit for an object store. The driver removes it to keep an abandoned
        attempt from publishing. By default, products are written beside their final names.
    inputs : sequence of UnitInput
        All inputs of a unit with members, including the main one.
    product : str
        Name of the products, without suffix; "" to name them after the input.
    association : AssociationKeywords, optional
        The association from which they are made.
    """

    number: int
    path: Location
    step: Step
    references: ResolvedReferences
    options: ExposureOptions
    batch: str
    stamp: tuple[int, int] | None = None
    log: Path | None = None
    staging: Path | Permit | None = None
    inputs: Sequence[UnitInput] = ()
    product: str = ""
    association: AssociationKeywords | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the step pickled by value: workers may be unable to import it."""
        state = dict(self.__dict__)
        if "step" in state:
            state[_PACKED] = _pack_step(state.pop("step"))
        return state

    def copy_step(self) -> Step:
        """Return the step for the exposure, which it may change: threads share the job."""
        step = copy.deepcopy(self.step)
        step.references = self.references
        step.save_results = True
        return step

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Unpickled on first use: schedulers pass jobs on and need not be able to import steps.
            if name == "step" and _PACKED in self.__dict__:
                return unpack(self.__dict__[_PACKED])
            raise AttributeError(name)


_PACKED = "_packed"


@lru_cache(maxsize=4)
def _pack_step(step: Step) -> bytes:
    """Return a pickled step; cached, since most exposures of a batch share one."""
    return pack(hooks.with_imported_hooks(step))


def build_products(job: Job, exposure: DataModel | None = None) -> list[tuple[Any, Location]]:
    """Run a job's pipeline lazily and return the models of its products with their paths.

    Parameters
    ----------
    job : Job
        The exposure.
    exposure : DataModel, optional
        Its model, if it has been opened already.

    Raises
    ------
    CalibrationError, ModelError
        If the exposure cannot be calibrated.
    """
    step = job.copy_step()
    if job.product:
        step.output_file = job.product
    step.members = open_members(job)
    step.staging = job.staging if isinstance(job.staging, Path) else None
    step.run_lazily(datamodels.open(job.path) if exposure is None else exposure)
    results = step.products()
    if job.inputs:
        products.require_states(step, results)
    if job.association is not None:
        for _, model in results:
            _record_association(model, job.association)
    return _place_products(job, step, results)


def _place_products(
    job: Job, step: Step, results: Sequence[tuple[str, DataModel]]
) -> list[tuple[Any, Location]]:
    """Return the models of products with their paths, none of which is that of an input."""
    pairs = products.place_products(step, results)
    _require_no_overwriting(job, [path for _, path in pairs])
    return pairs


def _require_no_overwriting(job: Job, paths: Sequence[Location]) -> None:
    """Refuse products that would replace the files from which they are made."""
    inputs = {each.resolve() for each in (job.path, *(i.path for i in job.inputs))}
    named = {location(path).resolve() for path in products.list_named_files(job.step)}
    for path in paths:
        for kind, files in {"input": inputs, "reference": named - inputs}.items():
            if path.resolve() in files:
                raise StepError(
                    f"{path}: the product would overwrite the {kind}; choose another output folder"
                )


def _record_association(model: DataModel, association: AssociationKeywords) -> None:
    """Write the names of an association and of its pool to the metadata of a product."""
    if model.schema.has_branch("meta.asn"):
        model["meta.asn.table_name"] = association.table
        if association.pool:
            model["meta.asn.pool_name"] = association.pool


def open_members(job: Job) -> dict[str, list[DataModel]]:
    """Return lazy models of a unit's inputs by role, including the main one.

    Raises
    ------
    ChangedError
        If an input has changed since it was planned.
    ModelError
        If one cannot be opened.
    """
    members: dict[str, list[DataModel]] = {}
    for each in job.inputs:
        stamp = read_stamp(each.path)
        if (stamp.size, stamp.mtime_ns) != (each.size, each.mtime_ns):
            raise ChangedError(each.path, "was replaced or changed since it was planned")
        members.setdefault(each.role, []).append(datamodels.open(each.path))
    return members


def prepare_job(job: Job) -> tuple[Blocks, list[FitsWriter]]:
    """Return the dask collection that writes a job's products, and the writers to abort on failure.

    Parameters
    ----------
    job : Job
        The exposure.

    Raises
    ------
    ChangedError
        If the input has changed since it was planned.
    CalibrationError, ModelError
        If the exposure cannot be calibrated.
    """
    stamp = _check_input(job)
    with dask.config.set(job.options.dask_config()):
        pairs = build_products(job)
    return _stream_products(job, pairs, stamp)


def _check_input(job: Job) -> Stamp:
    """Return the stamp of a job's input, after checks of it."""
    stamp = read_stamp(job.path)
    if job.stamp is not None and (stamp.size, stamp.mtime_ns) != job.stamp:
        raise ChangedError(job.path, "was replaced or changed since its header was read")
    if job.options.verify_inputs:
        verify_checksums(read_layout(job.path))
    return stamp


def _plan_products(
    job: Job, stamp: Stamp
) -> tuple[list[tuple[Any, Location]], FilledTemplate | None]:
    """Return a job's products and, if they are made from a shared plan, the template for saving."""
    with dask.config.set(job.options.dask_config()):
        exposure = datamodels.open(job.path)
        planned = share_plan(job, exposure, stamp)
        if planned is None:
            return build_products(job, exposure), None
        return _place_products(job, job.step, planned.products), planned.template


def _stream_products(
    job: Job,
    pairs: list[tuple[Any, Location]],
    stamp: Stamp,
    template: FilledTemplate | None = None,
) -> tuple[Blocks, list[FitsWriter]]:
    """Return the dask collection that writes products, and the writers to abort on failure."""
    options = job.options
    with dask.config.set(options.dask_config()):
        return build_saving_graph(
            pairs, date=options.date, fsync=options.fsync, tag=job.batch, staging=job.staging,
            before_naming=partial(content_digest, stamp), with_statistics=True, template=template,
        )  # fmt: skip


def calibrate(job: Job, threads: int = 0, memory: int = 0) -> Outcome:
    """Calibrate one exposure in this process.

    Parameters
    ----------
    job : Job
        The exposure.
    threads : int
        Number of threads for tiles; 0 to use the calling thread only.
    memory : int
        Memory limit in bytes at which this process is killed; 0 for no limit.
    """
    clock = Stopwatch()
    remarks: list[str] = []
    requests, hits = reference_cache.count_requests()
    try:
        limit = {MEMORY: memory} if memory else {}
        with log_to_file(job.log, memory), collect_warnings(remarks), dask.config.set(limit):
            stamp = _check_input(job)
            pairs, template = _plan_products(job, stamp)
            with dask.config.set(job.options.dask_config()):
                cache = limit_reference_cache([model for model, _ in pairs])
            graph, writers = _stream_products(job, pairs, stamp, template)
            try:
                with dask.config.set(cache), begin_content_digest(stamp):
                    reference_cache.drop_excess()  # exposures before may have been allowed more
                    written = save_result(_compute(graph, threads))
            finally:
                for writer in writers:
                    writer.abort()
    except Exception as error:  # a failure concerns this exposure only
        return failure(job.number, job.path, _replace_if_fenced(job, error), clock, remarks)
    outcome = success(job, written, clock, remarks, [peak_memory()])
    all_requests, all_hits = reference_cache.count_requests()
    return replace(outcome, cache_requests=all_requests - requests, cache_hits=all_hits - hits)


def _compute(graph: Blocks, threads: int) -> Any:
    """Compute a graph in this thread, or in a number of others."""
    if not threads:
        return graph.run()
    pool = ThreadPool(threads, "calbatch-tiles")
    try:
        # Given by name, dask would import distributed to see whether a client is connected.
        with CancelScope():
            return compute(graph, scheduler=get_in_threads, pool=pool)[0]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # an interrupted batch waits for no tile


def _replace_if_fenced(job: Job, error: Exception) -> Exception:
    """Return the error, or a `LostError` if the driver has removed the staging folder."""
    if not isinstance(job.staging, Path) or job.staging.exists():
        return error
    return LostError(f"{job.path}: was meanwhile given to another worker")


def success(
    job: Job,
    written: SaveResult,
    clock: Stopwatch,
    remarks: Sequence[str],
    peaks: Sequence[MemoryPeak],
) -> Outcome:
    """Return the outcome of a calibrated exposure."""
    return Outcome(
        number=job.number,
        path=job.path,
        written=written.products,
        content=written.remark,
        warnings=tuple(dict.fromkeys(remarks)),
        stages=written.seconds,
        peaks=tuple(peaks),
        statistics=written.statistics,
        **clock.times(),
    )
