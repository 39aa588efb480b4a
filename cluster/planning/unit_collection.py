"""Collecting the units of a batch from its exposures, its associations and its pipelines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from calbatch.calibrate import hooks
from calbatch.calibrate.chain import SEPARATOR, Chain, select_part
from calbatch.calibrate.step import Step
from calbatch.calibrate.suffixes import product_name
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.unit import ORDER, SCIENCE
from calbatch.cluster.planning.associations import (
    PATTERN,
    Association,
    AssociationProduct,
    is_association,
    read_association,
)
from calbatch.cluster.planning.ordering import (
    Ordering,
    find_ordering,
    group_exposures,
    parameter_prefix,
    require_state_names,
)
from calbatch.cluster.planning.unit_graph import DraftMember, DraftUnit, UnitGraph, number_units
from calbatch.models.errors import ModelError
from calbatch.models.storage.files import current_version
from calbatch.models.storage.location import Location


def collect_units(step: Step, paths: Sequence[Location], output: Location) -> UnitGraph:
    """Return the units of a batch, numbered.

    Parameters
    ----------
    step : Step
        The configured step, pipeline or chain.
    paths : sequence of Path or Url
        Exposures and associations.
    output : Path or Url
        The folder of products.

    Raises
    ------
    RequestError
        If an association is invalid, no pipeline takes its members, a member is missing, two units
        would make the same product or share a file, or the dependencies are circular.
    """
    graph = _collect(step, paths, output)
    counts = Counter(unit.pipeline for unit in graph.units)
    counts[""] += len(graph.paths) - len(graph.units)
    for pipeline, count in counts.items():
        if count > 1:
            _require_distinct_files(select_part(step, pipeline), f"{count} exposures")
    return graph


def _collect(step: Step, paths: Sequence[Location], output: Location) -> UnitGraph:
    parts = step.parts if isinstance(step, Chain) else {"": step}
    exposures = [path for path in paths if not _is_read_as_association(step, path)]
    associations = [_read(path) for path in paths if _is_read_as_association(step, path)]
    named = len(exposures) + sum(len(each.products) for each in associations)
    if step.output_file and named > 1:
        raise RequestError(f"output_file = {step.output_file}: {named} products need names")
    positions = [_find_position(each, parts) for each in associations]
    starts = sorted({0, *positions, *(n for n, part in enumerate(parts.values()) if part.combines)})
    _require_ordering_first(parts, starts)
    if len(starts) > 1:
        _refuse_chain_parameters(step)
    first = list(parts.values())[: [*starts, len(parts)][1]]
    ordering = find_ordering(first)
    if not associations and starts == [0] and ordering is None:
        return UnitGraph(paths=paths)
    if ordering is not None and len(exposures) > 1:  # before all of them are read
        for part in first:
            _require_distinct_files(part, f"{len(exposures)} exposures", parameter_prefix(part))
    collection = _Collection(output)
    for start, end in pairwise([*starts, len(parts)]):
        names = list(parts)[start:end]
        taken = [a for a, at in zip(associations, positions, strict=True) if at == start]
        stage = _Stage(
            parts=[parts[name] for name in names],
            pipeline="" if len(starts) == 1 else SEPARATOR.join(names),
            output_file=step.output_file or "",
        )
        if start == 0:
            collection.add_first(stage, exposures, taken)
        else:
            collection.add_next(stage, taken)
    return number_units([*collection.finals(), *collection.drafts])


def _refuse_chain_parameters(chain: Step) -> None:
    """Refuse parameters of the whole chain where it is cut, so that no task runs all of it."""
    for name in ("pre_hooks", "post_hooks", "output_file", "skip"):
        if getattr(chain, name):
            raise RequestError(
                f"{name} cannot be set for the chain {chain.name}, whose pipelines run separately "
                "because associations come between them: set it for one of the pipelines"
            )


def _require_ordering_first(parts: Mapping[str, Step], starts: Sequence[int]) -> None:
    later = [] if len(starts) == 1 else list(parts.values())[starts[1] :]
    ordering = find_ordering(later)
    if ordering is not None:
        raise RequestError(
            f"{ordering.name} takes exposures in order, which only the first stage of a chain can "
            "do: run the pipelines as two batches"
        )


def require_single_exposures(step: Step) -> None:
    """Refuse a step that cannot calibrate exposures one by one, as they arrive.

    Raises
    ------
    RequestError
        If it combines exposures, takes them in order, or names one file for all of them.
    """
    _require_distinct_files(step, "all exposures")
    parts = list(step.parts.values()) if isinstance(step, Chain) else [step]
    ordering = find_ordering(parts)
    reasons = [f"{part.name} combines exposures" for part in parts if part.combines]
    if ordering is not None:
        reasons.append(f"{ordering.name} takes exposures in order")
    if reasons:
        raise RequestError(f"{reasons[0]}: use `calbatch run` when all of them have arrived")


def _require_distinct_files(step: Step, exposures: str, label: str = "") -> None:
    """Refuse parameters that name one file for several exposures, of a step and all in it."""
    if step.skip:
        return
    for name, advice in step.shared_files().items():
        value = getattr(step, name)
        raise RequestError(f"{label}{name} = {value!r}: {exposures} would share it: {advice}")
    for alias, part in step.steps().items():
        _require_distinct_files(part, exposures, f"{label}{alias}.")
    for hook in hooks.steps_of([*step.pre_hooks, *step.post_hooks]):
        _require_distinct_files(hook, exposures, f"{label}hook {hook.name}.")


def accepts_associations(step: Step) -> bool:
    """Return whether a step, or a pipeline of a chain, takes associations."""
    parts = step.parts.values() if isinstance(step, Chain) else [step]
    return any(part.roles for part in parts)


def _is_read_as_association(step: Step, path: Location) -> bool:
    return is_association(path) and accepts_associations(step)


def _read(path: Location) -> Association:
    try:
        return read_association(path)
    except (ModelError, OSError) as error:
        raise RequestError(str(error)) from error


def _find_position(association: Association, parts: Mapping[str, Step]) -> int:
    """Return the position of the pipeline that takes the members of an association."""
    name = association.products[0].science[0]
    for number, part in enumerate(parts.values()):
        if part.roles and _takes(part, name):
            return number
    wanted = {suffix for part in parts.values() if part.roles for suffix in part.takes}
    raise RequestError(
        f"{association.path}: no pipeline takes {name} as a member; they take "
        f"{', '.join(sorted(wanted))} products"
    )


def _takes(part: Step, name: str) -> bool:
    return not part.takes or any(product_name(name, suffix) == name for suffix in part.takes)


@dataclass(frozen=True)
class _Stage:
    """Consecutive pipelines of a chain that units run together."""

    parts: Sequence[Step]
    pipeline: str
    output_file: str = ""

    @property
    def first(self) -> Step:
        return self.parts[0]

    def product_names(self, source: str) -> Iterator[str]:
        """Yield the names of the products of a unit, those of the last pipeline first."""
        for part in reversed(self.parts):
            if part is self.parts[-1] or part.save_results:
                yield from (product_name(source, suffix) for suffix in _suffixes_of(part))

    def names_of_steps(self, source: str) -> Iterator[str]:
        """Yield the names of the results of steps that are written, too."""
        for step in (step for part in self.parts for step in part.steps().values()):
            if step.save_results:
                yield from (product_name(source, suffix) for suffix in _suffixes_of(step))


def _suffixes_of(step: Step) -> Sequence[str]:
    return [step.suffix] if step.suffix else step.suffixes or [step.name]


class _ProductNames(NamedTuple):
    """The names of a unit's products, and the name from which they are derived."""

    source: str
    names: Sequence[str]

    def find(self, after: Step) -> str:
        """Return the name of the product that the next pipeline takes."""
        taken = (product_name(self.source, suffix) for suffix in after.takes)
        return next((name for name in taken if name in self.names), self.names[0])


