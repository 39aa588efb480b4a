"""The dependencies between the units of a batch: waiting units, their makers, and their release."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from calbatch.cluster.exposure.unit import ORDER, Member, Unit
from calbatch.models.errors import FileError
from calbatch.models.storage.location import Location, location


class UnitResult(NamedTuple):
    """The result of a unit that has ended, for those that wait for it.

    Attributes
    ----------
    identity : str
        The unit's identity.
    products : sequence of str
        Paths of its products; empty if it has failed.
    failure : str
        The reason why units that need it cannot begin; "" if it is done.
    """

    identity: str
    products: Sequence[str] = ()
    failure: str = ""


class BlockedUnit(NamedTuple):
    """A unit that cannot begin, because a unit that it needs has failed."""

    number: int
    path: Location
    reason: str


class Dependencies:
    """Keeps track of the units that wait for others.

    The driver reports each unit that has ended; the thread that plans takes the released units.

    Parameters
    ----------
    units : iterable of Unit
        The units with members that have not ended.
    results : mapping, optional
        Results, by number, of the units that have ended already.

    Attributes
    ----------
    release_event : threading.Event
        Set when a unit is released.
    """

    def __init__(
        self, units: Iterable[Unit] = (), results: Mapping[int, UnitResult] | None = None
    ) -> None:
        self.release_event = threading.Event()
        self._guard = threading.RLock()
        self._units = {unit.number: unit for unit in units}
        self._dependents: dict[int, list[int]] = {}
        self._pending: dict[int, int] = {}
        self._uses: dict[int, int] = {}
        self._results = dict(results or {})
        self._released: list[tuple[int, Location]] = []
        for unit in self._units.values():
            self._add(unit)

    def _add(self, unit: Unit) -> None:
        for maker in unit.makers:
            self._uses[maker] = self._uses.get(maker, 0) + 1
            if maker not in self._results or self._results[maker].failure:
                self._dependents.setdefault(maker, []).append(unit.number)
                self._pending[unit.number] = self._pending.get(unit.number, 0) + 1

    def find_unit(self, number: int) -> Unit | None:
        """Return the unit with a number, or None if it is a single file or has ended."""
        return self._units.get(number)

    def is_held(self, number: int) -> bool:
        """Return whether a unit is held: it waits for others."""
        return number in self._pending

    def holds_any(self) -> bool:
        """Return whether any unit is held, or has been released but not taken."""
        return bool(self._pending or self._released)

    def count_released(self) -> int:
        """Return the number of released units that have not been taken."""
        return len(self._released)

    def take_released(self, count: int) -> list[tuple[int, Location]]:
        """Remove and return some released units, the latest first."""
        with self._guard:
            released = self._released[-count:][::-1]
            del self._released[-count:]
        return released

    def propagate_earlier_failures(self) -> list[BlockedUnit]:
        """Return the units that failures under an earlier driver block; call it once."""
        failed = [number for number, result in self._results.items() if result.failure]
        return [
            blocked for number in failed for blocked in self.finish(number, self._results[number])
        ]

    def finish(self, number: int, result: UnitResult) -> list[BlockedUnit]:
        """Record the end of a unit: release units that waited for it, and return the blocked ones.

        Parameters
        ----------
        number : int
            The unit that has ended.
        result : UnitResult
            Its result.
        """
        blocked: list[BlockedUnit] = []
        if not self._units and number not in self._dependents:
            return blocked
        with self._guard:
            if number in self._uses:
                self._results[number] = result
            self._forget(number)
            ended = [number]
            while ended:
                self._release_dependents(ended.pop(), result, ended, blocked)
        return blocked

    def _release_dependents(
        self, number: int, result: UnitResult, ended: list[int], blocked: list[BlockedUnit]
    ) -> None:
        """Release the units that wait for one that has ended, or block them if it failed."""
        for dependent in self._dependents.pop(number, ()):
            unit = self._units.get(dependent)
            if unit is None:  # already blocked
                continue
            if result.failure and unit.needs(number):
                self._pending.pop(dependent, None)
                if dependent in self._uses:
                    self._results[dependent] = result
                self._forget(dependent)
                blocked.append(BlockedUnit(dependent, unit.path, result.failure))
                ended.append(dependent)
                continue
            self._pending[dependent] -= 1
            if not self._pending[dependent]:
                del self._pending[dependent]
                self._released.append((dependent, unit.path))
                self.release_event.set()

    def _forget(self, number: int) -> None:
        """Forget a unit that has ended, and the results that it alone used."""
        unit = self._units.pop(number, None)
        for maker in unit.makers if unit else ():
            self._uses[maker] -= 1
            if not self._uses[maker]:
                del self._uses[maker]
                self._results.pop(maker, None)

    def find_inputs(self, unit: Unit) -> list[tuple[str, Location]]:
        """Return the role and the file of each input of a unit whose makers have all ended.

        Raises
        ------
        FileError
            If a member that the unit needs is not among the products of its maker.
        """
        with self._guard:
            found = [self._find(member) for member in unit.members if member.role != ORDER]
        return [member for member in found if member is not None]

    def _find(self, member: Member) -> tuple[str, Location] | None:
        if member.maker is None:
            return member.role, location(member.path)
        result, name = self._results[member.maker], _name_of(member.path)
        for product in result.products:
            if _name_of(product) == name:
                return member.role, location(product)
        if member.optional:
            return None
        others = ", ".join(map(_name_of, result.products))
        raise FileError(member.path, f"was not made: there is only {others or 'nothing'}")

    def list_maker_identities(self, unit: Unit) -> list[str]:
        """Return the identities of the makers that are done."""
        with self._guard:
            results = [self._results[maker] for maker in unit.makers if maker in self._results]
        return [each.identity for each in results if not each.failure]


def _name_of(path: str) -> str:
    """Return the name of a file or object; parsing the whole path of each member is slow."""
    return path.rpartition("/")[2]


def describe_blocking_failure(path: Location, *, quarantined: bool = False) -> str:
    """Return the reason why units that need a failed unit cannot begin."""
    return f"not begun: {path.name} {'was quarantined' if quarantined else 'failed'}"
