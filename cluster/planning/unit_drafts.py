"""Drafting the units of a batch, one stage of its pipelines after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import NamedTuple

from calbatch.calibrate.step import Step
from calbatch.calibrate.suffixes import product_name
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.unit import ORDER, SCIENCE
from calbatch.cluster.planning.associations import PATTERN, Association, AssociationProduct
from calbatch.cluster.planning.ordering import (
    Ordering,
    find_ordering,
    group_exposures,
    require_state_names,
)
from calbatch.cluster.planning.unit_graph import DraftMember, DraftUnit
from calbatch.models.storage.files import current_version
from calbatch.models.storage.location import Location

UnusableUnits = Callable[[Location, RequestError], None]
"""Called with the path of units that cannot be made, and the reason."""


def is_file(path: Location) -> bool:
    """Return whether a file or object exists."""
    return current_version(path) is not None


class MissingMembersError(RequestError):
    """Members of an association that are neither files nor made by the batch.

    Parameters
    ----------
    association : Association
        The association.
    product : str
        The product that needs them.
    names : sequence of str
        Their names.
    """

    def __init__(self, association: Association, product: str, names: Sequence[str]) -> None:
        super().__init__(
            f"{association.path}: the member {names[0]} of {product} is neither a file beside it "
            "nor made by this batch"
        )
        self.names = names


@dataclass(frozen=True)
class Stage:
    """Consecutive pipelines of a chain that units run together.

    Attributes
    ----------
    parts : sequence of Step
        The pipelines.
    pipeline : str
        Their names, as units record them.
    output_file : str
        Name of the product, if the user gave one.
    start : int
        Position of the first pipeline in the chain.
    """

    parts: Sequence[Step]
    pipeline: str
    output_file: str = ""
    start: int = 0

    @property
    def first(self) -> Step:
        """The first pipeline."""
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
class UnitDrafts:
    """The units so far, which of them makes each product, and the products of the latest stage.

    Attributes
    ----------
    output : Path or Url
        The folder of products.
    unusable : callable, optional
        Called instead of raising an error about an association, or an exposure in a stage. The
        others are then collected without its units.
    is_there : callable, optional
        Returns whether a file can be a member of an association; by default, if it exists.
    """

    output: Location
    unusable: UnusableUnits | None = None
    is_there: Callable[[Location], bool] = is_file
    drafts: list[DraftUnit] = field(default_factory=list)
    makers: dict[str, DraftUnit] = field(default_factory=dict)
    makers_in_steps: dict[str, DraftUnit] = field(default_factory=dict)
    latest: dict[DraftUnit, _ProductNames] = field(default_factory=dict)

    def list_units(self) -> list[DraftUnit]:
        """Return all units, first those whose products no other takes, associations foremost."""
        used = {id(maker) for draft in self.drafts for maker in draft.makers()}
        finals = [draft for draft in self.drafts if id(draft) not in used]
        return [*sorted(finals, key=lambda draft: not draft.product), *self.drafts]

    def add_first(
        self, stage: Stage, exposures: Sequence[Location], associations: Sequence[Association]
    ) -> None:
        """Add the units of the first stage."""
        files = {path.name: path for path in exposures}
        members = self._add_associations(stage, associations, files)
        if not self._takes_associations_only(stage, associations):
            for path in exposures:
                if path.name in members:
                    continue
                draft = DraftUnit(path=path, pipeline=stage.pipeline)
                if stage.pipeline:
                    draft.members.append(DraftMember(SCIENCE, str(path)))
                self._add(draft, stage, path.name)
        self._put_in_order(stage)

    def add_next(self, stage: Stage, associations: Sequence[Association]) -> None:
        """Add the units of a further stage."""
        before, self.latest = self.latest, {}
        members = self._add_associations(stage, associations, {})
        if not self._takes_associations_only(stage, associations):
            for maker, naming in before.items():
                name = naming.find(stage.first)
                if name in members:
                    continue
                place = self.output / name
                draft = DraftUnit(path=place, pipeline=stage.pipeline)
                draft.members.append(DraftMember(SCIENCE, str(place), maker))
                self._add(draft, stage, naming.source)
        self._put_in_order(stage)

    def _takes_associations_only(self, stage: Stage, associations: Sequence[Association]) -> bool:
        """Return whether a stage combines exposures, for which it needs associations."""
        if stage.first.combines and not associations and self.unusable is None:
            raise RequestError(
                f"{stage.first.name} combines exposures: give associations ({PATTERN}) of "
                f"{' or '.join(stage.first.takes)} products"
            )
        return stage.first.combines

    def _add(self, draft: DraftUnit, stage: Stage, source: str) -> None:
        """Add a unit, unless another makes products of the same names."""
        names = list(stage.product_names(source))
        made: dict[str, DraftUnit] = {}
        for name in chain(names, stage.names_of_steps(source)):
            first = self._find_maker(name) or made.get(name)
            if first is not None:
                self.refuse(draft.path, _make_clash_error(first, draft, name))
                return
            made[name] = draft
        products = set(names)
        self.makers.update((name, draft) for name in made if name in products)
        self.makers_in_steps.update((name, draft) for name in made if name not in products)
        self.drafts.append(draft)
        self.latest[draft] = _ProductNames(source, names)

    def _find_maker(self, name: str) -> DraftUnit | None:
        return self.makers.get(name) or self.makers_in_steps.get(name)

    def refuse(self, path: Location, error: RequestError) -> None:
        """Call ``unusable`` about units that cannot be made, or raise the error without it."""
        if self.unusable is None:
            raise error
        self.unusable(path, error)

    # -- associations --------------------------------------------------------------------------

    def _add_associations(
        self, stage: Stage, associations: Sequence[Association], files: Mapping[str, Location]
    ) -> set[str]:
        """Add a unit for each product of associations; return the names of all members."""
        used: set[str] = set()
        added: list[tuple[DraftUnit, str]] = []
        for association in associations:
            products = association.products
            used.update(member.name for product in products for member in product.members)
            try:
                members = [self._members(association, each, stage, files) for each in products]
            except RequestError as error:
                self.refuse(association.path, error)
                continue
            for product, found in zip(products, members, strict=True):
                name = stage.output_file or product.name
                draft = DraftUnit(
                    path=association.path, pipeline=stage.pipeline, product=name, members=found
                )
                added.append((draft, name))
        for draft, source in added:
            self._add(draft, stage, source)
        return used

    def _members(
        self,
        association: Association,
        product: AssociationProduct,
        stage: Stage,
        files: Mapping[str, Location],
    ) -> list[DraftMember]:
        duplicates = [
            n for n, count in Counter(m.name for m in product.members).items() if count > 1
        ]
        if duplicates:
            raise RequestError(f"{association.path}: {product.name} lists {duplicates[0]} twice")
        found, missing = [], []
        for role, name in product.members:
            if role not in stage.first.roles and role != SCIENCE:
                continue
            maker = self.makers.get(name)
            if maker is not None:
                found.append(DraftMember(role, str(self.output / name), maker))
                continue
            path = files.get(name) or association.path.parent / name
            if not self.is_there(path):
                missing.append(name)
            found.append(DraftMember(role, str(path)))
        if missing:
            raise MissingMembersError(association, product.name, missing)
        return found

    # -- order ---------------------------------------------------------------------------------

    def _put_in_order(self, stage: Stage) -> None:
        """Make each unit of the latest stage wait for the one before it, if it needs an order.

        Each receives the state that the one before hands on.
        """
        ordering = find_ordering(stage.parts)
        if ordering is None:
            return
        first: dict[Location, DraftUnit] = {}
        for draft in self.latest:
            _require_place(draft, ordering)
            other = first.setdefault(draft.find_main_file(), draft)
            if other is not draft:
                raise RequestError(
                    f"{other.path} and {draft.path} are made of one exposure, so neither comes "
                    f"first, but {ordering.name} takes exposures in order: leave one out"
                )
        require_state_names(stage.parts, ordering)
        for group in group_exposures([*self.latest], ordering):
            for draft in group:
                if not draft.members:
                    draft.members.append(DraftMember(SCIENCE, str(draft.path)))
                self._add_states(draft, ordering)
            for before, after in pairwise(group):
                after.members += [
                    DraftMember(suffix, str(self.output / name), before, optional=True)
                    for suffix, name in self._names_of_states(before, ordering)
                ] or [DraftMember(ORDER, "", before, optional=True)]

    def _names_of_states(self, draft: DraftUnit, ordering: Ordering) -> list[tuple[str, str]]:
        """Return suffix and name of each state that a unit hands on."""
        source = self.latest[draft].source
        return [(suffix, product_name(source, suffix)) for suffix in ordering.hands_on]

    def _add_states(self, draft: DraftUnit, ordering: Ordering) -> None:
        for _, name in self._names_of_states(draft, ordering):
            first = self._find_maker(name) or draft
            if first is not draft:
                raise _make_clash_error(first, draft, name)
            self.makers_in_steps[name] = draft


def _make_clash_error(first: DraftUnit, second: DraftUnit, name: str) -> RequestError:
    return RequestError(
        f"the products of {first.path} and {second.path} would both be called {name}"
    )


def _require_place(draft: DraftUnit, ordering: Ordering) -> None:
    """Refuse a unit that is made of several exposures, and so has no place in their order.

    Raises
    ------
    RequestError
        If it makes a product of an association itself, or takes one of several exposures.
    """
    if draft.product:
        raise RequestError(
            f"{draft.path}: {ordering.name} takes exposures in order, and products of "
            "associations have none: leave the association out"
        )
    for unit in draft.lineage():
        count = sum(member.role == SCIENCE for member in unit.members)
        if count > 1:
            raise RequestError(
                f"{unit.path}: {ordering.name} takes exposures in order, and the product "
                f"{unit.product} of {count} exposures has no place there: leave the association out"
            )
