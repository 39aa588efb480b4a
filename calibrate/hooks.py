"""Hooks: functions that change a model before or after a step."""

from __future__ import annotations

import copy
import importlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from calbatch.calibrate.errors import ParameterError

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step


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


def brought_along(step: Step) -> Step:
    """Return a step with the functions that its hooks name, where they can be imported here.

    Where it is to run, they may not be there to be imported.
    """
    twin = copy.deepcopy(step)
    for one in (twin, *twin.steps().values()):
        one.pre_hooks = [_brought(hook) for hook in one.pre_hooks]
        one.post_hooks = [_brought(hook) for hook in one.post_hooks]
    return twin


def _brought(hook: Any) -> Any:
    with suppress(ParameterError):  # told where it is run
        return imported(hook) if isinstance(hook, str) else hook
    return hook
