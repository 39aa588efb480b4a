"""Running a batch: headers, references, exposures, outcomes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.references import CrdsReferences, ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster import sites
from calbatch.cluster.errors import RequestError
from calbatch.cluster.inputs import exposures, refuse_name_clashes, writable_folder
from calbatch.cluster.job import Job, Options, Outcome, failure
from calbatch.cluster.request import input_pattern
from calbatch.models import datamodels


@dataclass(frozen=True)
class Exposure:
    """One input of a batch, as far as its header tells."""

    number: int
    path: Path
    header: Mapping[str, Any] = field(default_factory=dict)
    fault: BaseException | None = None


@dataclass
class Batch:
    """A pipeline and its exposures, with their references: all that is known before pixels.

    Attributes
    ----------
    step : Step
        The configured step or pipeline.
    found : list of Exposure
        The inputs, in order.
    references : mapping
        Number of the exposure to its references.
    options : Options
        How products are written.
    context : str
        The CRDS context, or "" where no reference is needed.
    """

    step: Step
    found: list[Exposure]
    references: Mapping[int, ResolvedReferences]
    options: Options
    context: str = ""
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs of the exposures whose headers could be read."""
        for exposure in self.found:
            if exposure.fault is None:
                yield self.job(exposure)

    def job(self, exposure: Exposure) -> Job:
        """Return an exposure's job."""
        references = self.references.get(exposure.number, ResolvedReferences(self.context))
        return Job(exposure.number, exposure.path, self.step, references, self.options)

    def unreadable(self) -> Iterator[Outcome]:
        """Yield the outcomes of the exposures whose headers could not be read."""
        for exposure in self.found:
            if exposure.fault is not None:
                yield failure(self.job(exposure), exposure.fault, time.perf_counter())


def gathered(
    step: Step, inputs: Sequence[str], options: Options, context: str | None = None
) -> Batch:
    """Find a batch's exposures, read their headers and choose their references.

    Raises
    ------
    RequestError
        When there are no exposures, two would have products of one name, the output folder cannot
        be written, or there is no reference cache.
    """
    paths = exposures(inputs, input_pattern(step))
    refuse_name_clashes(paths)
    writable_folder(options.output_dir)
    found = [_exposure(number, path) for number, path in enumerate(paths)]
    types = step.wanted_references()
    readable = {e.number: e.header for e in found if e.fault is None}
    if not types or not readable:
        return Batch(step, found, {}, options)
    references = CrdsReferences(context)
    try:
        resolved = references.resolve(readable, types)
        return Batch(step, found, resolved, options, references.context)
    except ReferenceFileError as error:
        raise RequestError(str(error)) from error


def _exposure(number: int, path: Path) -> Exposure:
    try:
        return Exposure(number, path, datamodels.open(path).to_flat_dict())
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a file is that file's
        return Exposure(number, path, fault=error)


@dataclass(frozen=True)
class Result:
    """What became of a batch."""

    outcomes: Sequence[Outcome]
    seconds: float
    output_dir: Path

    @property
    def failed(self) -> list[Outcome]:
        """The exposures without products."""
        return [o for o in self.outcomes if o.failed]

    @property
    def exit_status(self) -> int:
        """0 when all are done, 1 when some failed."""
        return 1 if self.failed else 0


def executed(
    batch: Batch, site: sites.Site, told: Callable[[Outcome], None] = lambda outcome: None
) -> Result:
    """Run a batch on a site.

    Parameters
    ----------
    batch : Batch
        What to run.
    site : Site
        Where, entered already.
    told : callable
        Told each outcome as it is known.
    """
    start = time.perf_counter()
    outcomes: list[Outcome] = []

    def note(outcome: Outcome) -> None:
        outcomes.append(outcome)
        told(outcome)

    for outcome in batch.unreadable():
        note(outcome)
    for outcome in site.outcomes(batch.jobs(), batch.name):
        note(outcome)
    outcomes.sort(key=lambda o: o.number)
    return Result(outcomes, time.perf_counter() - start, batch.options.output_dir)
