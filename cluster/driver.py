"""Running a batch: headers, references, exposures, outcomes."""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.references import CrdsReferences, ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.cluster.inputs import exposures, refuse_name_clashes
from calbatch.cluster.job import Job, Options, sweep
from calbatch.cluster.outcome import Outcome, failure
from calbatch.cluster.request import input_pattern
from calbatch.cluster.resolving import Fetching, Resolved, resolved
from calbatch.cluster.sites import Site
from calbatch.models import datamodels
from calbatch.models.errors import ModelError
from calbatch.models.layout import read_layout, verify_checksums


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
        The configured step or pipeline; its ``output_dir`` is where products go.
    found : list of Exposure
        The inputs, in order.
    options : Options
        How it is done.
    resolved : Resolved
        Their references, and the parameters that CRDS has for them.
    name : str
        Unique: tasks and unfinished files carry it.
    """

    step: Step
    found: list[Exposure]
    options: Options
    resolved: Resolved = field(default_factory=Resolved)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def references(self) -> Mapping[int, ResolvedReferences]:
        """Number of the exposure to its references."""
        return self.resolved.references

    @property
    def context(self) -> str:
        """The CRDS context, or "" where no reference is needed."""
        return self.resolved.context

    @property
    def output_dir(self) -> Path:
        """Where products go."""
        return Path(str(self.step.output_dir))

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs of the exposures whose headers could be read."""
        for exposure in self.found:
            if exposure.fault is None:
                yield self.job(exposure)

    def job(self, exposure: Exposure) -> Job:
        """Return an exposure's job."""
        references = self.references.get(exposure.number, ResolvedReferences(self.context))
        step = self.resolved.steps.get(exposure.number, self.step)
        return Job(exposure.number, exposure.path, step, references, self.options, self.name)

    def unreadable(self) -> Iterator[Outcome]:
        """Yield the outcomes of the exposures whose headers could not be read."""
        for exposure in self.found:
            if exposure.fault is not None:
                yield failure(exposure.number, exposure.path, exposure.fault, time.perf_counter())


def inputs_of(step: Step, requested: Sequence[str]) -> list[Path]:
    """Return the input files that a request means.

    Raises
    ------
    RequestError
        When there are none, or two would have products of one name.
    """
    paths = exposures(requested, input_pattern(step))
    refuse_name_clashes(paths)
    if step.output_file and len(paths) > 1:
        raise RequestError(f"output_file = {step.output_file}: {len(paths)} exposures need names")
    return paths


def references_of(step: Step, context: str | None = None) -> CrdsReferences:
    """Return what chooses a step's references; where it needs any, ready to.

    Parameters
    ----------
    step : Step
        The configured step or pipeline.
    context : str, optional
        The CRDS context; by default the environment's.

    Raises
    ------
    RequestError
        When there is no reference cache, or it lacks the context.
    """
    references = CrdsReferences(context)
    try:
        if step.wanted_references():
            references.context  # noqa: B018 - opens the cache
    except ReferenceFileError as error:
        raise RequestError(str(error)) from error
    return references


def gathered(
    step: Step,
    paths: Sequence[Path],
    options: Options,
    references: CrdsReferences,
    *,
    use_pars: bool = True,
    fetching: Fetching | None = None,
) -> Batch:
    """Read the headers of a batch's exposures, and choose their parameters and references.

    Parameters
    ----------
    step : Step
        The configured step or pipeline.
    paths : sequence of Path
        The inputs.
    options : Options
        How it is to be done.
    references : CrdsReferences
        What chooses references.
    use_pars : bool
        Whether the observatory's parameter references are read.
    fetching : callable, optional
        How references that are not in the cache are fetched; by default without a word.

    Raises
    ------
    RequestError
        When the context's rules are not there or damaged.
    """
    found = [_exposure(n, p, options) for n, p in enumerate(paths)]
    headers = {e.number: e.header for e in found if e.fault is None}
    rules = resolved(step, headers, references, fetching, use_pars=use_pars)
    found = [replace(e, fault=e.fault or rules.faults.get(e.number)) for e in found]
    return Batch(step, found, options, rules)


def _exposure(number: int, path: Path, options: Options) -> Exposure:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # given again, and kept, when it is calibrated
            return Exposure(number, path, datamodels.open(path).to_flat_dict())
    except Exception as error:  # whatever is wrong with a file is that file's
        fault = _damage(path) if options.verify_inputs else None
        return Exposure(number, path, fault=fault or error)


def _damage(path: Path) -> ModelError | None:
    """Return what checksums tell about a file that is no exposure: it may have been one."""
    try:
        verify_checksums(read_layout(path))
    except ModelError as error:
        return error
    return None


@dataclass(frozen=True)
class Result:
    """What became of a batch.

    Attributes
    ----------
    outcomes : sequence of Outcome
        One an exposure, in the order of the inputs.
    seconds : float
        Wall time.
    output_dir : Path
        Where products are.
    """

    outcomes: Sequence[Outcome]
    seconds: float
    output_dir: Path

    @property
    def done(self) -> list[Outcome]:
        """The exposures with products."""
        return [o for o in self.outcomes if not o.failed]

    @property
    def failed(self) -> list[Outcome]:
        """The exposures without products."""
        return [o for o in self.outcomes if o.failed]

    @property
    def products(self) -> list[Path]:
        """All files that were written."""
        return [path for outcome in self.outcomes for path in outcome.products]

    @property
    def exit_status(self) -> int:
        """0 when all are done, 1 when some failed."""
        return 1 if self.failed else 0

    def __repr__(self) -> str:
        return (
            f"<Result: {len(self.done)} done, {len(self.failed)} failed, "
            f"{len(self.products)} products in {self.output_dir}>"
        )


def executed(
    batch: Batch, site: Site, told: Callable[[Outcome], None] = lambda outcome: None
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
    return Result(outcomes, time.perf_counter() - start, batch.output_dir)


@contextmanager
def leaving_nothing(batch: Batch) -> Iterator[None]:
    """Remove what is unfinished in the end, however it ends."""
    try:
        yield
    finally:
        sweep(batch.output_dir, batch.name)
