"""Hooks: functions, steps or commands that run on a model before or after a step.

A hook is a function of one argument, a step, or a command. In text form, a hook is
``module:function`` (or ``module.function``), ``module:Step``, or ``module.Step(parameter=value)``
with literal values; any other text is a command (`calbatch.calibrate.hooks.shellhook`).

Text is never evaluated. Hooks come from the user only: from Python, a ``.cfg`` or the command
line, never from a parameter reference or a header.

The forms are those of PyPI ``stpipe``, ``_hooks``.
"""

from __future__ import annotations

import ast
import copy
import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.hooks.shellhook import Command
from calbatch.calibrate.parameters import Items, Parameter, process_name
from calbatch.calibrate.parameters.cfgtext import NotInFileError, split_items
from calbatch.models.model import DataModel

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step

_NAMED = re.compile(r"(?P<path>[^\W\d]\w*(?:[.:][^\W\d]\w*)+)(?P<call>\(.*\))?", re.DOTALL)


@dataclass(frozen=True)
class NamedHook:
    """The import path of a function or step, with the step's parameters."""

    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def parse_hook(text: str) -> NamedHook | Command:
    """Return the parsed text of a hook, without importing or running anything.

    Raises
    ------
    ParameterError
        If the text is neither an import path (with literal values in its parentheses) nor a
        command.
    """
    match = _NAMED.fullmatch(text.strip())
    if match is None:
        return Command.of(text)
    call = match["call"]
    return NamedHook(match["path"], {} if call is None else _literals(text, call))


def _literals(text: str, call: str) -> dict[str, Any]:
    """Return the literal values in parentheses: numbers, strings, lists, True, None."""
    try:
        tree = ast.parse(f"f{call}", mode="eval").body
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            keywords = [(k.arg, ast.literal_eval(k.value)) for k in tree.keywords]
            # a name is None for **mapping, which is not allowed
            parameters = {name: value for name, value in keywords if name is not None}
            if len(parameters) == len(keywords):
                return parameters
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise ParameterError(
        f"hook {text!r}: must be module.Step(name=value, ...), whose values are numbers, quoted "
        "strings, True, False, None, or lists of these"
    )


class Hook(Parameter[Any]):
    """A hook: a function, a step, or text that names one of these or a command."""

    def _convert(self, value: Any) -> Any:
        if isinstance(value, str):
            parse_hook(value)
            return value
        if not callable(value):
            raise self._fault(value)
        return value

    def _fault(self, value: Any) -> ParameterError:
        return ParameterError(f"hook {value!r:.200}: must be {self.describe()}")

    def _description(self) -> str:
        return "a function, a step, module:name, module.Step(name=value) or a command"

    def text(self, value: Any) -> str:
        """Return the hook's text, or a unique name for a hook without one."""
        return value if isinstance(value, str) else import_path(value) or process_name(value)

    def entry(self, value: Any) -> str:
        """Return the hook's text, whose import path must exist where the hook runs.

        Raises
        ------
        NotInFileError
            If the hook exists only in this process.
        """
        path = value if isinstance(value, str) else import_path(value)
        if path is None:
            raise NotInFileError(f"the hook {getattr(value, '__qualname__', type(value).__name__)}")
        return path


class Hooks(Items):
    """A list of hooks, in the order in which they run."""

    def __init__(self, *, help: str = "") -> None:
        super().__init__(Hook(""), help=help)

    def _convert(self, value: Any) -> list[Any]:
        if isinstance(value, str):
            value = _split_hooks(value)
        elif callable(value):
            value = [value]
        return super()._convert(value)

    def _item(self, item: Any) -> Any:
        try:
            return self.item.convert(item)
        except ParameterError as error:
            raise ParameterError(f"{self.name}: {error}") from None


def _split_hooks(text: str) -> list[str]:
    """Return the hooks in a text: import paths and quoted items, or a single command."""
    items = split_items(text)
    quoted = [item for item in items if f'"{item}"' in text or f"'{item}'" in text]
    if len(items) == 1 or all(_NAMED.fullmatch(item) or item in quoted for item in items):
        return items
    return [text.strip()]


