"""Files that arrive in a watched folder, and the units that can be calibrated when they have."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from calbatch.calibrate.step import Step
from calbatch.calibrate.suffixes import product_name
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.unit import Unit
from calbatch.cluster.planning.associations import (
    Association,
    is_association,
    read_association,
)
from calbatch.cluster.planning.inputs import files_in, natural_key
from calbatch.cluster.planning.unit_collection import accepts_associations, collect_arrived_units
from calbatch.cluster.planning.unit_drafts import MissingMembersError, UnitDrafts, is_file
from calbatch.cluster.planning.unit_graph import UnitGraph
from calbatch.models import datamodels
from calbatch.models.errors import ModelError
from calbatch.models.storage.location import Location

MOST_NAMED = 3
"""Maximum number of members that a message names."""

_Stamp = tuple[int, int]
_UnitKey = tuple[str, str, str, tuple[tuple[str, str], ...]]
"""A unit's path, pipeline, product, and role and path of its members, without its number."""


class Arrivals:
    """Detects files that have arrived completely in a folder.

    A file is complete if it can be opened and has not changed for ``settle`` seconds. A file that
    stays damaged counts as complete after ten times as long, and then fails.

    Parameters
    ----------
    folder : Path
        The folder.
    patterns : sequence of str
        File name patterns.
    settle : float
        Seconds.
    recursive : bool
        True to search subfolders, too.

    Attributes
    ----------
    complete : dict
        The complete files as keys, in the order in which they arrived.
    changed : set of Path
        Those that are new, or have changed; whoever uses them removes them.
    arriving : float
        When a file was last seen that was not complete, by `time.monotonic`.
    """

    def __init__(
        self, folder: Path, patterns: Sequence[str], settle: float, *, recursive: bool = False
    ) -> None:
        self.folder, self.patterns, self.settle = folder, patterns, settle
        self.recursive = recursive
        self.complete: dict[Path, None] = {}
        self.changed: set[Path] = set()
        self.arriving = -math.inf
        self._listed: set[Path] = set()
        self._members: set[Path] = set()
        self._seen: dict[Path, tuple[_Stamp, float]] = {}
        self._given: dict[Path, _Stamp] = {}

    def scan(self) -> bool:
        """Look at all files; return whether any has become complete, changed or disappeared."""
        try:
            self._listed = {path for pattern in self.patterns for path in self._list(pattern)}
        except OSError:  # the folder may be temporarily unavailable
            return False
        now, before = time.monotonic(), list(self.complete)
        candidates = self._listed | self._members
        for path in self.complete.keys() - candidates:
            del self.complete[path]
        for path in sorted(candidates, key=natural_key):
            self._look_at(path, now)
        if not self.complete.keys() >= self._listed:
            self.arriving = now
        return bool(self.changed) or before != list(self.complete)

    def _list(self, pattern: str) -> Iterable[Path]:
        return list(files_in(self.folder, pattern, recursive=self.recursive))

    def _look_at(self, path: Path, now: float) -> None:
        try:
            status = path.stat()
        except OSError:  # already removed, or a member that has not arrived
            self.complete.pop(path, None)
            return
        stamp = status.st_size, status.st_mtime_ns
        if self._given.get(path) == stamp:
            self.complete.setdefault(path)
            return
        self.complete.pop(path, None)
        before, since = self._seen.get(path, (None, now))
        if before != stamp:
            self._seen[path] = stamp, now
        elif now - since >= self.settle and (_opens(path) or now - since >= 10 * self.settle):
            self._given[path] = stamp
            self.complete[path] = None
            self.changed.add(path)

    def list_files(self) -> list[Path]:
        """Return the complete files of the folder, in the order in which they arrived."""
        return [path for path in self.complete if path in self._listed]

    def is_listed(self, path: Path) -> bool:
        """Return whether a file is in the folder, complete or not."""
        return path in self._listed

    def has_member(self, path: Location) -> bool:
        """Return whether a member of an association is complete; otherwise look for it, too."""
        if not isinstance(path, Path):
            return False
        self._members.add(path)
        return path in self.complete


def _opens(path: Path) -> bool:
    with suppress(ModelError, OSError):
        if is_association(path):
            read_association(path)
            return True
        with datamodels.open(path):
            return True
    return False


@dataclass(frozen=True, kw_only=True)
class ArrivedUnits:
    """Units that are to be calibrated, with those that they wait for.

    Attributes
    ----------
    graph : UnitGraph
        The units.
    inputs : tuple of str
        The files from which they are made: exposures and associations.
    due : set of int
        Numbers of those that are new or changed; the others are done already.
    """

    graph: UnitGraph
    inputs: tuple[str, ...]
    due: Set[int]


