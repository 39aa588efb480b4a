"""Executable rules: of one reference type, of one instrument, and of one observatory.

They include relevance, omission, irrelevant parameters, and types that are not required or not
applicable. Source: PyPI ``crds`` 14.0.3, ``rmap``.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from calbatch.crds_client.errors import ChecksumError, MappingError, NoRulesError, convert_errors
from calbatch.crds_client.rules.compiling import check_entries, compile_selector, parkeys
from calbatch.crds_client.rules.expressions import Expression, names_of
from calbatch.crds_client.rules.hooks import hook_refusal
from calbatch.crds_client.rules.literals import MappingSource, parse_mapping
from calbatch.crds_client.rules.selectors import (
    Header,
    NoMatchError,
    RejectedValueError,
    flat_names,
)

NOT_APPLICABLE = frozenset({"N/A", "TEMP_N/A", "n/a", "temp_n/a"})
OMITTED = frozenset({"OMIT", "TEMP_OMIT", "omit"})

_JWST_EXTRA = ("META.VISIT.TSOVISIT", "META.INSTRUMENT.LAMP_STATE")

Status = Literal["found", "n/a", "not found"]
ReadText = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Resolution:
    """The result of the rules for one reference type and one header.

    Attributes
    ----------
    status : str
        ``found``, ``n/a`` (the type does not apply: skip) or ``not found`` (a fault).
    names : tuple of str
        The file; several if the rules bracket or merge; empty unless found.
    reason : str
        The reason if not found or not applicable.
    """

    status: Status
    names: tuple[str, ...] = ()
    reason: str = ""

    @property
    def name(self) -> str | None:
        """The file; None if not found, not applicable, or several."""
        return self.names[0] if len(self.names) == 1 else None


Method = TypeVar("Method", bound=Callable[..., None])


def _name_file_in_errors(make: Method) -> Method:
    """Convert any exception of a constructor into an error that names the rules file."""

    @functools.wraps(make)
    def wrapper(self: Any, source: MappingSource, *arguments: Any) -> None:
        with convert_errors(MappingError, f"{source.name}:1"):
            make(self, source, *arguments)

    return cast("Method", wrapper)


class ReferenceRules:
    """The rules for one reference type of one instrument (an ``.rmap``).

    Parameters
    ----------
    source : MappingSource
        The parsed rules file.

    Attributes
    ----------
    has_conditions : bool
        True if conditions on the header precede the selection.
    condition_parameters : frozenset of str
        The parameters that the conditions read or change, with underscores for dots.
    refusal : str
        Why the rules are refused; empty if they are not.

    Raises
    ------
    MappingError
        If the rules are malformed.
    """

    @_name_file_in_errors
    def __init__(self, source: MappingSource) -> None:
        header = source.header
        check_entries(source)
        self.name = source.name
        self.observatory = _lower(source, "observatory")
        self.instrument = _lower(source, "instrument")
        self.filekind = _lower(source, "filekind")
        self.parameters = _parameters(source, self.observatory)
        self.refusal = hook_refusal(self.observatory, self.instrument, self.filekind, header)
        self.required = _text(header, "reffile_required", "NONE").upper() in ("YES", "NONE")
        self._relevant = _condition(source, "rmap_relevance", self.parameters)
        self._omitted = _condition(source, "rmap_omit", self.parameters)
        self._parameter_relevance = _parameter_conditions(source, self.parameters)
        self.has_conditions = bool(self._relevant or self._omitted or self._parameter_relevance)
        self.condition_parameters = self._names_in_conditions()
        self.selector = compile_selector(source)

    def resolve(self, header: Header) -> Resolution:
        """Select the reference for a conditioned header, which may lack parameters."""
        if self.refusal:
            return Resolution("not found", reason=self.refusal)
        try:
            with convert_errors(MappingError, f"{self.name} cannot be applied"):
                return self._choose(header)
        except MappingError as error:
            return Resolution("not found", reason=str(error))

    def _choose(self, header: Header) -> Resolution:
        relevant = self.apply_conditions(header)
        if isinstance(relevant, Resolution):
            return relevant
        try:
            return resolution_of(self.selector.choose(relevant))
        except (NoMatchError, RejectedValueError) as error:
            return self.resolve_miss(relevant, str(error))

    def apply_conditions(self, header: Header) -> Header | Resolution:
        """Return the header with irrelevant parameters set to N/A, or the result if it is final."""
        if not self.has_conditions:
            return header
        if exempt := self._exempt(header):
            return Resolution("n/a", reason=exempt)
        try:
            return self._relevant_only(header)
        except RejectedValueError as error:
            return Resolution("not found", reason=str(error))

    def resolve_miss(self, header: Header, reason: str) -> Resolution:
        """Return the result for a header that no rule fits."""
        if not self.required:
            return Resolution("n/a", reason=f"not required, and {reason}")
        return Resolution("not found", reason=reason)

    def _exempt(self, header: Header) -> str:
        """Return the reason why the type does not apply to the header; empty if it does."""
        if self._omitted is not None and _holds(self._omitted, header, otherwise=False):
            return "omitted by rmap_omit"
        if self._relevant is not None and not _holds(self._relevant, header, otherwise=True):
            return "not relevant by rmap_relevance"
        return ""

    def _relevant_only(self, header: Header) -> Header:
        """Return the header with the parameters that the rules call irrelevant set to N/A."""
        defined = {**dict.fromkeys(self.parameters, "UNDEFINED"), **header}
        names = {**names_of(defined), "keep_comments": False}
        changed = dict(header)
        for name, condition in self._parameter_relevance:
            try:
                if not condition(names):
                    changed[name] = "N/A"
            except ValueError as error:
                raise RejectedValueError(f"{name}: {error}") from None
        return changed

    def _names_in_conditions(self) -> frozenset[str]:
        conditions = [self._relevant, self._omitted, *(one for _, one in self._parameter_relevance)]
        names = {name.replace(".", "_") for name, _ in self._parameter_relevance}
        return frozenset(names.union(*(one.names for one in conditions if one is not None)))

    def references(self) -> set[str]:
        """Return every file that the rules can select."""
        return set(self.selector.names()) - NOT_APPLICABLE - OMITTED


class InstrumentRules:
    """The rules for all reference types of one instrument (an ``.imap``).

    Attributes
    ----------
    types : dict
        Rules, or N/A, by reference type.
    fixed : dict
        Resolution by type, for types without rules.
    with_rules : list
        Pairs of type and rules.
    """

    @_name_file_in_errors
    def __init__(self, source: MappingSource, read: ReadText) -> None:
        if not isinstance(source.selector, dict):
            raise source.fault("an .imap must have a plain dictionary as selector")
        self.name = source.name
        self.instrument = _lower(source, "instrument")
        self.types: dict[str, ReferenceRules | str] = {
            str(kind).lower(): _load_type(source, value, read)
            for kind, value in source.selector.items()
        }
        self.fixed = {
            kind: Resolution("n/a", reason=f"{rules} in {self.name}")
            for kind, rules in self.types.items()
        }
        self.with_rules = [
            (kind, rules) for kind, rules in self.types.items() if isinstance(rules, ReferenceRules)
        ]
        own = source.header.get("parkey", ())
        if not (isinstance(own, tuple | list) and all(isinstance(name, str) for name in own)):
            raise source.fault("header's parkey is not names such as ('REFTYPE',)")
        names = {name for rules in self.reference_rules() for name in rules.parameters}
        self.parameters = tuple(sorted(names | set(own)))

    def reference_rules(self) -> Iterator[ReferenceRules]:
        """Yield the rules of the types that have any."""
        return (rules for _, rules in self.with_rules)

    def resolve(self, header: Header, types: Iterable[str] | None = None) -> dict[str, Resolution]:
        """Select the reference of each type, by default of all."""
        if types is None:
            resolutions = dict(self.fixed)
            for kind, rules in self.with_rules:
                resolutions[kind] = rules.resolve(header)
            return resolutions
        return {kind: self._resolve(kind, header) for kind in map(str.lower, types)}

    def _resolve(self, kind: str, header: Header) -> Resolution:
        rules = self.types.get(kind)
        if isinstance(rules, ReferenceRules):
            return rules.resolve(header)
        unknown = Resolution("not found", reason=f"{self.name} has no reference type {kind!r}")
        return self.fixed.get(kind, unknown)

    def references(self) -> set[str]:
        """Return every file that the rules can select."""
        return {name for rules in self.reference_rules() for name in rules.references()}

    def mappings(self) -> set[str]:
        """Return the names of its rules files."""
        return {self.name} | {rules.name for rules in self.reference_rules()}


class PipelineRules:
    """The rules of one context (a ``.pmap``); those of an instrument are read on first use."""

    @_name_file_in_errors
    def __init__(self, source: MappingSource, read: ReadText) -> None:
        files = source.selector
        if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
            raise source.fault("a .pmap must have a plain dictionary of names as selector")
        parkey = source.header.get("parkey")
        if not isinstance(parkey, tuple) or not parkey:
            raise source.fault("header has no parkey such as ('META.INSTRUMENT.NAME',)")
        self.name = source.name
        self.observatory = _lower(source, "observatory")
        self.instrument_key = str(parkey[0]).upper()
        self._files = {str(key).lower(): value for key, value in files.items()}
        self._read = read
        self._loaded: dict[str, InstrumentRules] = {}

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments with rules."""
        special = NOT_APPLICABLE | OMITTED
        return tuple(sorted(key for key, value in self._files.items() if value not in special))

    def instrument(self, name: str) -> InstrumentRules:
        """Return an instrument's rules.

        Raises
        ------
        NoRulesError
            If the context has none.
        """
        name = {"wfii": "wfpc2"}.get(name.lower(), name.lower())  # as crds spells it
        if name not in self._loaded:
            if name not in self.instruments:
                known = ", ".join(self.instruments).upper()
                raise NoRulesError(f"{self.name}: no rules for instrument {name!r}; has {known}")
            source = load_mapping(self._files[name], self._read)
            self._loaded[name] = InstrumentRules(source, self._read)
        return self._loaded[name]

    def mappings(self) -> set[str]:
        """Return the names of the context's rules files."""
        names = {self.name}
        return names.union(*(self.instrument(name).mappings() for name in self.instruments))


