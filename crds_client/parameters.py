"""Parameter references (``pars-<step>``): the parameters of a step or pipeline, from CRDS.

Source of the format: PyPI ``stpipe`` 1.1.0, ``_config``: an ASDF tree with ``class``, ``name``,
``parameters`` and, for pipelines, ``steps``, which are themselves such trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calbatch.crds_client.errors import HeaderError, convert_errors
from calbatch.models.asdf.asdf_tree import read_tree

PREFIX = "pars-"


@dataclass(frozen=True)
class ParameterReference:
    """The content of a parameter reference.

    Attributes
    ----------
    source : str
        Name of the file: the source of its values.
    class_name : str
        The step's class, such as ``jwst.jump.JumpStep``.
    name : str
        The step's name.
    parameters : dict
        Value by name.
    steps : dict
        Parameters by step, for a pipeline.
    """

    source: str
    class_name: str
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)


def parameter_type(step: str) -> str:
    """Return the reference type of a step's parameters.

    >>> parameter_type("JumpStep")
    'pars-jumpstep'
    """
    return PREFIX + step.lower()


def read_parameters(path: str | Path) -> ParameterReference:
    """Read a parameter reference as plain data.

    Raises
    ------
    HeaderError
        If the file is not a parameter reference; the message starts with its path.
    """
    with convert_errors(HeaderError, path):
        tree = read_tree(path)
        return ParameterReference(
            source=Path(path).name,
            class_name=str(tree.get("class", "")),
            name=str(tree.get("name", "")),
            parameters=_require_names(
                tree.get("parameters"), f"{path}: not a parameter reference: it"
            ),
            steps=dict(_steps(tree.get("steps") or [], path)),
        )


def _steps(steps: Any, path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(steps, list):
        raise HeaderError(f"{path}: steps is {steps!r:.60}, not a list")
    for step in steps:
        if not isinstance(step, Mapping) or not isinstance(step.get("name"), str):
            raise HeaderError(f"{path}: a step without a name")
        name = step["name"]
        yield name, _require_names(step.get("parameters") or {}, f"{path}: step {name!r:.60}")


def _require_names(parameters: Any, what: str) -> dict[str, Any]:
    if not isinstance(parameters, Mapping):
        raise HeaderError(f"{what} has no parameters")
    odd = [name for name in parameters if not isinstance(name, str)]
    if odd:
        raise HeaderError(f"{what} has {odd[0]!r:.60} as the name of a parameter")
    return dict(parameters)
