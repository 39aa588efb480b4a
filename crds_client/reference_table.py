"""References of many exposures: equal selection values are resolved once.

Exposures differ in their times, but rules only ask between which two of their dates a time lies;
so times are reduced to that before exposures are compared.
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
"""Configurations remembered before starting anew."""


class SelectionRules(Protocol):
    """An instrument's rules, applied here (``InstrumentRules``) or by a server."""

    instrument: str
    parameters: tuple[str, ...]

    @property
    def types(self) -> Mapping[str, Any]:
        """The reference types."""
        ...

    def reference_rules(self) -> Iterator[ReferenceRules]:
        """Give the rules by type, as far as they are here."""
        ...

    def resolve(self, header: Header, types: Iterable[str] | None = None) -> References:
        """Choose for a conditioned header."""
        ...


class Configurations:
    """The distinct sets of selection values of one instrument's headers.

    Parameters
    ----------
    rules : Rules
        The instrument's rules.
    observatory : str
        Says what headers call the parameters.
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
        """Give the conditioned values of `InstrumentRules.parameters`."""
        return condition_values(raw_values(header, self._names))

    def key(self, values: tuple[str, ...]) -> tuple[Hashable, ...]:
        """Give what equal configurations have in common, from `values`."""
        return self._key(values, self._date(values))

    def resolve(self, values: tuple[str, ...], types: tuple[str, ...] | None) -> References:
        """Choose for the values of a header; equal configurations once."""
        date = self._date(values)
        key = (self._key(values, date), types)
        found = self._resolved.get(key)
        if found is None:
            if len(self._resolved) >= _MEMORY:
                self._resolved.clear()
            found = self._resolved[key] = self._choose(values, date, types)
        return dict(found)

    def _date(self, values: tuple[str, ...]) -> str:
        """Give the date in its standard form; nothing if it is not to be had, or no matter."""
        if not self._dates:
            return ""
        texts = [values[index].strip() for index in self._dates]
        if UNDEFINED in texts:
            return ""
        try:
            return standard_date(" ".join(texts).strip())
        except ValueError:
            return ""  # malformed: the reason will name the value

    def _key(self, values: tuple[str, ...], date: str) -> tuple[Hashable, ...]:
        if not date:
            return values
        kept = list(values)
        for index in self._dates:
            kept[index] = ""
        return (*kept, bisect.bisect_right(self._boundaries, date))

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
    """Give the parameters that only say when; none if anything else asks for them."""
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
    """Each exposure's references by one context. Plain data: pickles.

    Attributes
    ----------
    context : str
        The rules' version.
    faults : dict
        Exposure to reason, for headers from which nothing can be selected.
    """

    context: str
    faults: dict[Exposure, str] = field(default_factory=dict)
    _index: dict[Exposure, int] = field(default_factory=dict)
    _references: list[References] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Exposure]:
        return iter(self._index)

    def __contains__(self, exposure: object) -> bool:
        return exposure in self._index

    def __getitem__(self, exposure: Exposure) -> References:
        """Give type to `Resolution`; KeyError for unknown exposures and those in `faults`."""
        return self._references[self._index[exposure]]

    @property
    def configurations(self) -> int:
        """How many distinct sets of references there are."""
        return len(self._references)

    def names(self) -> set[str]:
        """Give every file that some exposure needs."""
        return {
            name
            for references in self._references
            for resolution in references.values()
            for name in resolution.names
        }

    def add(self, exposure: Exposure, references: References | int) -> int:
        """Set an exposure's references, or those of a configuration that is there already."""
        if isinstance(references, int):
            self._index[exposure] = references
            return references
        self._references.append(references)
        self._index[exposure] = len(self._references) - 1
        return self._index[exposure]
