"""Guarded attributes: a misspelled attribute is an error instead of having no effect."""

from __future__ import annotations

import inspect
from typing import Any

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import nearest, parameters_of

SET_IN_PYTHON = "set in Python"
"""Source of values that were assigned in Python."""


class GuardedAttributes:
    """Base class that rejects unknown attributes, except when its own methods set them.

    Any code may assign parameters, other attributes of the class, and attributes that its methods
    have set. The calling method is recognized by its ``self``.
    """

    name: str
    sources: dict[str, str]

    def __setattr__(self, name: str, value: Any) -> None:
        known = name.startswith("_") or name in self.__dict__ or hasattr(type(self), name)
        if name.startswith("override_") or not (known or self._is_called_by_itself()):
            self._require_known(name)
        self._require_no_method(name, value)
        object.__setattr__(self, name, value)
        if name in parameters_of(type(self)) and "sources" in self.__dict__:
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
        known = parameters_of(type(self))
        if name in known:
            return
        public = [attribute for attribute in vars(self) if not attribute.startswith("_")]
        own = getattr(self, "name", type(self).__name__)
        hint = nearest(name, [*known, *public])
        more = "; only a step's class and its own methods can add attributes"
        raise ParameterError(f"{own} has no parameter {name!r}{hint or more}")
