"""Normalisation of values before CRDS compares them.

Keys of rules and values of headers are normalised alike, so that ``1``, ``1.0`` and ``"1."`` are
equal. Source: PyPI ``crds`` 14.0.3, ``utils.condition_value`` and ``selectors``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

# Possessive quantifiers: long runs of digits that are not a number take linear time.
_NUMBER = re.compile(
    r"[-+]?(?:[0-9]++(?:\.[0-9]++)?+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?+|[-+]?[0-9]++\."
)
# As in crds, only the last alternative is anchored at its end: "N/A (see below)" is N/A, too.
_NOT_APPLICABLE = re.compile(r"-2147483648.0|\(\)|N/A|NOT APPLICABLE|NOT_APPLICABLE$")
_SPELLINGS = {"ANY": "*", "4294967295.0": "-1.0", "TRUE": "T", "FALSE": "F"}


@functools.lru_cache(maxsize=65536)
def _condition_text(text: str) -> str:
    value = text.strip().upper()
    if _NUMBER.fullmatch(value):
        value = str(float(value))
    if _NOT_APPLICABLE.match(value):
        return "N/A"
    return _SPELLINGS.get(value, value)


def condition_value(value: Any) -> str:
    """Return a value in its normal form: upper case, numbers as floats, T/F, ``*`` for ANY, N/A.

    >>> condition_value("F200w"), condition_value(1), condition_value(True), condition_value("any")
    ('F200W', '1.0', 'T', '*')
    """
    return _condition_text(str(value))


def condition_values(values: Iterable[Any]) -> tuple[str, ...]:
    """Return many values in the form of `condition_value`."""
    return tuple(map(_condition_text, map(str, values)))


def is_special(text: str) -> bool:
    """Return whether a key is an expression, in which ``|`` does not separate alternatives."""
    upper = text.upper()
    bracketed = upper.startswith(("{", "(", "#")) and upper.endswith(("}", ")", "#"))
    return bracketed or upper.startswith(("BETWEEN", "NOT"))


def alternatives(text: str) -> list[str]:
    """Return the sorted alternatives of ``A|B``; an expression is a single one."""
    if "|" in text and not is_special(text):
        return sorted(part.strip() for part in text.split("|") if part.strip())
    return [text]


def condition_key(element: Any) -> str:
    """Return an element of a Match key in normal form; literals and expressions are unchanged."""
    if isinstance(element, tuple | list):
        return "|".join(condition_value(part) for part in element)
    if not isinstance(element, str):
        return condition_value(element)
    if (element[:1], element[-1:]) in {("{", "}"), ("(", ")")}:
        return element
    if "|" in element:
        return "|".join(condition_value(part) for part in alternatives(element))
    return condition_value(element)
