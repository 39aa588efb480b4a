"""References of many exposures: equal selection values are resolved once.

The times of exposures differ, but rules depend only on the interval between two of their dates. So
exposures are compared by that interval.
"""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from calbatch.crds_client.rules.conditioning import condition_values
from calbatch.crds_client.rules.dates import standard_date
from calbatch.crds_client.rules.keywords import UNDEFINED, all_synonyms, raw_values
from calbatch.crds_client.rules.mapping import InstrumentRules, ReferenceRules, Resolution
from calbatch.crds_client.rules.selectors import Header, Selector, UseAfter
from calbatch.crds_client.rules.tables import InstrumentTables, has_condition_on

Exposure = TypeVar("Exposure", bound=Hashable)
References = dict[str, Resolution]

_MEMORY = 5_000
"""Configurations that are cached before the cache is cleared."""


class SelectionRules(Protocol):
    """An instrument's rules, applied locally (``InstrumentRules``) or by a server."""

    instrument: str
    parameters: tuple[str, ...]

    @property
    def types(self) -> Mapping[str, Any]:
        """The reference types."""
        ...

    def reference_rules(self) -> Iterator[ReferenceRules]:
        """Return the rules of the types; none if a server applies them."""
        ...

    def resolve(self, header: Header, types: Iterable[str] | None = None) -> References:
        """Select the references for a conditioned header."""
        ...


class Configurations:
    """The distinct sets of selection values of one instrument's headers.

    Parameters
    ----------
    rules : SelectionRules
        The instrument's rules.
    observatory : str
        Determines the parameters' names in headers.
    """

    def __init__(self, rules: SelectionRules, observatory: str) -> None:
        self.rules = rules
        self._names = all_synonyms(rules.parameters, observatory)
        self._dated = _date_parameters(rules)
        self._dates = [rules.parameters.index(name) for name in self._dated]
        self._boundaries = _boundaries(rules) if self._dated else []
        self._tables = (
            InstrumentTables(rules, self._dated)
            if self._dated and isinstance(rules, InstrumentRules)
            else None
        )
        self._resolved: dict[tuple[Hashable, ...], References] = {}

    def values(self, header: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the conditioned values of `InstrumentRules.parameters`."""
        return condition_values(raw_values(header, self._names))

    def key(self, values: tuple[str, ...]) -> tuple[Hashable, ...]:
        """Return a key from `values`, which is the same for equal configurations."""
        return self._key(values, self._date(values))

    def resolve(self, values: tuple[str, ...], types: tuple[str, ...] | None) -> References:
        """Select the references for the values of a header, resolving equal configurations once."""
        date = self._date(values)
        key = (self._key(values, date), types)
        references = self._resolved.get(key)
        if references is None:
            if len(self._resolved) >= _MEMORY:
                self._resolved.clear()
            references = self._resolved[key] = self._choose(values, date, types)
        return dict(references)

    def _date(self, values: tuple[str, ...]) -> str:
        """Return the date in its standard form; empty if it is undefined or irrelevant."""
        if not self._dates:
            return ""
        texts = [values[index].strip() for index in self._dates]
        if UNDEFINED in texts:
            return ""
        try:
            return standard_date(" ".join(texts).strip())
        except ValueError:
            return ""  # malformed: the reason names the value

    def _key(self, values: tuple[str, ...], date: str) -> tuple[Hashable, ...]:
        if not date:
            return values
        others = list(values)
        for index in self._dates:
            others[index] = ""
        return (*others, bisect.bisect_right(self._boundaries, date))

    def _choose(
        self, values: tuple[str, ...], date: str, types: tuple[str, ...] | None
    ) -> References:
        if date and self._tables:
            return self._tables.resolve(values, date, types)
        return self.rules.resolve(dict(zip(self.rules.parameters, values, strict=True)), types)


def _selectors(rules: SelectionRules) -> Iterator[Selector]:
    for reference in rules.reference_rules():
        yield from reference.selector.walk()


def _date_parameters(rules: SelectionRules) -> tuple[str, ...]:
    """Return the parameters that form the date; none if they are also used otherwise."""
    dated = {one.parameters for one in _selectors(rules) if type(one) is UseAfter}
    if len(dated) != 1:
        return ()
    (parameters,) = dated
    if any(has_condition_on(reference, parameters) for reference in rules.reference_rules()):
        return ()
    others = {
        name for one in _selectors(rules) if type(one) is not UseAfter for name in one.parameters
    }
    return () if others.intersection(parameters) else parameters


def _boundaries(rules: SelectionRules) -> list[str]:
    return sorted({key for one in _selectors(rules) if type(one) is UseAfter for key in one.keys})


@dataclass(frozen=True)
class ReferenceTable(Generic[Exposure]):
    """The references of many exposures under one context; can be pickled.

    Attributes
    ----------
    context : str
        The version of the rules.
    faults : dict
        Reason by exposure, for headers from which nothing can be selected.
    without_rules : set
        The exposures in ``faults`` that have no instrument, or one without rules. For the others,
        the rules themselves are unusable.
    """

    context: str
    faults: dict[Exposure, str] = field(default_factory=dict)
    without_rules: set[Exposure] = field(default_factory=set)
    _index: dict[Exposure, int] = field(default_factory=dict)
    _references: list[References] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Exposure]:
        return iter(self._index)

    def __contains__(self, exposure: object) -> bool:
        return exposure in self._index

    def __getitem__(self, exposure: Exposure) -> References:
        """Return `Resolution` by type; KeyError for unknown exposures and those in `faults`."""
        return self._references[self._index[exposure]]

    @property
    def configurations(self) -> int:
        """Number of distinct sets of references."""
        return len(self._references)

    def names(self) -> set[str]:
        """Return the files that the exposures need."""
        return {
            name
            for references in self._references
            for resolution in references.values()
            for name in resolution.names
        }

    def add(self, exposure: Exposure, references: References | int) -> int:
        """Set an exposure's references; an int stands for an earlier set. Return its number."""
        if isinstance(references, int):
            self._index[exposure] = references
            return references
        self._references.append(references)
        self._index[exposure] = len(self._references) - 1
        return self._index[exposure]
