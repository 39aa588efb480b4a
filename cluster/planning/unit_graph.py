"""Numbering the units of a batch so that makers come before those that wait for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.unit import SCIENCE, Member, Unit
from calbatch.models.storage.location import Location, location


@dataclass(kw_only=True, eq=False, slots=True)
class DraftUnit:
    """A unit that has no number yet; see `calbatch.cluster.exposure.unit.Unit`."""

    path: Location
    members: list[DraftMember] = field(default_factory=list)
    pipeline: str = ""
    product: str = ""

    def makers(self) -> Iterator[DraftUnit]:
        """Yield the units that it waits for."""
        return (member.maker for member in self.members if member.maker is not None)

    def lineage(self) -> Iterator[DraftUnit]:
        """Yield the unit, the maker of its main input, and so on to the one that takes a file."""
        unit: DraftUnit | None = self
        while unit is not None:
            yield unit
            unit = next((m.maker for m in unit.members if m.role == SCIENCE), None)

    def find_main_file(self) -> Location:
        """Return the file from which its main input is made: itself, if it is that of a unit."""
        *_, first = self.lineage()
        main = (member.path for member in first.members if member.role == SCIENCE)
        return next(map(location, main), first.path)


class DraftMember(NamedTuple):
    """A member of a unit that has no number yet; its maker is another such unit."""

    role: str
    path: str
    maker: DraftUnit | None = None
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class UnitGraph:
    """The numbered units of a batch.

    Attributes
    ----------
    paths : sequence of Path or Url
        The path of each unit.
    units : sequence of Unit
        Those that are more than one file.
    """

    paths: Sequence[Location]
    units: Sequence[Unit] = ()

    @property
    def depth(self) -> int:
        """Number of units on the longest path along which each waits for the one before."""
        depths: dict[int, int] = {}
        for unit in self.units:  # makers come first
            depths[unit.number] = 1 + max((depths.get(m, 1) for m in unit.makers), default=0)
        return max(depths.values(), default=min(len(self.paths), 1))

    def find_dependents(self, numbers: Iterable[int]) -> set[int]:
        """Return the numbers of some units, and of all units that wait for them."""
        found = set(numbers)
        for unit in self.units:  # makers come first
            if not found.isdisjoint(unit.makers):
                found.add(unit.number)
        return found

    def select(self, numbers: Iterable[int]) -> UnitGraph:
        """Return some of the units, and all that these wait for, with new numbers."""
        by_number = {unit.number: unit for unit in self.units}
        selected: set[int] = set()
        pending = list(numbers)
        while pending:
            number = pending.pop()
            if number not in selected:
                selected.add(number)
                pending += by_number[number].makers if number in by_number else ()
        new = {old: number for number, old in enumerate(sorted(selected))}
        units = [
            unit._replace(
                number=new[unit.number],
                members=tuple(
                    m if m.maker is None else m._replace(maker=new[m.maker]) for m in unit.members
                ),
            )
            for unit in self.units
            if unit.number in selected
        ]
        paths = [self.paths[number] for number in sorted(selected)]
        return UnitGraph(paths=paths, units=units)


def number_units(drafts: Sequence[DraftUnit]) -> UnitGraph:
    """Return units with numbers, makers first, otherwise in the given order.

    Makers that are not in ``drafts`` are added.

    Raises
    ------
    RequestError
        If the dependencies are circular; the message names the units.
    """
    order: list[DraftUnit] = []
    visited: set[DraftUnit] = set()
    for draft in drafts:
        _visit(draft, order, visited)
    numbers = {draft: number for number, draft in enumerate(order)}
    units = [
        Unit(
            number=numbers[draft],
            path=draft.path,
            members=tuple(
                Member(m.role, m.path, None if m.maker is None else numbers[m.maker], m.optional)
                for m in draft.members
            ),
            pipeline=draft.pipeline,
            product=draft.product,
        )
        for draft in order
        if draft.members
    ]
    return UnitGraph(paths=[draft.path for draft in order], units=units)


def _visit(draft: DraftUnit, order: list[DraftUnit], visited: set[DraftUnit]) -> None:
    """Append a unit to the order, after the units that it waits for."""
    if draft in visited:
        return
    stack = [(draft, draft.makers())]
    active = {draft: None}
    while stack:
        unit, makers = stack[-1]
        maker = next(makers, None)
        if maker is None:
            stack.pop()
            del active[unit]
            visited.add(unit)
            order.append(unit)
        elif maker in active:
            raise _make_cycle_error([*active], maker)
        elif maker not in visited:
            active[maker] = None
            stack.append((maker, maker.makers()))


def _make_cycle_error(active: Sequence[DraftUnit], first: DraftUnit) -> RequestError:
    names = [unit.product or unit.path.name for unit in active[active.index(first) :]]
    cycle = " waits for ".join([*names, names[0]])
    return RequestError(f"circular dependency: {cycle}")