@dataclass
class _Collection:
    """The units so far, which of them makes each product, and the products of the latest stage."""

    output: Location
    drafts: list[DraftUnit] = field(default_factory=list)
    makers: dict[str, DraftUnit] = field(default_factory=dict)
    makers_in_steps: dict[str, DraftUnit] = field(default_factory=dict)
    latest: dict[DraftUnit, _ProductNames] = field(default_factory=dict)

    def finals(self) -> list[DraftUnit]:
        """Return the units whose products no other unit takes, associations first."""
        used = {id(maker) for draft in self.drafts for maker in draft.makers()}
        finals = [draft for draft in self.drafts if id(draft) not in used]
        return sorted(finals, key=lambda draft: not draft.product)

    def add_first(
        self, stage: _Stage, exposures: Sequence[Location], associations: Sequence[Association]
    ) -> None:
        """Add the units of the first stage."""
        files = {path.name: path for path in exposures}
        members = self._add_associations(stage, associations, files)
        for path in exposures:
            if path.name in members:
                continue
            draft = DraftUnit(path=path, pipeline=stage.pipeline)
            if stage.pipeline:
                draft.members.append(DraftMember(SCIENCE, str(path)))
            self._add(draft, stage, path.name)
        ordering = find_ordering(stage.parts)
        if ordering is not None:
            for draft in self.drafts:
                if draft.product:
                    raise RequestError(
                        f"{draft.path}: {ordering.name} takes exposures in order, and products of "
                        "associations have none: leave the association out"
                    )
            require_state_names(stage.parts, ordering)
            self._put_in_order(self.drafts, ordering)

    def _put_in_order(self, drafts: Sequence[DraftUnit], ordering: Ordering) -> None:
        """Make each exposure wait for the one before it, and receive the state that it hands on."""
        for group in group_exposures(drafts, ordering):
            for draft in group:
                if not draft.members:
                    draft.members.append(DraftMember(SCIENCE, str(draft.path)))
            for before, after in pairwise(group):
                names = [product_name(before.path.name, suffix) for suffix in ordering.hands_on]
                after.members += [
                    DraftMember(suffix, str(self.output / name), before, optional=True)
                    for suffix, name in zip(ordering.hands_on, names, strict=True)
                ] or [DraftMember(ORDER, "", before, optional=True)]

    def add_next(self, stage: _Stage, associations: Sequence[Association]) -> None:
        """Add the units of a further stage."""
        before, self.latest = self.latest, {}
        members = self._add_associations(stage, associations, {})
        if stage.first.combines:
            if not associations:
                raise RequestError(
                    f"{stage.first.name} combines exposures: give associations ({PATTERN}) of "
                    f"{' or '.join(stage.first.takes)} products"
                )
            return
        for maker, naming in before.items():
            name = naming.find(stage.first)
            if name in members:
                continue
            place = self.output / name
            draft = DraftUnit(path=place, pipeline=stage.pipeline)
            draft.members.append(DraftMember(SCIENCE, str(place), maker))
            self._add(draft, stage, naming.source)

    def _add(self, draft: DraftUnit, stage: _Stage, source: str) -> None:
        self.drafts.append(draft)
        names = list(stage.product_names(source))
        self.latest[draft] = _ProductNames(source, names)
        for name in names:
            self._require_new(name, draft)
            self.makers[name] = draft
        for name in stage.names_of_steps(source):
            self._require_new(name, draft)
            self.makers_in_steps[name] = draft

    def _require_new(self, name: str, draft: DraftUnit) -> None:
        first = self.makers.get(name) or self.makers_in_steps.get(name)
        if first is not None:
            raise RequestError(
                f"the products of {first.path} and {draft.path} would both be called {name}"
            )

    def _add_associations(
        self, stage: _Stage, associations: Sequence[Association], files: Mapping[str, Location]
    ) -> set[str]:
        """Add a unit for each product of associations; return the names of all members."""
        used: set[str] = set()
        added: list[tuple[DraftUnit, str]] = []
        for association in associations:
            for product in association.products:
                name = stage.output_file or product.name
                draft = DraftUnit(path=association.path, pipeline=stage.pipeline, product=name)
                draft.members = self._members(association, product, stage, files)
                used.update(member.name for member in product.members)
                added.append((draft, name))
        for draft, source in added:
            self._add(draft, stage, source)
        return used

    def _members(
        self,
        association: Association,
        product: AssociationProduct,
        stage: _Stage,
        files: Mapping[str, Location],
    ) -> list[DraftMember]:
        duplicates = [
            n for n, count in Counter(m.name for m in product.members).items() if count > 1
        ]
        if duplicates:
            raise RequestError(f"{association.path}: {product.name} lists {duplicates[0]} twice")
        found = []
        for role, name in product.members:
            if role not in stage.first.roles and role != SCIENCE:
                continue
            maker = self.makers.get(name)
            if maker is not None:
                found.append(DraftMember(role, str(self.output / name), maker))
                continue
            path = files.get(name) or association.path.parent / name
            if current_version(path) is None:
                raise RequestError(
                    f"{association.path}: the member {name} of {product.name} is neither a file "
                    "beside it nor made by this batch"
                )
            found.append(DraftMember(role, str(path)))
        return found
