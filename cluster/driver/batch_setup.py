"""The settings that all jobs of a batch share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from calbatch.cluster.driver.recording import Attempt
from calbatch.cluster.driver.staging import Fence
from calbatch.cluster.exposure.job import ExposureOptions, Job


@dataclass(frozen=True, kw_only=True)
class BatchSetup:
    """The settings that all jobs of a batch share.

    Attributes
    ----------
    name : str
        The batch's name, used for tasks and unfinished files.
    options : ExposureOptions
        How exposures are read, tiled and written.
    output : Path
        Folder whose disk must have room for products.
    logs : Path, optional
        Folder of the workers' log files.
    control : Path, optional
        File through which users stop the batch.
    staging : Fence, optional
        The staging folders; by default, products are written beside their final names.
    """

    name: str
    options: ExposureOptions
    output: Path
    logs: Path | None = None
    control: Path | None = None
    staging: Fence | None = None

    def job(self, attempt: Attempt) -> Job:
        """Return the job of an attempt."""
        planned, source = attempt.planned, attempt.planned.source
        return Job(
            number=planned.number,
            path=planned.path,
            step=planned.settings.step,
            references=planned.references,
            options=self.options,
            batch=self.name,
            stamp=(source.size, source.mtime_ns) if source else None,
            log=self.logs / f"{planned.number}-{attempt.serial}.log" if self.logs else None,
            staging=self.staging.place_for(planned.number, attempt.serial)
            if self.staging
            else None,
            inputs=planned.inputs,
            product=planned.product,
            association=planned.association,
        )

    def make_staging(self, job: Job) -> None:
        """Make the staging folder of an attempt; see `Fence.make`."""
        if self.staging and job.staging:
            self.staging.make(job.staging)

    def fence(self, job: Job, *, ended: bool) -> None:
        """Remove the staging folder of an ended or abandoned attempt; see `Fence.remove`."""
        if self.staging and job.staging:
            self.staging.remove(job.staging, ended=ended)
