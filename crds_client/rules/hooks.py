"""What crds leaves to Python code of an observatory: named here, so that it can be refused.

Source: PyPI ``crds`` 14.0.3, ``crds.hst`` and ``rmap.ReferenceMapping.get_hook``. A few HST types
change the header by a function before, or after a failed, selection. JWST and Roman have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_HOOKS = ("precondition_header", "fallback_header")

_FUNCTIONS = frozenset(
    {
        ("acs", "precondition_header_acs_biasfile_v1"),
        ("acs", "precondition_header_acs_biasfile_v2"),
        ("acs", "precondition_header_acs_biasfile_v3"),
        ("acs", "fallback_header_acs_biasfile_v2"),
        ("acs", "fallback_header_acs_biasfile_v3"),
        ("wfc3", "precondition_header_wfc3_biasfile_v1"),
        ("wfpc2", "precondition_header"),
        ("wfpc2", "fallback_header_wfpc2_flatfile_v1"),
    }
)
"""Instrument and function: all that crds 14.0.3 has."""


def hook_needed(observatory: str, instrument: str, filekind: str, header: Mapping[str, Any]) -> str:
    """Say which function a type's rules need; nothing if they need none."""
    hooks = header.get("hooks")
    for hook in _HOOKS:
        if hooks:
            name = str(hooks.get(hook, hook))
            named = hook in hooks and name.lower() != "none"
        else:
            name, named = f"{hook}_{instrument}_{filekind}_v1", False
        if named or (observatory == "hst" and (instrument, name) in _FUNCTIONS):
            return f"{instrument} {filekind} needs the function {name}, which is not supported"
    return ""


EXEMPT_PARAMETERS = ("DETECTOR", "CCDGAIN")
"""What `dataset_exempt` asks for."""


def dataset_exempt(observatory: str, header: Mapping[str, str]) -> bool:
    """Tell whether HST needs no references for a dataset: odd gains of ACS/WFC."""
    if observatory != "hst" or header.get("DETECTOR") != "WFC":
        return False
    try:
        return float(header.get("CCDGAIN", "")) in (0.5, 1.4)
    except ValueError:
        return False