class UnitSelection:
    """Selects the units of a watched folder that are to be calibrated next.

    A unit is selected when it is new, and whenever one of its files, or a unit that it waits for,
    has changed.

    Parameters
    ----------
    step : Step
        The configured step, pipeline or chain.
    output : Path or Url
        The folder of products.
    arrivals : Arrivals
        The files of the folder.
    say : callable
        Shows a message.

    Attributes
    ----------
    refused : dict
        Files that cannot be calibrated, and why.
    waiting : dict
        Associations that have not begun, with the names of the members that have not arrived.
    """

    def __init__(
        self, step: Step, output: Location, arrivals: Arrivals, say: Callable[[str], None]
    ) -> None:
        self.step, self.output, self.arrivals, self.say = step, output, arrivals, say
        self.refused: dict[Location, str] = {}
        self.waiting: dict[Location, Sequence[str]] = {}
        self._begun: set[_UnitKey] = set()
        self._begun_associations: set[Location] = set()
        self._read: dict[Path, Association | str] = {}
        self._is_finished = True
        self._said: dict[Location, str] = {}

    def select(self) -> ArrivedUnits | None:
        """Return the units that can begin now; None if there are none.

        They are returned again until `finish` is called.
        """
        if not self.arrivals.scan() and self._is_finished:
            return None
        changed = {str(path) for path in self.arrivals.changed}
        for path in self.arrivals.changed:
            self._begun_associations.discard(path)
            self._read.pop(path, None)
        graph = self._collect()
        self._show_reasons()
        keys = _keys_of(graph)
        news = [
            number
            for number, key in enumerate(keys)
            if key not in self._begun or _uses_any(key, changed)
        ]
        self._is_finished = not news
        if not news:
            self.arrivals.changed.clear()
            return None
        due = graph.find_dependents(news)
        selected = graph.select(due)
        new_numbers = {key: number for number, key in enumerate(_keys_of(selected))}
        return ArrivedUnits(
            graph=selected,
            inputs=tuple(str(path) for path in _files_of(selected, self.arrivals.complete)),
            due=frozenset(new_numbers[keys[number]] for number in due),
        )

    def finish(self, units: ArrivedUnits, unfinished: Collection[int] = ()) -> None:
        """Note that a batch of the selected units has ended.

        Parameters
        ----------
        units : ArrivedUnits
            The units.
        unfinished : collection of int
            Numbers of those that are to be selected again.
        """
        left = set(unfinished)
        keys = _keys_of(units.graph)
        self._begun.update(keys)
        self._begun.difference_update(keys[number] for number in left)
        associations = (unit for unit in units.graph.units if unit.product)
        self._begun_associations.update(u.path for u in associations if u.number not in left)
        self.arrivals.changed.clear()
        self._is_finished = not left

    def _collect(self) -> UnitGraph:
        """Return all units that can be made of the complete files."""
        self.refused, self.waiting = {}, {}
        drafts = UnitDrafts(self.output, self._refuse, self.arrivals.has_member)
        files = self.arrivals.list_files()
        named = dict.fromkeys(self._find_associations(files))
        exposures = self._without_clashes(path for path in files if path not in named)
        associations = []
        for path in named:
            found = self._read_association(path)
            if isinstance(found, str):
                self.refused[path] = found
            else:
                associations.append(found)
        return collect_arrived_units(self.step, exposures, associations, drafts)

    def _find_associations(self, files: Iterable[Path]) -> list[Path]:
        """Return the associations, in natural order.

        One that is being changed counts as it was, so that its members are not calibrated by
        themselves meanwhile.
        """
        if not accepts_associations(self.step):
            return []
        found = {path for path in files if is_association(path)}
        found.update(path for path in self._read if self.arrivals.is_listed(path))
        return sorted(found, key=natural_key)

    def _read_association(self, path: Path) -> Association | str:
        """Return an association, or why it cannot be read; each file is read once."""
        if path not in self._read:
            try:
                self._read[path] = read_association(path)
            except (ModelError, OSError) as error:
                self._read[path] = str(error)
        return self._read[path]

    def _without_clashes(self, exposures: Iterable[Path]) -> list[Path]:
        """Return the exposures whose products have names of their own, in natural order.

        Of two with the same names of products, the one that arrived first is taken.
        """
        owners: dict[str, Path] = {}
        for path in exposures:
            first = owners.setdefault(product_name(path.name, "*"), path)
            if first is not path:
                self.refused[path] = (
                    f"{path}: its products would have the names of those of {first}: use another "
                    "output folder"
                )
        return sorted(owners.values(), key=natural_key)

    def _refuse(self, path: Location, error: RequestError) -> None:
        if not isinstance(error, MissingMembersError):
            self.refused[path] = str(error)
        elif path not in self._begun_associations:
            self.waiting[path] = [n for n in error.names if not is_file(path.parent / n)]

    def _show_reasons(self) -> None:
        """Show what is not calibrated and why, whenever that has changed."""
        said = {path: f"not calibrated: {reason}" for path, reason in self.refused.items()}
        for path, names in self.waiting.items():
            if not names:  # they are arriving
                continue
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            said[path] = f"{path}: waits for {', '.join(names[:MOST_NAMED])}{more}"
        for path, text in said.items():
            if self._said.get(path) != text:
                self.say(text)
        self._said = said


def _keys_of(graph: UnitGraph) -> list[_UnitKey]:
    """Return the keys of units, in the order of their numbers."""
    keys: list[_UnitKey] = [(str(path), "", "", ()) for path in graph.paths]
    for unit in graph.units:
        keys[unit.number] = _key_of(unit)
    return keys


def _key_of(unit: Unit) -> _UnitKey:
    members = tuple((member.role, member.path) for member in unit.members)
    return str(unit.path), unit.pipeline, unit.product, members


def _uses_any(key: _UnitKey, files: Collection[str]) -> bool:
    """Return whether a unit takes one of some files."""
    path, _, _, members = key
    return path in files or any(member in files for _, member in members)


def _files_of(graph: UnitGraph, files: Iterable[Path]) -> list[Path]:
    """Return the files from which units are made, in natural order."""
    used = {str(path) for path in graph.paths}
    used.update(member.path for unit in graph.units for member in unit.members)
    return sorted((path for path in files if str(path) in used), key=natural_key)
