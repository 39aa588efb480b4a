"""Regular expressions of rules, matched in time proportional to the value's length.

Python's own engine backtracks: a short expression can keep it busy for ever on a short value, and
no check of the expression's text tells which. RE2 never backtracks. Its syntax differs in places
from Python's, so only what means the same to both is accepted: anything else is refused by name
rather than matched differently.
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
    r"(?:[^\\.\[\]{}()*+?^$|]"  # a character that stands for itself
    r"|\\[dDwWbBA]|\\[^A-Za-z0-9]"
    rf"|{_CLASS}"
    r"|\((?!\?)|\(\?:|[).^$|]"
    r"|[*+?]\??|\{[0-9]+(?:,[0-9]*)?\}\??"
    r")*+"
)
"""What Python and RE2 read alike, token by token."""


def compile_expression(expression: str) -> Callable[[str], object]:
    r"""Return a function that tells whether a value matches an expression from its start on.

    ``\d``, ``\w`` and ``\b`` know ASCII's letters and digits only.

    Parameters
    ----------
    expression : str
        Literal characters, ``.``, character classes, groups, ``|``, ``^``, ``$`` and repetitions.

    Raises
    ------
    ValueError
        If the expression is malformed, too long, or has other constructs, such as references to
        groups or look-ahead.
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
    found = _COMMON.match(expression)
    return found.end() if found else 0


def _require_wellformed(expression: str, shown: str) -> None:
    """Refuse what the official client, which uses Python's engine, refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{shown}: {error}") from None


def _compile(expression: str, shown: str) -> Callable[[str], object]:
    import re2  # few rules have regular expressions

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(expression, options)
    except re2.error as error:
        raise ValueError(f"{shown}: {_text(error)}") from None
    # A header's text may hold halves of characters, which have no UTF-8.
    return lambda value: compiled.match(value.encode(errors="replace").decode())


def _text(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
