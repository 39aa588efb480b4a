"""Recognition, and refusal, of rules that need Python functions of the official client.

A few HST types change the header by a function before a selection, or after one that failed. JWST
and Roman have no such types. Source: PyPI ``crds`` 14.0.3, ``crds.hst`` and
``rmap.ReferenceMapping.get_hook``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HOOKS = ("precondition_header", "fallback_header")

_DEFAULT_FUNCTIONS = frozenset(
    {
        ("acs", "precondition_header_acs_biasfile_v1"),
        ("wfc3", "precondition_header_wfc3_biasfile_v1"),
        ("wfpc2", "precondition_header"),
        ("wfpc2", "fallback_header_wfpc2_flatfile_v1"),
    }
)
"""Instrument and function, of HST rules that do not name the function."""


def hook_refusal(
    observatory: str, instrument: str, filekind: str, header: Mapping[str, Any]
) -> str:
    """Return the reason to refuse rules, which names a function; empty if they need none."""
    hooks = header.get("hooks")
    for hook in _HOOKS:
        name, is_named = f"{hook}_{instrument}_{filekind}_v1", False
        if hooks:
            name = str(hooks.get(hook, hook))
            is_named = hook in hooks and name.lower() != "none"
        if is_named or (observatory == "hst" and (instrument, name) in _DEFAULT_FUNCTIONS):
            return f"{instrument} {filekind} needs the function {name}, which is not supported"
    return ""
