"""Planning: read headers, choose parameters and references, and find earlier products."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from calbatch.calibrate.chain import select_part
from calbatch.calibrate.compilation import Compilation
from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.references import CrdsReferences, ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.unit import SCIENCE, Unit, UnitInput
from calbatch.cluster.ledger import KnownHeader, ProductRow
from calbatch.cluster.planning.associations import read_keywords
from calbatch.cluster.planning.dependencies import Dependencies
from calbatch.cluster.planning.history import HistoryLookup
from calbatch.cluster.planning.identity import (
    InputVersion,
    ReferenceChecksums,
    earlier_settings_digests,
    parameters_of,
    settings_digest,
)
from calbatch.cluster.planning.planned_exposure import (
    ACCEPTED,
    MISREAD,
    SHAPE,
    TYPE,
    PlannedExposure,
    StepSettings,
)
from calbatch.cluster.planning.resolving import FetchFunction, Resolution, resolve_references
from calbatch.models import datamodels
from calbatch.models.errors import ModelError
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.storage.content_digests import content_digest
from calbatch.models.storage.files import current_version, read_stamp
from calbatch.models.storage.location import Location
from calbatch.models.storage.stamps import FileVersion
from calbatch.models.threads import ThreadPool

READERS = 4
"""Number of files that are examined at the same time."""

FIRST_BLOCK, BLOCK = 16, 128
"""Number of exposures planned together: few at first, so that calibration starts soon."""


@dataclass(frozen=True, kw_only=True)
class RerunPolicy:
    """Rules for exposures that have been calibrated before.

    Attributes
    ----------
    force : bool
        True to calibrate all exposures again.
    verify : bool
        True to detect changed inputs and products by checksums instead of sizes and times.
    only_failed : bool
        True to calibrate only exposures that failed or were quarantined in their last batch.
    """

    force: bool = False
    verify: bool = False
    only_failed: bool = False


class Planner:
    """Plans exposures in blocks.

    Parameters
    ----------
    step : Step
        The configured step or pipeline.
    references : CrdsReferences
        Chooses references.
    date : str, optional
        Value of the DATE keyword in products.
    use_pars : bool
        True to apply the parameter references of CRDS.
    fetch : callable, optional
        Fetches references that are not in the cache; by default, without showing progress.
    history : HistoryLookup, optional
        Records of earlier work.
    checksums : ReferenceChecksums, optional
        Checksums of references; required with ``history``.
    rerun : RerunPolicy, optional
        Which exposures are calibrated again.
    verify_inputs : bool
        True to verify the checksums of a file that cannot be opened, for a better error message.
    dependencies : Dependencies, optional
        The units that are more than one file.
    compilation : Compilation, optional
        Begins to compile the kernels of new exposures before their references are fetched.

    Attributes
    ----------
    resolution : Resolution
        The context and parameter references of all exposures planned so far.
    """

    def __init__(
        self,
        step: Step,
        references: CrdsReferences,
        *,
        date: str | None = None,
        use_pars: bool = True,
        fetch: FetchFunction | None = None,
        history: HistoryLookup | None = None,
        checksums: ReferenceChecksums | None = None,
        rerun: RerunPolicy | None = None,
        verify_inputs: bool = False,
        dependencies: Dependencies | None = None,
        compilation: Compilation | None = None,
    ) -> None:
        self.step, self.references = step, references
        self.rerun = rerun or RerunPolicy()
        self.history, self.checksums = history, checksums
        self._date, self._use_pars, self._fetch = date, use_pars, fetch
        self._verify_inputs = verify_inputs
        self._dependencies = dependencies or Dependencies()
        self._compilation = compilation
        self._parts = {"": step}
        self._settings: dict[tuple[str, tuple[str, ...]], StepSettings] = {}
        self.resolution = Resolution()
        self._guard = threading.Lock()
        self._pool = ThreadPool(READERS, "calbatch-planning")

    def plan_blocks(
        self, inputs: Iterable[tuple[int, Location]]
    ) -> Iterator[list[PlannedExposure]]:
        """Plan inputs in blocks, in order.

        Raises
        ------
        RequestError
            If the rules of the context are missing or damaged.
        """
        pending = iter(inputs)
        size = FIRST_BLOCK
        while block := list(islice(pending, size)):
            yield self.plan_block(block)
            size = BLOCK

    def plan_block(self, inputs: Sequence[tuple[int, Location]]) -> list[PlannedExposure]:
        """Plan some inputs: read headers, choose parameters and references, find products."""
        with self._guard:
            return self._plan_separately(inputs)

    def _plan_separately(self, inputs: Sequence[tuple[int, Location]]) -> list[PlannedExposure]:
        """Plan inputs together or, after an unexpected exception, one by one."""
        try:
            return self._plan_together(inputs)
        except RequestError:
            raise
        except Exception as error:  # must not fail the other exposures
            if len(inputs) > 1:
                return [planned for each in inputs for planned in self._plan_separately([each])]
            (planned,) = self._new_exposures(inputs)
            planned.error = error
            return [planned]

    def _new_exposures(self, inputs: Sequence[tuple[int, Location]]) -> list[PlannedExposure]:
        settings, no_references = self._settings_for("", self.step, ()), ResolvedReferences("")
        exposures = [
            PlannedExposure(number=number, path=path, settings=settings, references=no_references)
            for number, path in inputs
        ]
        for planned in exposures:
            unit = self._dependencies.find_unit(planned.number)
            if unit is not None:
                self._add_members(planned, unit)
        return exposures

    def _add_members(self, planned: PlannedExposure, unit: Unit) -> None:
        """Add the inputs of a unit, of which the first science member is the main one."""
        planned.pipeline, planned.product = unit.pipeline, unit.product
        planned.settings = self._settings_for(unit.pipeline, self._step_of(unit.pipeline), ())
        planned.makers = self._dependencies.list_maker_identities(unit)
        try:
            inputs = [_examine_input(*each) for each in self._dependencies.find_inputs(unit)]
            planned.association = read_keywords(unit.path) if unit.product else None
        except ModelError as error:
            planned.error = error
            return
        planned.inputs = inputs
        planned.path = next((i.path for i in inputs if i.role == SCIENCE), unit.path)

    def _step_of(self, pipeline: str) -> Step:
        """Return a part of the batch's chain of pipelines, or the whole."""
        if pipeline not in self._parts:
            self._parts[pipeline] = select_part(self.step, pipeline)
        return self._parts[pipeline]

    def _plan_together(self, inputs: Sequence[tuple[int, Location]]) -> list[PlannedExposure]:
        exposures = self._new_exposures(inputs)
        self._add_headers([p for p in exposures if p.error is None])
        by_pipeline: dict[str, list[PlannedExposure]] = {}
        for planned in exposures:
            by_pipeline.setdefault(planned.pipeline, []).append(planned)
        for pipeline, members in by_pipeline.items():
            headers = {p.number: p.header for p in members if p.error is None}
            new = {p.number: p.path for p in members if p.number in headers and not p.is_known}
            step = self._step_of(pipeline)
            rules = resolve_references(
                step, headers, self.references, self._fetch, use_pars=self._use_pars,
                compilation=self._compilation, new=new,
            )  # fmt: skip
            self._merge_rules(rules)
            for planned in members:
                self._add_rules(planned, rules)
        self._find_earlier_products([p for p in exposures if p.is_known and p.error is None])
        return exposures

    def _merge_rules(self, rules: Resolution) -> None:
        self.resolution.context = rules.context or self.resolution.context
        self.resolution.context_reason = rules.context_reason or self.resolution.context_reason
        self.resolution.parameters.update(rules.parameters)

    def _add_headers(self, exposures: Sequence[PlannedExposure]) -> None:
        """Take the headers of unchanged inputs from the ledger, and read those of the others.

        Several files are read at a time, since latency dominates small reads.
        """
        before: dict[int, str] = {}
        if self.history is not None:
            versions = self._pool.map_in_chunks(current_version, [p.path for p in exposures])
            headers = self.history.find_headers([v for v in versions if v is not None])
            for planned, version in zip(exposures, versions, strict=True):
                if version is None or version.path not in headers:
                    continue
                header = headers[version.path]
                if self.rerun.verify or not self._is_accepted(planned, header):
                    before[planned.number] = header.digest
                else:
                    _set_known_header(planned, version, header)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # repeated and recorded when it is calibrated
            unknown = [p for p in exposures if not p.is_known]
            self._pool.map_in_chunks(partial(self._read_header, before=before), unknown)
        for planned in exposures:
            if planned.number in before and planned.source is not None:
                planned.is_known = planned.source.header_digest == before[planned.number]
                if not planned.is_known:
                    planned.rerun_reason = (
                        "its header has changed, though its size and time have not"
                    )

    def _read_header(self, planned: PlannedExposure, before: Mapping[int, str]) -> None:
        try:
            stamp = read_stamp(planned.path)
            layout = read_layout(stamp)
            with datamodels.open(planned.path, layout) as model:
                step = self._step_of(planned.pipeline)
                requirement = step.find_requirement()
                if requirement:
                    step.require_supported(model)
                shape = " x ".join(map(str, model.shape))
                about = {SHAPE: shape, TYPE: type(model).__name__, ACCEPTED: requirement}
                if misread := model.misread_paths():
                    reasons = (model.misread_reason(path) or path for path in sorted(misread))
                    about[MISREAD] = " ".join(reasons)
                planned.header = {**model.to_flat_dict(), **about}
                if self._compilation is not None and planned.number not in before:
                    self._compilation.prepare(step, planned.path, model)
            planned.source = InputVersion(stamp.path, stamp.size, stamp.mtime_ns, layout.digest)
        except Exception as error:  # must not fail the other exposures
            is_damaged = self._verify_inputs and isinstance(error, ModelError)
            planned.error = (find_damage(planned.path) if is_damaged else None) or error

    def _is_accepted(self, planned: PlannedExposure, known: KnownHeader) -> bool:
        """Return whether a header from the ledger has met the requirement of the pipeline."""
        met = known.header.get(ACCEPTED)
        requirement = self._step_of(planned.pipeline).find_requirement()
        return met is not None and requirement in ("", met)

    def _add_rules(self, planned: PlannedExposure, rules: Resolution) -> None:
        planned.error = planned.error or rules.errors.get(planned.number)
        if planned.error is not None:
            return
        step = rules.steps.get(planned.number)
        if step is not None:
            chosen = rules.chosen[planned.number]
            planned.settings = self._settings_for(planned.pipeline, step, chosen)
        planned.references = rules.references.get(planned.number, ResolvedReferences(rules.context))

    def _settings_for(self, pipeline: str, step: Step, pars: tuple[str, ...]) -> StepSettings:
        """Return a step's settings, shared by exposures with the same parameter references."""
        key = pipeline, pars
        if key not in self._settings:
            body = parameters_of(step)
            self._settings[key] = StepSettings(
                step=step,
                digest=settings_digest(step, self._date),
                body=body,
                earlier_digests=earlier_settings_digests(step, self._date),
            )
        return self._settings[key]

    def _find_earlier_products(self, seen: Sequence[PlannedExposure]) -> None:
        """Find the intact products of exposures whose work has been done before."""
        if self.history is None or self.checksums is None:
            return
        identified = [
            (p, list(p.identities(self.checksums))) for p in seen if p.references.is_complete
        ]
        all_identities = [identity for _, identities in identified for identity in identities]
        deaths = self.history.find_deaths(all_identities)
        products = self.history.find_products(all_identities)
        contents = self.history.find_contents(all_identities)
        for planned, identities in identified:
            planned.deaths = next((deaths[i] for i in identities if i in deaths), 0)
            done = next((i for i in identities if i in products or i in contents), "")
            planned.content = contents.get(done, "")
            planned.earlier_products = () if self.rerun.force else products.get(done, ())
        candidates = [planned for planned, _ in identified if planned.earlier_products]
        up_to_date = self._pool.map_in_chunks(self._is_up_to_date, candidates)
        for planned, stay in zip(candidates, up_to_date, strict=True):
            planned.earlier_products = planned.earlier_products if stay else ()

    def _is_up_to_date(self, planned: PlannedExposure) -> bool:
        intact = all(map(self._is_intact, planned.earlier_products))
        return intact and (not self.rerun.verify or _has_same_content(planned))

    def _is_intact(self, product: ProductRow) -> bool:
        try:
            now = current_version(product.path)
            if now is None or (now.size, now.mtime_ns) != (product.size, product.mtime_ns):
                return False
            if self.rerun.verify:
                layout = read_layout(product.path)
                verify_checksums(layout)
                return layout.digest == product.digest
        except (OSError, ModelError):
            return False
        return True


