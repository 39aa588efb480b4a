"""Parsed rules files made into selectors: substitutions, conditioned keys, checked choices.

Source: PyPI ``crds`` 14.0.3, ``selectors.Selector.do_substitutions`` and ``Parameters``.
"""

from __future__ import annotations

from typing import Any

from calbatch.crds_client.conditioning import condition_key
from calbatch.crds_client.literals import MappingSource, SelectorSource
from calbatch.crds_client.match import Match, MatchSettings
from calbatch.crds_client.selectors import BUILDERS, Selector

_DEFAULT_SUBSTITUTIONS = {
    "META.SUBARRAY.NAME": {"GENERIC": "N/A"},
    "SUBARRAY": {"GENERIC": "N/A"},
}


def parkeys(source: MappingSource) -> tuple[tuple[str, ...], ...]:
    """Give the header parameters of each level of nesting.

    Raises
    ------
    MappingError
        If the header does not state them.
    """
    parkey = source.header.get("parkey")
    if isinstance(parkey, tuple) and all(
        isinstance(level, tuple | list) and all(isinstance(name, str) for name in level)
        for level in parkey
    ):
        return tuple(tuple(level) for level in parkey)
    raise source.fault("header has no parkey such as (('DETECTOR',), ('DATE-OBS', 'TIME-OBS'))")


def compile_selector(source: MappingSource) -> Selector:
    """Compile a rules file's selector and all below it.

    Raises
    ------
    MappingError
        If a key, a choice or the nesting is not what CRDS allows.
    """
    if not isinstance(source.selector, SelectorSource):
        raise source.fault("an .rmap's selector is Match({...}) or another selector")
    header = source.header
    substitutions = {**_DEFAULT_SUBSTITUTIONS, **header.get("substitutions", {})}
    merge = str(header.get("merge_overlaps", "TRUE")).upper() in ("TRUE", "1")
    settings = MatchSettings(substitutions, merge)
    return _compile(source, source.selector, parkeys(source), settings)


def _compile(
    source: MappingSource,
    node: SelectorSource,
    levels: tuple[tuple[str, ...], ...],
    settings: MatchSettings,
) -> Selector:
    if not levels:
        raise source.fault(f"{node.kind} is nested deeper than parkey says", node.line)
    choices = {
        key: _compile(source, choice, levels[1:], settings)
        if isinstance(choice, SelectorSource)
        else _checked_choice(source, choice, node.lines[key])
        for key, choice in node.choices.items()
    }
    try:
        choices = _substituted(choices, levels[0], settings)
        if node.kind == "Match":
            return _compile_match(choices, levels[0], settings)
        return BUILDERS[node.kind](levels[0], choices)
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise source.fault(f"{node.kind}: {error}", node.line) from None


def _checked_choice(source: MappingSource, choice: Any, line: int) -> Any:
    parts = list(choice.values()) if isinstance(choice, dict) else choice
    parts = parts if isinstance(parts, tuple | list) else [parts]
    if not all(isinstance(part, str) for part in parts):
        raise source.fault(f"{choice!r} is not a file name", line)
    return choice


def _substituted(
    choices: dict[Any, Any], parameters: tuple[str, ...], settings: MatchSettings
) -> dict[Any, Any]:
    """Replace values in keys as the rules' substitutions say, one parameter after another."""
    choices = dict(choices)
    for index, name in enumerate(parameters):
        substitutes = settings.substitutions.get(name)
        for key in list(choices) if substitutes else []:
            value = key[index] if isinstance(key, tuple) else key
            if substitutes and value in substitutes:
                new = substitutes[value]
                new = tuple(new) if isinstance(new, list) else new
                if isinstance(key, tuple):
                    new = (*key[:index], new, *key[index + 1 :])
                choices[new] = choices.pop(key)
    return choices


def _compile_match(
    choices: dict[Any, Any], parameters: tuple[str, ...], settings: MatchSettings
) -> Selector:
    conditioned: dict[tuple[str, ...], Any] = {}
    for key, choice in choices.items():
        elements = key if isinstance(key, tuple) else (key,)
        if len(elements) != len(parameters):
            raise ValueError(f"key {key!r} does not have {len(parameters)} values")
        new = tuple(condition_key(element) for element in elements)
        if new in conditioned:
            raise ValueError(f"key {key!r} is there twice")
        conditioned[new] = choice
    return Match(parameters, conditioned, settings)
