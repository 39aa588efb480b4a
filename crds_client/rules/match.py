"""The Match selector: chooses the best-fitting of several rules over several parameters.

Each parameter of a rule either matches the header's value, which adds weight to the rule, or is
irrelevant (``N/A``), or excludes the rule. Rules are tried in order of decreasing weight; rules of
equal weight are merged. Source: PyPI ``crds`` 14.0.3, ``selectors.MatchSelector``.

Sets of rules are the bits of an int. Each column of the rules caches the set that a value matches;
the rules of a header are the bitwise and over the columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from calbatch.crds_client.rules.conditioning import alternatives, condition_value, is_special
from calbatch.crds_client.rules.patterns import HIT, MISS, Pattern, compile_pattern
from calbatch.crds_client.rules.selectors import (
    Header,
    NoMatchError,
    RejectedValueError,
    Selector,
    follow,
)

Groups = tuple[int, ...]
"""Sets of rules of equal weight, as bits, in order of decreasing weight."""

_MEMORY = 20_000
"""Values that are cached before the cache is cleared, to bound its memory."""


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """Settings for matching from the header of a rules file.

    Attributes
    ----------
    substitutions : dict
        For each parameter, the substitutes of values in the rules.
    merge_overlaps : bool
        True if rules of equal weight are merged; otherwise they are a fault.
    """

    substitutions: dict[str, dict[Any, Any]] = field(default_factory=dict)
    merge_overlaps: bool = True


class _Column:
    """The patterns of all rules for one parameter."""

    def __init__(self, name: str, keys: Sequence[str], settings: MatchSettings) -> None:
        self.name = name
        self.values = _plain_values(keys)
        self._substitutes = settings.substitutions.get(name, {})
        rows: dict[str, int] = {}
        for row, key in enumerate(keys):
            rows[key] = rows.get(key, 0) | 1 << row
        self._patterns: list[tuple[Pattern, int]] = [
            (compile_pattern(key), mask) for key, mask in rows.items()
        ]
        self.memory: dict[str | None, tuple[int, int]] = {}

    def find(self, value: str | None) -> tuple[int, int]:
        """Return the rules that a value does not exclude, and those to which it adds weight."""
        if value is None:
            if "N/A" not in self.values:
                raise RejectedValueError(f"{self.name} is missing")
            value = "UNDEFINED"
        result = self.memory.get(value)
        if result is None:
            self._check(value)
            if len(self.memory) >= _MEMORY:
                self.memory.clear()
            result = self.memory[value] = self._match(value)
        return result

    def _match(self, value: str) -> tuple[int, int]:
        left = hits = 0
        for pattern, mask in self._patterns:
            answer = pattern(value)
            if answer != MISS:
                left |= mask
            if answer == HIT:
                hits |= mask
        return left, hits

    def _check(self, value: Any) -> None:
        """Reject a value that no rule mentions, unless some rule accepts any value."""
        if value in self.values or condition_value(value) in self.values or not self.values:
            return
        if not {"*", "ANY", "N/A"}.isdisjoint(self.values):
            return
        if not isinstance(value, str):
            raise RejectedValueError(f"{self.name} has several substitutes: {value!r}")
        if value.startswith("NOT"):
            self._check(value.removeprefix("NOT").strip())
        elif not (is_special(value) or value in ("*", "ANY", "N/A") or self._is_in_range(value)):
            if value not in self._substitutes:
                raise RejectedValueError(f"{self.name}={value!r} is not one of {self.values}")
            self._check(self._substitutes[value])

    def _is_in_range(self, value: str) -> bool:
        """Return whether the rules mention only a range ``low:high`` that contains the value."""
        if len(self.values) != 1 or ":" not in self.values[0]:
            return False
        try:
            low, high = map(float, self.values[0].split(":"))
            number = float(value)
        except ValueError:
            number, low, high = 1.0, 0.0, 0.0
        if not low <= number <= high:
            raise RejectedValueError(f"{self.name}={value!r} is not in {self.values[0]}")
        return True


def _plain_values(keys: Sequence[str]) -> list[str]:
    """Return the plain values in a column's keys; none if a key is an expression."""
    if any(is_special(key) for key in keys):
        return []
    return sorted({part for key in keys for part in alternatives(key)})


