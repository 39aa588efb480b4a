"""Objects with declared parameters: guarded attributes, ``help()`` and reprs.

A misspelled attribute is an error instead of having no effect.
"""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import Parameter, nearest, parameters_of

SET_IN_PYTHON = "set in Python"
"""Source of values that were assigned in Python."""

_INDENT = "    "


class Configurable:
    """Base class of steps: documents its parameters and rejects unknown attributes.

    Any code may assign parameters, other attributes of the class, and attributes that its methods
    have set. The calling method is recognized by its ``self``.
    """

    name: str
    sources: dict[str, str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__doc__ = document_parameters(cls)
        if "__init__" not in vars(cls):
            cls.__signature__ = make_signature(cls)  # type: ignore[attr-defined]

    @classmethod
    def class_path(cls) -> str:
        """Return the import path of the class."""
        return f"{cls.__module__}.{cls.__qualname__}"

    def __repr__(self) -> str:
        values = (f"{name}={value}" for name, value in changed_values(self))
        return f"{type(self).__name__}({', '.join(values)})"

    def __setattr__(self, name: str, value: Any) -> None:
        is_known = name.startswith("_") or name in self.__dict__ or hasattr(type(self), name)
        if name.startswith("override_") or not (is_known or self._is_called_by_itself()):
            self._require_known(name)
        self._require_no_method(name, value)
        object.__setattr__(self, name, value)
        is_parameter = isinstance(getattr(type(self), name, None), Parameter)
        if is_parameter and "sources" in self.__dict__:
            self.sources[name] = SET_IN_PYTHON

    def _require_no_method(self, name: str, value: Any) -> None:
        """Reject a value that would replace a method and cannot be called."""
        if inspect.isroutine(getattr(type(self), name, None)) and not callable(value):
            raise ParameterError(
                f"{getattr(self, 'name', type(self).__name__)}.{name} is a method, not a "
                "parameter: it cannot be set to a value"
            )

    def _is_called_by_itself(self) -> bool:
        frame = inspect.currentframe()
        frame = frame.f_back if frame is not None else None
        while frame is not None and frame.f_code.co_name == "__setattr__":  # also a subclass's
            frame = frame.f_back
        return frame is not None and frame.f_locals.get("self") is self

    def _require_known(self, name: str) -> None:
        parameters = parameters_of(type(self))
        if name in parameters:
            return
        public = [attribute for attribute in vars(self) if not attribute.startswith("_")]
        step_name = getattr(self, "name", type(self).__name__)
        hint = nearest(name, [*parameters, *public])
        more = "; only a step's class and its own methods can add attributes"
        raise ParameterError(f"{step_name} has no parameter {name!r}{hint or more}")


def document_parameters(cls: type) -> str:
    """Return a class's docstring followed by a section that describes its parameters.

    Parameters
    ----------
    cls : type
        A step or pipeline. If its docstring has a Parameters section, it is returned unchanged.
    """
    docstring = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    if "Parameters\n-----" in docstring:
        return docstring
    lines = [docstring, ""] if docstring else []
    lines += ["Parameters", "----------"]
    for name, parameter in parameters_of(cls).items():
        lines += _describe(name, parameter)
    return "\n".join(lines)


def _describe(name: str, parameter: Parameter[Any]) -> list[str]:
    unit = f" [{parameter.unit}]" if parameter.unit else ""
    meaning = f"{parameter.help[:1].upper()}{parameter.help[1:]}{unit}."
    heading = f"{name} : {parameter.describe()}, default {parameter.default!r}"
    return [heading, *textwrap.wrap(meaning, 96, initial_indent=_INDENT, subsequent_indent=_INDENT)]


def make_signature(cls: type) -> inspect.Signature:
    """Return the signature of a step's constructor, with a keyword for each parameter."""
    keyword, positional = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, positional, default=None) for name in ("name", "parent")]
    declared = [
        inspect.Parameter(name, keyword, default=parameter.default)
        for name, parameter in parameters_of(cls).items()
        if name not in ("name", "parent")
    ]
    return inspect.Signature([*parameters, *declared])


def changed_values(step: Configurable, *, ignore: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return name and repr of the parameters whose values differ from their defaults.

    Parameters
    ----------
    step : Step
        The configured step.
    ignore : tuple of str
        Sources of values that count as defaults.
    """
    return [
        (name, repr(value))
        for name, parameter in parameters_of(type(step)).items()
        for value in [getattr(step, name)]
        if step.sources.get(name) not in ignore
        and parameter.text(value) != parameter.text(parameter.default)
    ]
