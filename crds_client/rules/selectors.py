"""Selectors over one ordered parameter: UseAfter, VersionAfter, ClosestTime and similar ones.

A selector returns one of its choices by the values of its parameters in a header. A choice is a
file name, several names, ``N/A``, or another selector. Results agree with those of ``selectors`` in
PyPI ``crds`` 14.0.3, including rounding and the order of ties.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from calbatch.crds_client.rules.conditioning import alternatives, condition_value
from calbatch.crds_client.rules.dates import parse_date, standard_date
from calbatch.crds_client.rules.versions import (
    Relation,
    are_comparable,
    parse_relation,
    version_key,
)

Header = Mapping[str, str]
"""Conditioned values by parameter."""


class NoMatchError(Exception):
    """No choice fits. A rule of lower weight may fit."""


class RejectedValueError(Exception):
    """The rules do not accept a header's value, or do not determine a choice."""


class Selector:
    """Selects by the values of its parameters in a header.

    Attributes
    ----------
    parameters : tuple of str
        Names of the parameters.
    choices : list
        The choices, in the order of the keys.
    """

    parameters: tuple[str, ...]
    choices: list[Any]

    def choose(self, header: Header) -> Any:
        """Return the choice for a header: a name, or several.

        Raises
        ------
        NoMatchError, RejectedValueError
            If there is no choice.
        """
        raise NotImplementedError  # not an abstract base class, whose isinstance is slow

    def merge(self, other: Any) -> Selector:
        """Return the union with a selector of equal weight."""
        raise RejectedValueError(
            f"two rules fit equally well, and {type(self).__name__} cannot join them"
        )

    def walk(self) -> Iterator[Selector]:
        """Yield this selector and all nested ones."""
        yield self
        for choice in self.choices:
            if isinstance(choice, Selector):
                yield from choice.walk()

    def names(self) -> Iterator[str]:
        """Yield every name that can be chosen, including ``N/A``."""
        for choice in self.choices:
            yield from choice.names() if isinstance(choice, Selector) else flat_names(choice)


def flat_names(choice: Any) -> Iterator[str]:
    """Yield the names in a choice: one, or several in tuples or a dict."""
    if isinstance(choice, str):
        yield choice
    else:
        for part in choice.values() if isinstance(choice, dict) else choice:
            yield from flat_names(part)


def follow(choice: Any, header: Header) -> Any:
    """Return a choice; if it is a selector, the selector's choice for the header."""
    return choice.choose(header) if isinstance(choice, Selector) else choice


def follow_only(choice: Any, header: Header) -> Any:
    """Return the result of `follow` for the only choice that fits."""
    try:
        return follow(choice, header)
    except NoMatchError as error:
        raise NoMatchError(f"no nested rule fits: {error}") from None


class UseAfter(Selector):
    """Selects the latest key that is not after the header's date and time."""

    def __init__(
        self, parameters: tuple[str, ...], keys: Sequence[Any], choices: list[Any]
    ) -> None:
        self.parameters = parameters
        self.keys = list(keys)
        self.choices = choices

    def choose(self, header: Header) -> Any:
        """Return the choice for a header; see `Selector.choose`."""
        value = self.position(header)
        index = bisect.bisect_right(self.keys, value) - 1
        if index < 0:
            raise self.too_early()
        choice = self.choices[index]
        return choice if type(choice) is str else follow_only(choice, header)

    def too_early(self) -> NoMatchError:
        """Return the error of a date before the first key."""
        return NoMatchError(f"{_join_names(self.parameters)} is before every rule")

    def position(self, header: Header) -> Any:
        """Return the header's date and time in the form of the keys."""
        return header_date(self.parameters, header)

    def merge(self, other: Any) -> UseAfter:
        """Return the union of both; equal keys have the greater choice, which is the later file."""
        if not isinstance(other, UseAfter):
            raise RejectedValueError(
                "two rules fit equally well, and only one of them selects by date"
            )
        merged = dict(zip(self.keys, self.choices, strict=True))
        try:
            for key, choice in zip(other.keys, other.choices, strict=True):
                merged[key] = max(merged[key], choice) if key in merged else choice
            keys = sorted(merged)
        except TypeError:
            raise RejectedValueError("two rules fit equally well, and cannot be joined") from None
        return type(self)(self.parameters, keys, [merged[key] for key in keys])


class VersionAfter(UseAfter):
    """Selects the latest version that is not after the header's."""

    def position(self, header: Header) -> tuple[int, int, int]:
        """Return the header's version."""
        _require(self.parameters, header)
        text = "|".join(alternatives(".".join(header[name] for name in self.parameters)))
        try:
            return version_key(text)
        except ValueError as error:
            raise RejectedValueError(f"{_join_names(self.parameters)}: {error}") from None


class ClosestTime(UseAfter):
    """Selects the key that is closest in time, before or after."""

    def choose(self, header: Header) -> Any:
        """Return the choice for a header; see `Selector.choose`."""
        date = parse_date(self.position(header))
        try:
            gaps = [abs((date - parse_date(key)).total_seconds()) for key in self.keys]
        except ValueError as error:
            raise RejectedValueError(str(error)) from None
        return follow_only(self.choices[_nearest(np.array(gaps, dtype=np.float32))], header)


