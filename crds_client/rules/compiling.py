"""Compilation of parsed rules into selectors: substitutions, conditioned keys, checked choices.

Source: PyPI ``crds`` 14.0.3, ``selectors.Selector.do_substitutions`` and ``Parameters``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from calbatch.crds_client.rules.conditioning import condition_key
from calbatch.crds_client.rules.literals import MappingSource, SelectorSource
from calbatch.crds_client.rules.match import Match, MatchSettings
from calbatch.crds_client.rules.patterns import compile_pattern
from calbatch.crds_client.rules.selectors import ORDERED, Selector

_LONGEST_VALUE = 10_000
"""Characters of one value in a key of Match."""

_DEFAULT_SUBSTITUTIONS = {
    "META.SUBARRAY.NAME": {"GENERIC": "N/A"},
    "SUBARRAY": {"GENERIC": "N/A"},
}


def parkeys(source: MappingSource) -> tuple[tuple[str, ...], ...]:
    """Return the header parameters of each level of nesting.

    Raises
    ------
    MappingError
        If the header does not contain them.
    """
    parkey = source.header.get("parkey")
    if isinstance(parkey, tuple) and all(
        isinstance(level, tuple | list) and all(isinstance(name, str) for name in level)
        for level in parkey
    ):
        return tuple(tuple(level) for level in parkey)
    raise source.fault("header has no parkey such as (('DETECTOR',), ('DATE-OBS', 'TIME-OBS'))")


def check_entries(source: MappingSource) -> None:
    """Reject a rules file whose header has an entry of the wrong type.

    Raises
    ------
    MappingError
        If there is one; the message names the entry and the expected type.
    """
    for key, (is_valid, expected) in _ENTRIES.items():
        if key in source.header and not is_valid(source.header[key]):
            raise source.fault(f"{key} is {source.header[key]!r:.60}; expected {expected}")


def _is_names(value: Any) -> bool:
    several = isinstance(value, tuple | list) and all(isinstance(name, str) for name in value)
    return several or isinstance(value, str)


def _is_texts(value: Any) -> bool:
    pairs = value.items() if isinstance(value, dict) else [(None, None)]
    return all(isinstance(part, str) for pair in pairs for part in pair)


def _is_dicts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())


_ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "extra_keys": (_is_names, "names of parameters"),
    "comment_parkeys": (_is_names, "names of parameters"),
    "parkey_relevance": (_is_texts, "conditions by parameter"),
    "hooks": (lambda value: value is None or _is_texts(value), "functions by hook"),
    "substitutions": (_is_dicts, "values by parameter and value"),
}


def compile_selector(source: MappingSource) -> Selector:
    """Compile a rules file's selector, with all nested selectors.

    Raises
    ------
    MappingError
        If CRDS does not allow a key, a choice or the nesting.
    """
    if not isinstance(source.selector, SelectorSource):
        raise source.fault("an .rmap must have Match({...}) or another selector")
    header = source.header
    substitutions = {**_DEFAULT_SUBSTITUTIONS, **header.get("substitutions", {})}
    merge = str(header.get("merge_overlaps", "TRUE")).upper() in ("TRUE", "1")
    settings = MatchSettings(substitutions, merge)
    return _compile(source, source.selector, parkeys(source), settings)


@dataclass(frozen=True, slots=True)
class _Rule:
    """One key of a selector as written, its compiled choice, and its line."""

    key: Any
    choice: Any
    line: int


def _compile(
    source: MappingSource,
    node: SelectorSource,
    levels: tuple[tuple[str, ...], ...],
    settings: MatchSettings,
) -> Selector:
    if not levels:
        raise source.fault(f"{node.kind} is nested deeper than parkey states", node.line)
    rules = {
        key: _Rule(key, _choice(source, choice, node.lines[key], levels, settings), node.lines[key])
        for key, choice in node.choices.items()
    }
    rules = _apply_substitutions(rules, levels[0], settings)
    make, read_key = _maker(node.kind, levels[0], settings)
    choices = _by_read_key(source, rules, read_key)
    try:
        keys = sorted(choices)
        return make(levels[0], keys, [choices[key] for key in keys])
    except (ValueError, TypeError) as error:
        raise source.fault(f"{node.kind}: {error}", node.line) from None


def _choice(
    source: MappingSource,
    choice: Any,
    line: int,
    levels: tuple[tuple[str, ...], ...],
    settings: MatchSettings,
) -> Any:
    if isinstance(choice, SelectorSource):
        return _compile(source, choice, levels[1:], settings)
    parts = list(choice.values()) if isinstance(choice, dict) else choice
    parts = parts if isinstance(parts, tuple | list) else [parts]
    if not all(isinstance(part, str) for part in parts):
        raise source.fault(f"{choice!r} is not a file name", line)
    return choice


def _apply_substitutions(
    rules: dict[Any, _Rule], parameters: tuple[str, ...], settings: MatchSettings
) -> dict[Any, _Rule]:
    """Replace values in keys by the file's substitutions, one parameter after another."""
    rules = dict(rules)
    for index, name in enumerate(parameters):
        substitutes = settings.substitutions.get(name)
        for key in list(rules) if substitutes else []:
            elements = key if isinstance(key, tuple) else (key,)
            value = elements[index] if index < len(elements) else key
            if substitutes and value in substitutes:
                new = substitutes[value]
                new = tuple(new) if isinstance(new, list) else new
                if isinstance(key, tuple):
                    new = (*key[:index], new, *key[index + 1 :])
                rules[new] = rules.pop(key)
    return rules


def _maker(
    kind: str, parameters: tuple[str, ...], settings: MatchSettings
) -> tuple[Callable[..., Selector], Callable[[Any], Any]]:
    if kind != "Match":
        return ORDERED[kind]
    return functools.partial(Match, settings=settings), lambda key: _match_key(key, parameters)


def _by_read_key(
    source: MappingSource, rules: dict[Any, _Rule], read_key: Callable[[Any], Any]
) -> dict[Any, Any]:
    choices: dict[Any, Any] = {}
    for key, rule in rules.items():
        try:
            read = read_key(key)
        except (ValueError, TypeError, RecursionError) as error:
            raise source.fault(f"key {rule.key!r:.200}: {error}", rule.line) from None
        if read in choices:
            raise source.fault(f"key {rule.key!r:.200} is given twice", rule.line)
        choices[read] = rule.choice
    return choices


def _match_key(key: Any, parameters: tuple[str, ...]) -> tuple[str, ...]:
    elements = key if isinstance(key, tuple) else (key,)
    if len(elements) != len(parameters):
        raise ValueError(
            f"expected values of {len(parameters)} parameters, {', '.join(parameters)}"
        )
    if longest := next((e for e in elements if len(str(e)) > _LONGEST_VALUE), None):
        raise ValueError(f"a value of {len(str(longest))} characters is too long")
    conditioned = tuple(condition_key(element) for element in elements)
    for element in conditioned:
        compile_pattern(element)  # checked here, where the line is known
    return conditioned