def _examine_input(role: str, path: Location) -> UnitInput:
    version = current_version(path) or read_stamp(path)
    return UnitInput(role, path, version.size, version.mtime_ns)


def _set_known_header(planned: PlannedExposure, version: FileVersion, known: KnownHeader) -> None:
    planned.header = known.header
    planned.source = InputVersion(*version, known.digest)
    planned.is_known = True


def _has_same_content(planned: PlannedExposure) -> bool:
    """Return whether an input still has the bytes that were calibrated, after reading it."""
    before = planned.content
    try:
        planned.content = content_digest(read_stamp(planned.path), before)
    except ModelError:  # calibrating it again reports the error
        return False
    if before in ("", planned.content):
        return True
    planned.rerun_reason = "its contents have changed, though its size, time and header have not"
    return False


def open_references(step: Step, context: str | None = None) -> CrdsReferences:
    """Return the object that chooses a step's references, with the cache open if it needs any.

    Parameters
    ----------
    step : Step
        The configured step or pipeline.
    context : str, optional
        The CRDS context; by default the environment's.

    Raises
    ------
    RequestError
        If there is no reference cache, or it lacks the context.
    """
    references = CrdsReferences(context)
    try:
        if step.wanted_references():
            references.context  # noqa: B018 - opens the cache
    except ReferenceFileError as error:
        raise RequestError(str(error)) from error
    return references


def find_damage(path: Location) -> ModelError | None:
    """Return the error that verifying a file's checksums raises; None if they are correct."""
    try:
        verify_checksums(read_layout(path))
    except ModelError as error:
        return error
    return None