class GeometricallyNearest(Selector):
    """Selects the numerically nearest key; keys are sorted as strings."""

    def __init__(self, parameters: tuple[str, ...], keys: list[str], choices: list[Any]) -> None:
        self.parameters = parameters
        self.choices = choices
        self._numbers = np.array(keys, dtype=np.float32)  # crds compares in single precision

    def choose(self, header: Header) -> Any:
        """Return the choice for a header; see `Selector.choose`."""
        value = _number(self.parameters[0], header)
        return follow_only(self.choices[_nearest(np.abs(self._numbers - value))], header)


class Bracket(Selector):
    """Selects two choices: of the nearest key below and of the nearest above."""

    def __init__(self, parameters: tuple[str, ...], keys: list[float], choices: list[Any]) -> None:
        self.parameters = parameters
        self.keys = keys
        self.choices = choices

    def choose(self, header: Header) -> Any:
        """Return the choice for a header; see `Selector.choose`."""
        value = _number(self.parameters[0], header)
        if not self.keys:
            raise RejectedValueError("the rule has no choices")
        above = self._index_above(value)
        exact = above == 0 or self.keys[above] == value or value > self.keys[-1]
        less = follow_only(self.choices[above if exact else above - 1], header)
        return less, less if exact else follow_only(self.choices[above], header)

    def _index_above(self, value: float) -> int:
        """Return the index of the first key that is not below the value, otherwise of the last."""
        below = (index for index, key in enumerate(self.keys) if not value > key)
        return next(below, len(self.keys) - 1)


class SelectVersion(Selector):
    """Selects the first relation, in order of version, that the header's version satisfies."""

    def __init__(
        self, parameters: tuple[str, ...], keys: list[Relation], choices: list[Any]
    ) -> None:
        if any(not are_comparable(one, keys[0]) for one in keys):
            raise ValueError("versions of different kinds cannot be ordered")
        self.parameters = parameters
        self.keys = keys
        self.choices = choices

    def choose(self, header: Header) -> Any:
        """Return the choice for a header; see `Selector.choose`."""
        name = self.parameters[0]
        _require((name,), header)
        version = self._version(name, header[name])
        for key, choice in zip(self.keys, self.choices, strict=True):
            if not are_comparable(key, version):
                raise RejectedValueError(
                    f"{name}={header[name]!r} cannot be compared with {key.version!r}"
                )
            if version <= key:
                return follow_only(choice, header)
        raise RejectedValueError(f"{name}={header[name]!r} is above every version of the rule")

    @staticmethod
    def _version(name: str, value: str) -> Relation:
        try:
            if value.replace("=", "").strip() != "default":
                float(value)
            return parse_relation(value)
        except ValueError:
            raise RejectedValueError(f"{name}={value!r} is not a version") from None


def header_date(parameters: tuple[str, ...], header: Header) -> str:
    """Return the date and time of a header in their standard form.

    Raises
    ------
    RejectedValueError
        If one is missing, ``UNDEFINED`` or malformed.
    """
    try:
        values = tuple([header[name] for name in parameters])
    except KeyError as error:
        raise RejectedValueError(f"{error.args[0]} is missing") from None
    return _join_date(parameters, values)


@functools.lru_cache(maxsize=16384)
def _join_date(parameters: tuple[str, ...], values: tuple[str, ...]) -> str:
    stripped = [value.strip() for value in values]
    if "UNDEFINED" in stripped:
        raise RejectedValueError(f"{parameters[stripped.index('UNDEFINED')]} is UNDEFINED")
    text = " ".join(stripped).strip()
    try:
        return standard_date(text)
    except ValueError as error:
        raise RejectedValueError(f"{_join_names(parameters)} {text!r}: {error}") from None


def _join_names(parameters: tuple[str, ...]) -> str:
    return " ".join(parameters)


def _require(parameters: tuple[str, ...], header: Header) -> None:
    for name in parameters:
        if name not in header:
            raise RejectedValueError(f"{name} is missing")


def _number(name: str, header: Header) -> float:
    _require((name,), header)
    try:
        return float(header[name])
    except ValueError:
        raise RejectedValueError(f"{name}={header[name]!r} is not a number") from None


def _nearest(gaps: np.ndarray) -> int:
    if not gaps.size:
        raise RejectedValueError("the rule has no choices")
    return int(np.argmin(gaps))


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{key!r} is not a date")
    return key


def _number_text(key: Any) -> str:
    value = condition_value(key)
    float(value)  # ValueError
    return value


def _number_key(key: Any) -> float:
    if not isinstance(key, int | float):
        raise TypeError(f"{key!r} is not a number")
    return key


ORDERED: dict[str, tuple[Callable[..., Selector], Callable[[Any], Any]]] = {
    "UseAfter": (UseAfter, _text),
    "VersionAfter": (VersionAfter, lambda key: version_key(str(key))),
    "ClosestTime": (ClosestTime, _text),
    "GeometricallyNearest": (GeometricallyNearest, _number_text),
    "Bracket": (Bracket, _number_key),
    "SelectVersion": (SelectVersion, lambda key: parse_relation(str(key))),
}
"""By the name in rules files: the class, and the function that reads a key.

The function raises ValueError or TypeError.
"""
