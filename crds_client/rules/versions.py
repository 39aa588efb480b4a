"""Software versions as VersionAfter and SelectVersion compare them.

Source: PyPI ``crds`` 14.0.3, ``config.simplify_version`` and ``selectors.VersionRelation``.
"""

from __future__ import annotations

import ast
import re
import sys
from typing import Any, NamedTuple

_VERSION = re.compile(r"(\d{1,8}(?:\.\d{1,8}){0,2})[a-zA-Z0-9_+\-.]{0,128}")
_RELATION = re.compile(r"([<=]=?)(.*)")


class Relation(NamedTuple):
    """A relation to a version; for one version, ``<``, ``<=`` and ``=`` sort in this order."""

    version: Any
    operator: str


def version_key(text: str) -> tuple[int, int, int]:
    """Return major, minor and patch of a version; missing ones are 0, suffixes are ignored.

    >>> version_key("0.7.8rc1.dev305"), version_key("2")
    ((0, 7, 8), (2, 0, 0))

    Raises
    ------
    ValueError
        If the text does not begin with a number.
    """
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a version")
    numbers = [int(part) for part in match[1].split(".")]
    major, minor, patch = (*numbers, 0, 0)[:3]
    return major, minor, patch


def parse_relation(text: str) -> Relation:
    """Return the relation ``< 5``, ``= (5, 0, 1)``, ``5.1`` (equal) or ``default`` (the highest).

    Raises
    ------
    ValueError
        If the relation or its version is malformed.
    """
    if text.replace("=", "").strip() == "default":
        return Relation(sys.maxsize, "=")
    match = _RELATION.fullmatch(text if text.startswith(("<", "=")) else f"={text}")
    try:
        version = ast.literal_eval(match[2].strip() if match else "")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"{text!r} has no version such as 5.1 or (5, 1)") from None
    return Relation(version, (match[1] if match else "=").replace("==", "="))


def are_comparable(one: Relation, other: Relation) -> bool:
    """Return whether two versions can be compared."""
    if isinstance(one.version, int | float) and isinstance(other.version, int | float):
        return True
    return isinstance(one.version, type(other.version))