def load_mapping(name: str, read: ReadText, *, verify: bool = True) -> MappingSource:
    """Parse a rules file, and verify its sha1sum.

    Raises
    ------
    MappingError, ChecksumError
        If it is malformed or altered.
    """
    with convert_errors(MappingError, f"{name}:1"):
        text = read(name)
        source = parse_mapping(text, name)
        stated = source.header.get("sha1sum")
        if verify and stated != (actual := mapping_checksum(text)):
            raise ChecksumError(f"{name}:1: its sha1sum is {stated}, but its text has {actual}")
        return source


def mapping_checksum(text: str) -> str:
    """Return the SHA-1 digest of a rules file's text without the line of its sha1sum."""
    lines = (line for line in text.splitlines(keepends=True) if "sha1sum" not in line)
    return hashlib.sha1("".join(lines).encode(), usedforsecurity=False).hexdigest()


def _load_type(source: MappingSource, value: Any, read: ReadText) -> ReferenceRules | str:
    if not isinstance(value, str):
        raise source.fault(f"{value!r} is neither a rules file nor N/A")
    if value in NOT_APPLICABLE or value in OMITTED:
        return value
    return ReferenceRules(load_mapping(value, read))


def _text(header: Mapping[str, Any], key: str, default: str) -> str:
    value = header.get(key, default)
    return value if isinstance(value, str) else default


