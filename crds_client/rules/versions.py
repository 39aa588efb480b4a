"""Software versions as VersionAfter and SelectVersion compare them.

Source: PyPI ``crds`` 14.0.3, ``config.simplify_version`` and ``selectors.VersionRelation``.
"""

from __future__ import annotations

import ast
import re
import sys
from typing import Any

_VERSION = re.compile(r"(\d{1,8}(?:\.\d{1,8}){0,2})[a-zA-Z0-9_+\-.]{0,128}")
_RELATION = re.compile(r"([<=]=?)(.*)")

Relation = tuple[Any, str]
"""A version and its relation; for one version, ``<``, ``<=`` and ``=`` sort in this order."""


def version_key(text: str) -> tuple[int, int, int]:
    """Return major, minor and patch of a version; missing ones are 0, suffixes are ignored.

    >>> version_key("0.7.8rc1.dev305"), version_key("2")
    ((0, 7, 8), (2, 0, 0))

    Raises
    ------
    ValueError
        If the text does not begin with a number.
    """
    found = _VERSION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a version")
    numbers = [int(part) for part in found[1].split(".")]
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
        return sys.maxsize, "="
    found = _RELATION.fullmatch(text if text.startswith(("<", "=")) else f"={text}")
    try:
        version = ast.literal_eval(found[2].strip() if found else "")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError(f"{text!r} has no version such as 5.1 or (5, 1)") from None
    return version, (found[1] if found else "=").replace("==", "=")


def comparable(one: Relation, other: Relation) -> bool:
    """Return whether two versions can be compared."""
    if isinstance(one[0], int | float) and isinstance(other[0], int | float):
        return True
    return isinstance(one[0], type(other[0]))
