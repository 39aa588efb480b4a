"""Attributes that an object has, and none that it has not: a misspelled one would do nothing."""

from __future__ import annotations

import inspect
from typing import Any

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import nearest, parameters_of

SET_IN_PYTHON = "set in Python"
"""Where a value is from that somebody assigned."""


class GuardedAttributes:
    """Refuses attributes that its class does not know, except from its own methods.

    Parameters, other attributes of the class, and what its methods have set may be assigned by
    anybody. Methods are told by their ``self``.
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
        """Refuse what would take a method's place and cannot do its work."""
        if inspect.isroutine(getattr(type(self), name, None)) and not callable(value):
            raise ParameterError(
                f"{getattr(self, 'name', type(self).__name__)}.{name} is a method, not a "
                "parameter: it cannot be set to a value"
            )

    def _is_called_by_itself(self) -> bool:
        frame = inspect.currentframe()
        frame = frame.f_back if frame is not None else None
        while frame is not None and frame.f_code.co_name == "__setattr__":  # a subclass's, too
            frame = frame.f_back
        return frame is not None and frame.f_locals.get("self") is self

    def _require_known(self, name: str) -> None:
        known = parameters_of(type(self))
        if name in known:
            return
        public = [attribute for attribute in vars(self) if not attribute.startswith("_")]
        own = getattr(self, "name", type(self).__name__)
        hint = nearest(name, [*known, *public])
        more = "; a step's class and its own methods may give it further attributes"
        raise ParameterError(f"{own} has no parameter {name!r}{hint or more}")