class Match(Selector):
    """Selects by several parameters; see the module.

    Parameters
    ----------
    parameters : tuple of str
        Names of the parameters in the header, one for each element of a key.
    keys : list of tuple of str
        The keys, conditioned and sorted.
    choices : list
        The choices, in the order of the keys.
    settings : MatchSettings
        The settings of the rules file.

    Raises
    ------
    ValueError
        If a pattern is malformed.
    """

    def __init__(
        self,
        parameters: tuple[str, ...],
        keys: list[tuple[str, ...]],
        choices: list[Any],
        settings: MatchSettings,
    ) -> None:
        self.parameters = parameters
        self.keys = keys
        self.choices = choices
        self._settings = settings
        self._columns = [
            _Column(name, [key[index] for key in keys], settings)
            for index, name in enumerate(parameters)
        ]
        self._all = (1 << len(keys)) - 1
        self._ranked: dict[tuple[str | None, ...], Groups] = {}
        self._grouped: dict[int, Any] = {}

    def choose(self, header: Header) -> Any:
        """Return the choice for a header; see `Selector.choose`."""
        get = header.get
        values = tuple([get(name) for name in self.parameters])
        groups = self._ranked.get(values)
        if groups is None:
            if len(self._ranked) >= _MEMORY:
                self._ranked.clear()
                self._grouped.clear()
            groups = self._ranked[values] = self.rank(values)
        reason = "no rule fits"
        for group in groups:
            choice = self.choice_of(group)
            if type(choice) is str:
                return choice
            try:
                return follow(choice, header)
            except NoMatchError as error:
                reason = str(error)
        raise NoMatchError(self.add_values(reason, values))

    def add_values(self, reason: str, values: tuple[str | None, ...]) -> str:
        """Return the reason for a mismatch with the header's values added."""
        pairs = zip(self.parameters, values, strict=True)
        shown = ", ".join([f"{name}={value!r}" for name, value in pairs])
        return f"{reason} ({shown})"

    def rank(self, values: tuple[str | None, ...]) -> Groups:
        """Return the rules that fit the parameters' values, in groups of equal weight.

        Raises
        ------
        RejectedValueError
            If the rules do not know a value.
        """
        left, heavier = self._all, []
        for column, value in zip(self._columns, values, strict=True):
            fits, hits = column.memory.get(value) or column.find(value)
            left &= fits
            if hits:
                heavier.append(hits)
        if not left:
            return ()
        if not left & (left - 1):
            return (left,)  # one rule
        groups = [left]  # by weight
        for hits in heavier:
            groups.append(0)
            for weight in range(len(groups) - 2, -1, -1):
                if gains := groups[weight] & hits:
                    groups[weight] ^= gains
                    groups[weight + 1] |= gains
        return tuple([group for group in reversed(groups) if group])

    def choice_of(self, group: int) -> Any:
        """Return the choice of rules of equal weight, merged if there are several.

        Raises
        ------
        RejectedValueError
            If they cannot be merged.
        """
        choice = self._grouped.get(group)
        if choice is None:
            choice = self._grouped[group] = self._choice(tuple(_bits(group)))
        return choice

    def _choice(self, group: tuple[int, ...]) -> Any:
        first = self.choices[group[0]]
        if len(group) == 1:
            return first
        if not self._settings.merge_overlaps:
            keys = ", ".join(str(self.keys[row]) for row in group)
            raise RejectedValueError(f"these rules fit equally well: {keys}")
        if not isinstance(first, Selector):
            return self._names(group)
        merged = first
        for row in group[1:]:
            merged = merged.merge(self.choices[row])
        return merged

    def _names(self, group: tuple[int, ...]) -> tuple[Any, ...]:
        choices = tuple(self.choices[row] for row in group)
        if any(isinstance(choice, Selector) for choice in choices):
            raise RejectedValueError("only some of the rules that fit equally well name a file")
        return choices


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