def _lower(source: MappingSource, key: str) -> str:
    value = source.header.get(key)
    if not isinstance(value, str):
        raise source.fault(f"header has no {key}")
    return value.lower()


def _parameters(source: MappingSource, observatory: str) -> tuple[str, ...]:
    """Return the header parameters that the rules need, in crds's order."""
    names = [name for level in parkeys(source) for name in level]
    switch = _text(source.header, "reffile_switch", "NONE").upper()
    if switch != "NONE":
        names.append(switch)
    names.extend(source.header.get("extra_keys", ()))
    if observatory == "jwst":
        names.extend(_JWST_EXTRA)
    return tuple(dict.fromkeys(names))


def _condition(source: MappingSource, key: str, names: tuple[str, ...]) -> Expression | None:
    text = source.header.get(key)
    if not isinstance(text, str) or text.lower() in ("always", "false"):
        return None
    if not (text.startswith("(") and text.endswith(")")):
        text = text.lower()  # as crds does, unless in parentheses
    if key == "rmap_relevance":
        text = text.replace("always", "True")
    return _expression(source, text, names)


def _expression(source: MappingSource, text: str, names: tuple[str, ...]) -> Expression:
    try:
        return Expression(text, names)
    except ValueError as error:
        raise source.fault(str(error)) from None


def _parameter_conditions(
    source: MappingSource, names: tuple[str, ...]
) -> list[tuple[str, Expression]]:
    """Return the condition of each parameter's relevance; comments are never relevant."""
    texts = dict(source.header.get("parkey_relevance", {}))
    comments = (str(name).lower() for name in source.header.get("comment_parkeys", ()))
    texts |= dict.fromkeys(comments, "keep_comments")
    compiled = {key.lower(): _expression(source, text, names) for key, text in texts.items()}
    return [(name, compiled[name.lower()]) for name in names if name.lower() in compiled]


def _holds(condition: Expression, header: Header, *, otherwise: bool) -> bool:
    try:
        return condition(names_of(header))
    except ValueError:
        return otherwise  # crds warns, and ignores the condition


def resolution_of(choice: Any) -> Resolution:
    """Return the resolution of a selector's choice: a name, several, or N/A."""
    if type(choice) is str:
        return _one_name(choice)
    return Resolution("found", tuple(n for n in flat_names(choice) if n not in NOT_APPLICABLE))


@functools.lru_cache(maxsize=16384)
def _one_name(choice: str) -> Resolution:
    if choice in NOT_APPLICABLE:
        return Resolution("n/a", reason="N/A in the rules for these values")
    if choice in OMITTED:
        return Resolution("n/a", reason="omitted in the rules for these values")
    return Resolution("found", (choice,))
