"""The patterns of Match keys: alternatives, globs, relations, ranges, NOT, regular expressions.

Source: PyPI ``crds`` 14.0.3, ``selectors.matcher``. A pattern returns `HIT`, `IGNORED` (the
parameter is irrelevant) or `MISS`; only hits add weight to a rule.
"""

from __future__ import annotations

import fnmatch
import functools
import operator
import re
from collections.abc import Callable

from calbatch.crds_client.rules.conditioning import alternatives
from calbatch.crds_client.rules.regular import compile_expression

HIT, IGNORED, MISS = 1, 0, -1

Pattern = Callable[[str], int]

_RELATION = re.compile(r"([><]=?)\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)")
_RELATIONS = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}


@functools.lru_cache(maxsize=8192)
def compile_pattern(key: str) -> Pattern:
    """Return the pattern of a conditioned key.

    Raises
    ------
    ValueError
        If the key is malformed.
    """
    if key.startswith("(") and key.endswith(")"):
        return _conditional_pattern(key[1:-1], compile_expression(key[1:-1]))
    if key.startswith("{") and key.endswith("}"):
        return _literal(key[1:-1])
    if key.startswith("#") and key.endswith("#"):
        return _relational_pattern(key.upper())
    if key.upper().startswith("BETWEEN"):
        return _range_pattern(key)
    if key.upper().startswith("NOT "):
        return _negation(compile_pattern(key[len("NOT ") :].strip()))
    if "|" in key or "*" in key:
        return _glob(key)
    if key == "N/A":
        return _match_anything
    if key.startswith((">", "<")):
        return _inequality(key)
    return _literal(key)


def _match_anything(_value: str) -> int:
    return IGNORED


def _literal(key: str) -> Pattern:
    def match(value: str) -> int:
        if value in (key, "*"):
            return HIT
        return IGNORED if value == "N/A" else MISS

    return match


def _conditional_pattern(key: str, condition: Callable[[str], object]) -> Pattern:
    """Return a pattern that matches the literal, or the values for which the condition holds."""
    literal = _literal(key)

    def match(value: str) -> int:
        answer = literal(value)
        if answer != MISS:
            return answer
        return HIT if condition(value) else MISS

    return match


def _glob(key: str) -> Pattern:
    # fnmatch's expressions are atomic after each part, so backtracking is limited.
    expressions = [fnmatch.translate(part) for part in alternatives(key)]
    try:
        matches = [re.compile(expression).match for expression in expressions]
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"pattern {key[:60]!r}: {error}") from None
    whole = "^(" + "|".join(expressions) + ")$"
    return _conditional_pattern(whole, lambda value: any(match(value) for match in matches))


def _inequality(key: str) -> Pattern:
    relation = _RELATION.match(key)
    if relation is None:
        raise ValueError(f"{key!r} is not a relation such as '>1.5'")
    compare, limit = _RELATIONS[relation[1]], float(relation[2])

    def holds(value: str) -> bool:
        try:
            return compare(float(value), limit)
        except ValueError:
            return False

    return _conditional_pattern(key, holds)


def _relational_pattern(key: str) -> Pattern:
    for word, combine in (("AND", all), ("OR", any)):
        if f" {word} " in key:
            return _combination(key, key[1:-1], word, combine)
    return compile_pattern(key[1:-1])


def _combination(key: str, text: str, word: str, combine: Callable[[list[bool]], bool]) -> Pattern:
    # As in crds: split wherever the letters occur, and use the first two parts.
    parts = [compile_pattern(part.strip()) for part in text.split(word)[:2]]
    whole = _conditional_pattern(key, lambda value: combine([part(value) == HIT for part in parts]))
    return lambda value: whole(value.upper())


def _range_pattern(key: str) -> Pattern:
    words = key.split()
    if len(words) != 3 or not float(words[1]) <= float(words[2]):
        raise ValueError(f"{key!r} is not 'between LOW HIGH'")
    text = f">={words[1]} AND <{words[2]}"
    return _combination(text, text, "AND", all)


def _negation(pattern: Pattern) -> Pattern:
    return lambda value: -pattern(value)
