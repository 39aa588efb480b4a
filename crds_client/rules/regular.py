"""Regular expressions of rules, matched in time proportional to the length of the value.

Python's engine backtracks: a short expression can take practically forever on a short value, and
such expressions cannot be recognized reliably. RE2 never backtracks. Its syntax differs from
Python's, so only constructs with the same meaning in both are accepted; anything else is rejected
with an error that names it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

_LONGEST = 1000
_MEMORY = 1 << 20
"""Bytes of one compiled expression; RE2 refuses one that needs more."""

_CLASS = r"\[\^?+\]?+(?:[^\\\[\]]|\\[dDwW]|\\[^A-Za-z0-9])*+\]"
_COMMON = re.compile(
    r"(?:[^\\.\[\]{}()*+?^$|]"  # a literal character
    r"|\\[dDwWbBA]|\\[^A-Za-z0-9]"
    rf"|{_CLASS}"
    r"|\((?!\?)|\(\?:|[).^$|]"
    r"|[*+?]\??|\{[0-9]+(?:,[0-9]*)?\}\??"
    r")*+"
)
"""Tokens with the same meaning in Python and RE2."""


def compile_expression(expression: str) -> Callable[[str], object]:
    r"""Return a function that returns whether a value matches an expression at its start.

    ``\d``, ``\w`` and ``\b`` match ASCII only.

    Parameters
    ----------
    expression : str
        Literal characters, ``.``, character classes, groups, ``|``, ``^``, ``$`` and repetitions.

    Raises
    ------
    ValueError
        If the expression is malformed, too long, or contains other constructs, such as references
        to groups or look-ahead.
    """
    shown = f"regular expression {expression[:60]!r}"
    if len(expression) > _LONGEST:
        raise ValueError(f"{shown}: longer than {_LONGEST} characters")
    end = _end_of_common(expression)
    if end < len(expression):
        raise ValueError(f"{shown}: {expression[end : end + 10]!r} is not supported in rules")
    _require_wellformed(expression, shown)
    return _compile(expression, shown)


def _end_of_common(expression: str) -> int:
    match = _COMMON.match(expression)
    return match.end() if match else 0


def _require_wellformed(expression: str, shown: str) -> None:
    """Reject an expression that Python's engine, which the official client uses, rejects."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{shown}: {error}") from None


def _compile(expression: str, shown: str) -> Callable[[str], object]:
    import re2  # imported late: few rules have regular expressions

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(expression, options)
    except re2.error as error:
        raise ValueError(f"{shown}: {_text(error)}") from None
    # Values may contain lone surrogates, which UTF-8 cannot encode.
    return lambda value: compiled.match(value.encode(errors="replace").decode())


def _text(error: Exception) -> str:
    message = error.args[0] if error.args else ""
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
