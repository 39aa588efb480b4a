"""Tables of the files that apply from each date on, for rules of the most common form.

Nearly all rules are a Match of UseAfters over one date. For given values of the other parameters,
the result depends on the date only. So a table of dates and results is made for each combination of
values, in which later headers with these values are looked up. Rules of other forms are resolved by
`ReferenceRules.resolve`.
"""

from __future__ import annotations

import bisect
import operator
from collections.abc import Callable, Iterable

from calbatch.crds_client.rules.mapping import (
    InstrumentRules,
    ReferenceRules,
    Resolution,
    resolution_of,
)
from calbatch.crds_client.rules.match import Groups, Match
from calbatch.crds_client.rules.selectors import (
    Header,
    NoMatchError,
    RejectedValueError,
    Selector,
    UseAfter,
)

_MEMORY = 4_000
"""Tables of a type that are cached before the cache is cleared."""

Values = tuple[str, ...]
Table = tuple[list[str], list[Resolution]]
"""Sorted dates, and one result more than dates: the first is for times before all of them."""

_Early = Resolution | NoMatchError | RejectedValueError
_Unfinished = tuple[list[str], _Early, list[Resolution]]
_UNSET = Resolution("not found")


def is_tabular(rules: ReferenceRules, dated: tuple[str, ...]) -> bool:
    """Return whether a type's result depends only on the values of a Match and one date.

    Parameters
    ----------
    rules : ReferenceRules
        The rules of the type.
    dated : tuple of str
        The parameters that form the date.
    """
    top = rules.selector
    if rules.refusal or type(top) is not Match:
        return False
    if not set(dated).isdisjoint(top.parameters) or has_condition_on(rules, dated):
        return False
    if len(set(top.parameters)) < len(top.parameters):
        return False
    return all(_is_by_date(one, dated) for one in top.choices if isinstance(one, Selector))


def has_condition_on(rules: ReferenceRules, parameters: tuple[str, ...]) -> bool:
    """Return whether conditions of a type read or change any of the parameters."""
    return not rules.condition_parameters.isdisjoint(name.replace(".", "_") for name in parameters)


def _is_by_date(selector: Selector, dated: tuple[str, ...]) -> bool:
    below = any(isinstance(choice, Selector) for choice in selector.choices)
    return type(selector) is UseAfter and selector.parameters == dated and not below


class TypeTables:
    """The tables of one reference type.

    Parameters
    ----------
    rules : ReferenceRules
        Rules for which `is_tabular` is true.
    match : Match
        Their selector.
    parameters : tuple of str
        The parameters of the instrument, in the order of headers' values.

    Attributes
    ----------
    pick : callable
        Returns the values of a header that are relevant to this type.
    tables : dict
        Table by the result of `pick`.
    """

    def __init__(self, rules: ReferenceRules, match: Match, parameters: Values) -> None:
        self._rules = rules
        self._match = match
        names = [*match.parameters, *(one for one in parameters if has_condition_on(rules, (one,)))]
        self._names = tuple(dict.fromkeys(names))
        self.pick = _picker([parameters.index(name) for name in self._names])
        self.tables: dict[Values, Table] = {}
        self._by_groups: dict[Groups, _Unfinished] = {}

    def add_table(self, picked: Values) -> Table:
        """Make and cache the table for values that `pick` returned."""
        if len(self.tables) >= _MEMORY:
            self.tables.clear()
            self._by_groups.clear()
        table = self.tables[picked] = self._table(picked)
        return table

    def _table(self, picked: Values) -> Table:
        values = picked[: len(self._match.parameters)]
        header: Header = {}
        if self._rules.has_conditions:
            relevant = self._rules.apply_conditions(dict(zip(self._names, picked, strict=True)))
            if isinstance(relevant, Resolution):
                return [], [relevant]
            header = relevant
            values = tuple([header[name] for name in self._match.parameters])
        try:
            groups = self._match.rank(values)
        except RejectedValueError as error:
            return [], [self._rules.resolve_miss(header, str(error))]
        shared = self._by_groups.get(groups)
        if shared is None:
            shared = self._by_groups[groups] = self._by_date(groups)
        dates, early, answers = shared
        if isinstance(early, NoMatchError):
            early = self._rules.resolve_miss(header, self._match.add_values(str(early), values))
        elif isinstance(early, RejectedValueError):
            early = self._rules.resolve_miss(header, str(early))
        return dates, [early, *answers]

    def _by_date(self, groups: Groups) -> _Unfinished:
        """Return the dates and results of the rules that fit, with the result before all dates.

        Rules of higher weight take precedence from their first date on. Before all dates there may
        be no match; its reason depends on the header.
        """
        dates: list[str] = []
        answers: list[Resolution] = []
        early: _Early = NoMatchError("no rule fits")
        for group in groups:
            try:
                choice = self._match.choice_of(group)
            except RejectedValueError as error:
                return dates, error, answers
            if not isinstance(choice, UseAfter):
                return dates, resolution_of(choice), answers
            cut = bisect.bisect_left(choice.keys, dates[0]) if dates else len(choice.keys)
            dates = choice.keys[:cut] + dates
            answers = [*map(resolution_of, choice.choices[:cut]), *answers]
            early = choice.too_early()
        return dates, early, answers


def _picker(positions: list[int]) -> Callable[[Values], Values]:
    if len(positions) > 1:
        return operator.itemgetter(*positions)
    return lambda values: tuple([values[position] for position in positions])


class InstrumentTables:
    """The tables of an instrument's types.

    Parameters
    ----------
    rules : InstrumentRules
        The rules of the instrument.
    dated : tuple of str
        The parameters that form the date.
    """

    def __init__(self, rules: InstrumentRules, dated: tuple[str, ...]) -> None:
        self._rules = rules
        self._tables = {
            kind: TypeTables(one, one.selector, rules.parameters)
            for kind, one in rules.with_rules
            if isinstance(one.selector, Match) and is_tabular(one, dated)
        }
        self._others = [kind for kind, _ in rules.with_rules if kind not in self._tables]

    def resolve(
        self, values: Values, date: str, types: Iterable[str] | None = None
    ) -> dict[str, Resolution]:
        """Select the reference of each type.

        Parameters
        ----------
        values : tuple of str
            Conditioned values of `InstrumentRules.parameters`.
        date : str
            The date in its standard form.
        types : iterable of str, optional
            Reference types; by default all of the instrument.
        """
        if types is None:
            resolutions, tables, others = dict(self._rules.fixed), self._tables, self._others
        else:
            wanted = [kind.lower() for kind in types]
            resolutions = dict.fromkeys(wanted, _UNSET)
            tables = {kind: self._tables[kind] for kind in wanted if kind in self._tables}
            others = [kind for kind in wanted if kind not in tables]
        for kind, table in tables.items():
            picked = table.pick(values)
            dates, answers = table.tables.get(picked) or table.add_table(picked)
            resolutions[kind] = answers[bisect.bisect_right(dates, date)]
        if others:
            header = dict(zip(self._rules.parameters, values, strict=True))
            resolutions.update(self._rules.resolve(header, others))
        return resolutions
