"""One exposure's calibration, as a small object that travels to a worker."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from dask.base import compute

from calbatch.calibrate import hooks, products
from calbatch.calibrate.errors import StepError
from calbatch.calibrate.references import References
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import LostError
from calbatch.cluster.exposure.log import logged
from calbatch.cluster.exposure.outcome import Clock, Outcome, Peak, failure, peak_memory, remarks
from calbatch.models import datamodels
from calbatch.models.errors import ChangedError
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.saving import Written, saving_graph, written_of
from calbatch.models.storage.files import content_digest, look
from calbatch.models.storage.location import Location
from calbatch.models.storage.memory import SETTING as MEMORY
from calbatch.models.storage.permits import Permit
from calbatch.models.tiling.portable import loaded, packed


@dataclass(frozen=True)
class Options:
    """How a batch reads, walks and writes its exposures.

    Attributes
    ----------
    date : str, optional
        What DATE says in products.
    fsync : bool
        Whether products are to be on the disk before they get their names.
    tile_rows, tile_bytes : int, optional
        The height of tiles, or what they may cost; by default as models choose.
    verify_inputs : bool
        Whether checksums of inputs are verified first.
    """

    date: str | None = None
    fsync: bool = True
    tile_rows: int | None = None
    tile_bytes: int | None = None
    verify_inputs: bool = False

    def dask_config(self) -> dict[str, Any]:
        """Return the settings that the tiles' module reads."""
        values = {"calbatch.tile-rows": self.tile_rows, "calbatch.tile-bytes": self.tile_bytes}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Job:
    """One exposure of a batch.

    Attributes
    ----------
    number : int
        Its place in the batch.
    path : Path
        The input.
    step : Step
        The configured step or pipeline; its ``output_dir`` is where products go.
    references : ResolvedReferences
        Its references.
    options : Options
        How to do it.
    batch : str
        The batch's name, which unfinished files carry.
    stamp : (int, int), optional
        Size and time of the input when it was planned: another file is refused.
    log : Path, optional
        Where its worker keeps what it says, until it is done.
    staging : Path or Permit, optional
        The folder in which its products are made, and that its driver removes when the try is
        given up: products cannot get their names then. By default, beside those. For objects, a
        permit that its driver takes back.
    """

    number: int
    path: Location
    step: Step
    references: References
    options: Options
    batch: str
    stamp: tuple[int, int] | None = None
    log: Path | None = None
    staging: Path | Permit | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return it with the step packed, which may be made of what workers cannot import."""
        state = dict(self.__dict__)
        if "step" in state:
            state[_PACKED] = _packed_step(state.pop("step"))
        return state

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Opened when it is needed: schedulers pass it on, and need not know what it is.
            if name == "step" and _PACKED in self.__dict__:
                return loaded(self.__dict__[_PACKED])
            raise AttributeError(name)


_PACKED = "_packed"


@lru_cache(maxsize=4)
def _packed_step(step: Step) -> bytes:
    """Return a step packed; the exposures of a batch mostly share one."""
    return packed(hooks.with_imported_hooks(step))


def pipelined(job: Job) -> list[tuple[Any, Location]]:
    """Run a job's pipeline lazily; return its products' models and where they go.

    Raises
    ------
    CalibrationError, ModelError
        When the exposure cannot be calibrated.
    """
    step = copy.deepcopy(job.step)  # threads share the job
    step.references = job.references
    step.save_results = True
    step.run_lazily(datamodels.open(job.path))
    made = step.products()
    pairs = [(m, p) for (_, m), p in zip(made, products.product_paths(step, made), strict=True)]
    for _, path in pairs:
        if path.resolve() == job.path.resolve():
            raise StepError(f"{job.path}: its product would take its place; choose another folder")
    return pairs


def prepared(job: Job) -> tuple[Any, list[Any]]:
    """Return the dask value that writes a job's products, and the writers, to abort on failure.

    Parameters
    ----------
    job : Job
        The exposure.

    Raises
    ------
    ChangedError
        When the input is another file than when it was planned.
    CalibrationError, ModelError
        When the exposure cannot be calibrated.
    """
    stamp = look(job.path)
    if job.stamp is not None and (stamp.size, stamp.mtime_ns) != job.stamp:
        raise ChangedError(job.path, "was replaced or changed since its header was read")
    if job.options.verify_inputs:
        verify_checksums(read_layout(job.path))
    options = job.options
    with dask.config.set(options.dask_config()):
        pairs = pipelined(job)
        return saving_graph(
            pairs, date=options.date, fsync=options.fsync, tag=job.batch, staging=job.staging,
            before_naming=partial(content_digest, stamp),
        )  # fmt: skip


def calibrate(job: Job, threads: int = 0, memory: int = 0) -> Outcome:
    """Calibrate one exposure in this process.

    Parameters
    ----------
    job : Job
        The exposure.
    threads : int
        Threads for its tiles; 0 for none but this one.
    memory : int
        Bytes that the process may have, where it is ended for having more.
    """
    how = {"scheduler": "threads", "num_workers": threads} if threads else {"scheduler": "sync"}
    clock = Clock()
    remarkable: list[str] = []
    try:
        limit = {MEMORY: memory} if memory else {}
        with logged(job.log, memory), remarks(remarkable), dask.config.set(limit):
            graph, writers = prepared(job)
            try:
                written = written_of(compute(graph, **how)[0])
            finally:
                for writer in writers:
                    writer.abort()
    except Exception as error:  # one exposure's failure is its own
        return failure(job.number, job.path, _unless_fenced(job, error), clock, remarkable)
    return success(job, written, clock, remarkable, [peak_memory()])


def _unless_fenced(job: Job, error: Exception) -> Exception:
    """Return an error, or in its place that the try was given up, of which it comes."""
    if not isinstance(job.staging, Path) or job.staging.exists():
        return error
    return LostError(f"{job.path}: was given to another worker meanwhile")


def success(
    job: Job, written: Written, clock: Clock, remarkable: Sequence[str], peaks: Sequence[Peak]
) -> Outcome:
    """Return the outcome of an exposure that was calibrated."""
    return Outcome(
        job.number,
        job.path,
        written=written.products,
        content=written.told,
        warnings=tuple(dict.fromkeys(remarkable)),
        stages=written.seconds,
        peaks=tuple(peaks),
        **clock.times(),
    )
