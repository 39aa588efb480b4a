"""Which units of a batch wait for which others, and which may begin."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from calbatch.cluster.exposure.unit import ORDER, Member, Unit
from calbatch.models.errors import FileError
from calbatch.models.storage.location import Location, location


class Made(NamedTuple):
    """What a unit has made.

    Attributes
    ----------
    identity : str
        The unit's identity.
    products : sequence of str
        Paths of its products; empty if it has failed.
    failure : str
        The reason why those that need it cannot begin; "" if it is done.
    """

    identity: str
    products: Sequence[str] = ()
    failure: str = ""


class BlockedUnit(NamedTuple):
    """A unit that cannot begin, because a unit that it needs has failed."""

    number: int
    path: Location
    reason: str


class Waits:
    """Keeps account of the units that wait for others.

    The driver reports the ends of units, while the thread that plans takes released units.

    Parameters
    ----------
    units : iterable of Unit
        The units with members that have not ended.
    made : mapping, optional
        What units that have ended before have made, by number.

    Attributes
    ----------
    news : threading.Event
        Set when a unit is released.
    """

    def __init__(self, units: Iterable[Unit] = (), made: Mapping[int, Made] | None = None) -> None:
        self.news = threading.Event()
        self._guard = threading.RLock()
        self._units = {unit.number: unit for unit in units}
        self._dependents: dict[int, list[int]] = {}
        self._pending: dict[int, int] = {}
        self._uses: dict[int, int] = {}
        self._made = dict(made or {})
        self._released: list[tuple[int, Location]] = []
        for unit in self._units.values():
            self._add(unit)

    def _add(self, unit: Unit) -> None:
        for maker in unit.makers:
            self._uses[maker] = self._uses.get(maker, 0) + 1
            if maker not in self._made or self._made[maker].failure:
                self._dependents.setdefault(maker, []).append(unit.number)
                self._pending[unit.number] = self._pending.get(unit.number, 0) + 1

    def unit(self, number: int) -> Unit | None:
        """Return a unit with members that has not ended; None if there is none."""
        return self._units.get(number)

    def is_held(self, number: int) -> bool:
        """Return whether a unit waits for others."""
        return number in self._pending

    def holds_any(self) -> bool:
        """Return whether any unit waits for others, or has been released and not been taken."""
        return bool(self._pending or self._released)

    def count_released(self) -> int:
        """Return the number of units that have been released and not been taken."""
        return len(self._released)

    def take_released(self, count: int) -> list[tuple[int, Location]]:
        """Remove and return some released units, the latest first."""
        with self._guard:
            released = self._released[-count:][::-1]
            del self._released[-count:]
        return released

    def settle_earlier(self) -> list[BlockedUnit]:
        """Return the units that cannot begin because of units that failed before; call it once."""
        failed = [number for number, made in self._made.items() if made.failure]
        return [blocked for number in failed for blocked in self.end(number, self._made[number])]

    def end(self, number: int, made: Made) -> list[BlockedUnit]:
        """Release the units that waited for a unit which has ended; return those that cannot begin.

        Parameters
        ----------
        number : int
            The unit that has ended.
        made : Made
            What it has made.
        """
        blocked: list[BlockedUnit] = []
        if not self._units and number not in self._dependents:
            return blocked
        with self._guard:
            if number in self._uses:
                self._made[number] = made
            self._forget(number)
            ended = [number]
            while ended:
                self._pass_on(ended.pop(), made, ended, blocked)
        return blocked

    def _pass_on(
        self, number: int, made: Made, ended: list[int], blocked: list[BlockedUnit]
    ) -> None:
        for dependent in self._dependents.pop(number, ()):
            unit = self._units.get(dependent)
            if unit is None:  # it is blocked already
                continue
            if made.failure and unit.needs(number):
                self._pending.pop(dependent, None)
                if dependent in self._uses:
                    self._made[dependent] = made
                self._forget(dependent)
                blocked.append(BlockedUnit(dependent, unit.path, made.failure))
                ended.append(dependent)
                continue
            self._pending[dependent] -= 1
            if not self._pending[dependent]:
                del self._pending[dependent]
                self._released.append((dependent, unit.path))
                self.news.set()

    def _forget(self, number: int) -> None:
        """Forget a unit that has ended, and what only it used."""
        unit = self._units.pop(number, None)
        for maker in unit.makers if unit else ():
            self._uses[maker] -= 1
            if not self._uses[maker]:
                del self._uses[maker]
                self._made.pop(maker, None)

    def inputs_of(self, unit: Unit) -> list[tuple[str, Location]]:
        """Return role and file of each input of a unit whose makers have ended.

        Raises
        ------
        FileError
            If a maker has not made a member that the unit needs.
        """
        with self._guard:
            found = [self._find(member) for member in unit.members if member.role != ORDER]
        return [member for member in found if member is not None]

    def _find(self, member: Member) -> tuple[str, Location] | None:
        if member.maker is None:
            return member.role, location(member.path)
        made, name = self._made[member.maker], PurePosixPath(member.path).name
        for product in made.products:
            if PurePosixPath(product).name == name:
                return member.role, location(product)
        if member.optional:
            return None
        others = ", ".join(PurePosixPath(product).name for product in made.products)
        raise FileError(member.path, f"was not made: there is only {others or 'nothing'}")

    def makers_of(self, unit: Unit) -> list[str]:
        """Return the identities of the makers that are done."""
        with self._guard:
            made = [self._made[maker] for maker in unit.makers if maker in self._made]
        return [each.identity for each in made if not each.failure]


def describe_failure_of(path: Location, *, quarantined: bool = False) -> str:
    """Return why the units that need a failed unit cannot begin."""
    return f"not begun: {path.name} {'was quarantined' if quarantined else 'failed'}"