def import_path(value: Any) -> str | None:
    """Return ``module:name`` if it imports this function or class, else None."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not name or module == "__main__" or "." in name:
        return None
    target = getattr(sys.modules.get(module), name, None)
    return f"{module}:{name}" if target is value else None


def apply_hook(hook: Any, value: Any, owner: Step) -> Any:
    """Return the result of a hook, or the value itself if the hook returns None.

    Parameters
    ----------
    hook : callable, step, step class, or str
        A function of one argument, a step, or the text of a function, step or command.
    value : Any
        The model or models that the step takes or returns.
    owner : Step
        The step that has the hook. If the hook is a step, it shares the owner's references.

    Raises
    ------
    ParameterError
        If the hook cannot be imported or called.
    StepError
        If a command fails.
    """
    parsed = parse_hook(hook) if isinstance(hook, str) else hook
    if isinstance(parsed, Command):
        parsed.run(models_of(value), owner.name)
        return value
    function = resolve_hook(parsed, owner)
    result = function(value)
    return value if result is None else result


def require_usable_hooks(step: Step) -> None:
    """Reject hooks that cannot be imported or called, or whose parameters are invalid.

    Hooks of a skipped step do not run and are not checked.

    Raises
    ------
    ParameterError
        If a hook would fail for every exposure. The message names the step and the hook.
    """
    if step.skip:
        return
    for name in ("pre_hooks", "post_hooks"):
        for hook in getattr(step, name):
            try:
                parsed = parse_hook(hook) if isinstance(hook, str) else hook
                if not isinstance(parsed, Command):
                    usable = resolve_hook(parsed)
                    if _is_step_class(type(usable)):
                        usable.check()
            except ParameterError as error:
                shown = repr(hook) if isinstance(hook, str) else _name_of(hook)
                raise ParameterError(f"{step.name}.{name}: hook {shown:.200}: {error}") from None


def _name_of(hook: Any) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__qualname__))


def models_of(value: Any) -> list[DataModel]:
    """Return the models in a step's input or result."""
    if isinstance(value, Mapping):
        value = list(value.values())
    several = value if isinstance(value, (list, tuple)) else [value]
    return [model for model in several if isinstance(model, DataModel)]


def resolve_hook(hook: Any, owner: Step | None = None) -> Any:
    """Return the function or step that a hook names; its owner becomes the step's parent.

    Raises
    ------
    ParameterError
        If the hook cannot be imported, or is neither a function nor a step.
    """
    target, parameters = _target(hook)
    if _is_step_class(target):
        return target(parent=owner, **parameters)
    if parameters:
        raise ParameterError(f"{hook.path!r} is not a step, and takes no parameters")
    if _is_step_class(type(target)):
        target = copy.deepcopy(target)  # a pipeline is the parent of its steps
        target.parent = owner
    elif isinstance(target, type):
        target = _instance(target)
    if not callable(target):
        name = hook.path if isinstance(hook, NamedHook) else hook
        raise ParameterError(f"{name!r} is not a function or step")
    return target


def _instance(cls: type) -> Any:
    try:
        return cls()
    except Exception as error:
        raise ParameterError(
            f"{cls.__qualname__} cannot be created: {type(error).__name__}: {error}"
        ) from error


def _target(hook: Any) -> tuple[Any, Mapping[str, Any]]:
    return (
        (import_object(hook.path), hook.parameters) if isinstance(hook, NamedHook) else (hook, {})
    )


def _is_step_class(target: Any) -> bool:
    from calbatch.calibrate.step import Step  # imported late: it imports this module

    return isinstance(target, type) and issubclass(target, Step)


def import_object(path: str) -> Any:
    """Return the object named by ``module:name`` or ``module.name``.

    Raises
    ------
    ParameterError
        If it cannot be imported.
    """
    module, colon, name = path.partition(":")
    if not colon:
        module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # a module runs arbitrary code when it is imported
        raise ParameterError(
            f"{path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def steps_of(hooks: Sequence[Any]) -> Iterator[Step]:
    """Yield the hooks that are steps, except those that cannot be imported here."""
    for hook in hooks:
        with suppress(ParameterError):  # `require_usable_hooks` reports it
            parsed = parse_hook(hook) if isinstance(hook, str) else hook
            if isinstance(parsed, Command):
                continue
            target, _ = _target(parsed)
            if _is_step_class(target) or _is_step_class(type(target)):
                yield resolve_hook(parsed)


def with_imported_hooks(step: Step) -> Step:
    """Return a step whose hooks' import paths are replaced by the objects they name.

    Workers may not be able to import them. Paths that cannot be imported here stay as they are.
    """
    return _with_hooks(step, _import_hook)


def without_commands(step: Step) -> Step:
    """Return a step without its command hooks, for a dry run."""
    return _with_hooks(step, lambda hook: None if _is_command(hook) else hook)


def without_hooks(step: Step) -> Step:
    """Return a step without its hooks."""
    return _with_hooks(step, lambda hook: None)


def _with_hooks(step: Step, change: Any) -> Step:
    twin = copy.deepcopy(step)
    for part in (twin, *twin.steps().values()):
        for name in ("pre_hooks", "post_hooks"):
            changed = [change(hook) for hook in getattr(part, name)]
            part.__dict__[name] = [hook for hook in changed if hook is not None]
    return twin


def _is_command(hook: Any) -> bool:
    return isinstance(hook, str) and isinstance(parse_hook(hook), Command)


def _import_hook(hook: Any) -> Any:
    with suppress(ParameterError):  # `require_usable_hooks` reports it
        parsed = parse_hook(hook) if isinstance(hook, str) else hook
        if isinstance(parsed, NamedHook):
            return resolve_hook(parsed) if parsed.parameters else import_object(parsed.path)
    return hook
