"""Parameter references (``pars-<step>``): a step's or pipeline's parameters, kept in CRDS.

Source of the format: PyPI ``stpipe`` 1.1.0, ``_config``: an ASDF tree with ``class``, ``name``,
``parameters`` and, for pipelines, ``steps``, which are such trees again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calbatch.crds_client.asdf_trees import read_tree
from calbatch.crds_client.errors import HeaderError

PREFIX = "pars-"


@dataclass(frozen=True)
class ParameterReference:
    """What a parameter reference says.

    Attributes
    ----------
    source : str
        The file's name, for showing where a value is from.
    class_name : str
        Of the step, such as ``jwst.jump.JumpStep``.
    name : str
        Of the step.
    parameters : dict
        Name to value.
    steps : dict
        Of a pipeline: step's name to its parameters.
    """

    source: str
    class_name: str
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)


def parameter_type(step: str) -> str:
    """Give the reference type that holds a step's parameters.

    >>> parameter_type("JumpStep")
    'pars-jumpstep'
    """
    return PREFIX + step.lower()


def read_parameters(path: str | Path) -> ParameterReference:
    """Read a parameter reference as plain data.

    Raises
    ------
    HeaderError
        If the file is not one; starts with its path.
    """
    tree = read_tree(path)
    if not isinstance(tree.get("parameters"), Mapping):
        raise HeaderError(f"{path}: not a parameter reference: it has no parameters")
    steps = {}
    for step in tree.get("steps") or []:
        if not isinstance(step, Mapping) or "name" not in step:
            raise HeaderError(f"{path}: a step without a name")
        steps[str(step["name"])] = dict(step.get("parameters") or {})
    return ParameterReference(
        source=Path(path).name,
        class_name=str(tree.get("class", "")),
        name=str(tree.get("name", "")),
        parameters=dict(tree["parameters"]),
        steps=steps,
    )
