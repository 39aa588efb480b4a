"""Hooks: functions that change a model before or after a step."""

from __future__ import annotations

import importlib
from typing import Any

from calbatch.calibrate.errors import ParameterError


def applied(hook: Any, value: Any) -> Any:
    """Return what a hook makes of a model, or the model where the hook returns nothing.

    Parameters
    ----------
    hook : callable, step class, or str
        A function of one argument; a step class, which is run; or either as ``module:name``.
    value : Any
        The model.

    Raises
    ------
    ParameterError
        When the hook cannot be imported or called.
    """
    function = imported(hook) if isinstance(hook, str) else hook
    if isinstance(function, type):
        function = function()
    if not callable(function):
        raise ParameterError(f"hook {hook!r} is not a function or step")
    result = function(value)
    return value if result is None else result


def imported(path: str) -> Any:
    """Return what ``module:name`` or ``module.name`` names.

    Raises
    ------
    ParameterError
        When it cannot be imported.
    """
    module, colon, name = path.partition(":")
    if not colon:
        module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise ParameterError(f"{path!r} cannot be imported: {error}") from error
