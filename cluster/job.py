"""One exposure's calibration, as a small object that travels to a worker."""

from __future__ import annotations

import copy
import logging
import resource
import time
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask

from calbatch.calibrate.errors import CalibrationError
from calbatch.calibrate.products import product_name
from calbatch.calibrate.references import References
from calbatch.calibrate.step import Step
from calbatch.models import datamodels
from calbatch.models.errors import ModelError
from calbatch.models.saving import saving_graph, written_of

log = logging.getLogger(__name__)

EXPECTED = (CalibrationError, ModelError, OSError)
"""Faults of an exposure, told in one line; anything else is a fault of ours."""


@dataclass(frozen=True)
class Options:
    """How a batch writes and walks its exposures."""

    output_dir: Path
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
        The configured step or pipeline.
    references : ResolvedReferences
        Its references.
    options : Options
        How to write.
    """

    number: int
    path: Path
    step: Step
    references: References
    options: Options


@dataclass(frozen=True)
class Outcome:
    """What became of an exposure.

    Attributes
    ----------
    number, path
        The exposure.
    products : tuple of Path
        Files written.
    error : str
        The reason of a failure, in one line; empty when it went well.
    details : str
        The traceback of a failure.
    warnings : tuple of str
        What was remarkable.
    seconds : float
        Wall time on the worker.
    stages : mapping
        CPU seconds by step.
    peak_memory : int
        The worker's highest resident size so far, in bytes.
    """

    number: int
    path: Path
    products: tuple[Path, ...] = ()
    error: str = ""
    details: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    peak_memory: int = 0

    @property
    def failed(self) -> bool:
        """Whether there are no products for a reason."""
        return bool(self.error)


def prepared(job: Job) -> tuple[Any, list[Any]]:
    """Run a job's pipeline lazily; return the dask value that writes its products, and the writers.

    Raises
    ------
    CalibrationError, ModelError
        When the exposure cannot be calibrated.
    """
    if job.options.verify_inputs:
        from calbatch.models.layout import read_layout, verify_checksums

        verify_checksums(read_layout(job.path))
    step = copy.deepcopy(job.step)  # threads share the job
    step.references = job.references
    step.save_results = True
    step.lazily(datamodels.open(job.path))
    pairs = [
        (model, job.options.output_dir / product_name(job.path.name, suffix))
        for suffix, model in step.products()
    ]
    return saving_graph(pairs, date=job.options.date, fsync=job.options.fsync)


def calibrate(job: Job, threads: int = 0) -> Outcome:
    """Calibrate one exposure in this process, its tiles one by one or in some threads."""
    how = {"scheduler": "threads", "num_workers": threads} if threads else {"scheduler": "sync"}
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, dask.config.set(job.options.dask_config()):
        warnings.simplefilter("always")
        try:
            graph, writers = prepared(job)
            try:
                written = written_of(dask.compute(graph, **how)[0])
            finally:
                for writer in writers:
                    writer.abort()
        except Exception as error:  # noqa: BLE001 - one exposure's failure is its own
            return failure(job, error, start)
    return Outcome(
        job.number,
        job.path,
        products=tuple(p.path for p in written.products),
        warnings=tuple(dict.fromkeys(str(w.message) for w in caught)),
        seconds=time.perf_counter() - start,
        stages=written.seconds,
        peak_memory=peak_memory(),
    )


def failure(job: Job, error: BaseException, start: float) -> Outcome:
    """Return the outcome of an exposure that failed."""
    return Outcome(
        job.number,
        job.path,
        error=reason(error, job.path),
        details="".join(traceback.format_exception(error)),
        seconds=time.perf_counter() - start,
        peak_memory=peak_memory(),
    )


def reason(error: BaseException, path: Path) -> str:
    """Return a failure in one line that names the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, EXPECTED):
        text = f"{type(error).__name__}: {text}"
    return text if str(path) in text or path.name in text else f"{path}: {text}"


def peak_memory() -> int:
    """Return this process's highest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
