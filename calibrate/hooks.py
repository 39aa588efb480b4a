"""Hooks: what changes or looks at a model before or after a step.

A hook is a function of one argument, a step, or a command. As text they are ``module:function`` (or
``module.function``), ``module:Step``, ``module.Step(parameter=value)`` with plain values, and
everything else is a command (`calbatch.calibrate.shellhook`).

Texts are never evaluated. Hooks come from the user alone: from Python, a ``.cfg`` or a command
line, never from a parameter reference or a header.

Source of the forms: PyPI ``stpipe``, ``_hooks``.
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

from calbatch.calibrate.cfgtext import NotInFileError, split_items
from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import Items, Parameter, process_name
from calbatch.calibrate.shellhook import Command
from calbatch.models.model import DataModel

if TYPE_CHECKING:
    from calbatch.calibrate.step import Step

_NAMED = re.compile(r"(?P<path>[^\W\d]\w*(?:[.:][^\W\d]\w*)+)(?P<call>\(.*\))?", re.DOTALL)


@dataclass(frozen=True)
class NamedHook:
    """A function or step by its import path, and a step's parameters."""

    path: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def parse_hook(text: str) -> NamedHook | Command:
    """Return what a hook's text says; nothing is imported or run.

    Raises
    ------
    ParameterError
        When it is neither an import path, with plain values in its brackets, nor a command.
    """
    match = _NAMED.fullmatch(text.strip())
    if match is None:
        return Command.of(text)
    call = match["call"]
    return NamedHook(match["path"], {} if call is None else _literals(text, call))


def _literals(text: str, call: str) -> dict[str, Any]:
    """Return the values in brackets, which are literals: numbers, texts, lists, True, None."""
    try:
        tree = ast.parse(f"f{call}", mode="eval").body
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            named = [(k.arg, ast.literal_eval(k.value)) for k in tree.keywords]
            found = {name: value for name, value in named if name is not None}  # no **mapping
            if len(found) == len(named):
                return found
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        pass
    raise ParameterError(
        f"hook {text!r}: must be module.Step(name=value, ...), with numbers, texts in quotes, "
        "True, False, None, or lists of these for values"
    )


class Hook(Parameter[Any]):
    """One hook: a function, a step, or a text that names one or is a command."""

    def _convert(self, value: Any) -> Any:
        if isinstance(value, str):
            parse_hook(value)
            return value
        if not callable(value):
            raise self._fault(value)
        return value

    def _fault(self, value: Any) -> ParameterError:
        return ParameterError(f"hook {value!r:.200}: must be {self.describe()}")

    def _described(self) -> str:
        return "a function, a step, module:name, module.Step(name=value) or a command"

    def text(self, value: Any) -> str:
        """Return the hook's text, or a name that nothing else has."""
        return value if isinstance(value, str) else import_path(value) or process_name(value)

    def entry(self, value: Any) -> str:
        """Return the hook's text; where it runs, it has to be importable.

        Raises
        ------
        NotInFileError
            When the hook can only be reached from this process.
        """
        found = value if isinstance(value, str) else import_path(value)
        if found is None:
            raise NotInFileError(f"the hook {getattr(value, '__qualname__', type(value).__name__)}")
        return found


class Hooks(Items):
    """Hooks, in their order."""

    def __init__(self, *, help: str = "") -> None:
        super().__init__(Hook(""), help=help)

    def _convert(self, value: Any) -> list[Any]:
        if isinstance(value, str):
            value = _several(value)
        elif callable(value):
            value = [value]
        return super()._convert(value)

    def _item(self, item: Any) -> Any:
        try:
            return self.item.convert(item)
        except ParameterError as error:
            raise ParameterError(f"{self.name}: {error}") from None


def _several(text: str) -> list[str]:
    """Return the hooks of one text: several import paths, items in quotes, or one command."""
    items = split_items(text)
    quoted = [item for item in items if f'"{item}"' in text or f"'{item}'" in text]
    if len(items) == 1 or all(_NAMED.fullmatch(item) or item in quoted for item in items):
        return items
    return [text.strip()]


def import_path(value: Any) -> str | None:
    """Return ``module:name`` of a function or class that can be imported by it, else None."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not name or module == "__main__" or "." in name:
        return None
    found = getattr(sys.modules.get(module), name, None)
    return f"{module}:{name}" if found is value else None


def apply_hook(hook: Any, value: Any, owner: Step) -> Any:
    """Return what a hook makes of a model, or the model where the hook returns nothing.

    Parameters
    ----------
    hook : callable, step, step class, or str
        A function of one argument, a step, or either or a command as text.
    value : Any
        The model, or models: what a step returns.
    owner : Step
        The step whose hook it is: references of a hook that is a step are chosen like its own.

    Raises
    ------
    ParameterError
        When the hook cannot be imported or called.
    StepError
        When a command fails.
    """
    said = parse_hook(hook) if isinstance(hook, str) else hook
    if isinstance(said, Command):
        said.run(models_of(value), owner.name)
        return value
    function = resolve_hook(said, owner)
    result = function(value)
    return value if result is None else result


def require_usable_hooks(step: Step) -> None:
    """Refuse hooks that cannot be imported or called, or whose parameters do not fit.

    Raises
    ------
    ParameterError
        When a hook would fail for every exposure; the message names the step and the hook.
    """
    for name in ("pre_hooks", "post_hooks"):
        for hook in getattr(step, name):
            try:
                parsed_hook = parse_hook(hook) if isinstance(hook, str) else hook
                if not isinstance(parsed_hook, Command):
                    found = resolve_hook(parsed_hook)
                    if _is_step_class(type(found)):
                        found.check()
            except ParameterError as error:
                shown = repr(hook) if isinstance(hook, str) else _name_of(hook)
                raise ParameterError(f"{step.name}.{name}: hook {shown:.200}: {error}") from None


def _name_of(hook: Any) -> str:
    return str(getattr(hook, "__qualname__", type(hook).__qualname__))


def models_of(value: Any) -> list[DataModel]:
    """Return the models among what a step takes or returns."""
    if isinstance(value, Mapping):
        value = list(value.values())
    several = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in several if isinstance(one, DataModel)]


def resolve_hook(hook: Any, owner: Step | None = None) -> Any:
    """Return the function or step that a hook stands for; a step becomes part of its owner.

    Raises
    ------
    ParameterError
        When it cannot be imported, or is neither.
    """
    found, parameters = _target(hook)
    if _is_step_class(found):
        return found(parent=owner, **parameters)
    if parameters:
        raise ParameterError(f"{hook.path!r} is not a step, and takes no parameters")
    if _is_step_class(type(found)):
        found = copy.deepcopy(found)  # with the steps of a pipeline, whose parent it is
        found.parent = owner
    elif isinstance(found, type):
        found = _instance(found)
    if not callable(found):
        name = hook.path if isinstance(hook, NamedHook) else hook
        raise ParameterError(f"{name!r} is not a function or step")
    return found


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


def _is_step_class(found: Any) -> bool:
    from calbatch.calibrate.step import Step  # whose hooks these are

    return isinstance(found, type) and issubclass(found, Step)


def import_object(path: str) -> Any:
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
    except Exception as error:  # a module runs arbitrary code when it is imported
        raise ParameterError(
            f"{path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def steps_of(hooks: Sequence[Any]) -> Iterator[Step]:
    """Iterate over the hooks that are steps, as far as they can be imported here."""
    for hook in hooks:
        with suppress(ParameterError):  # told where it is run
            said = parse_hook(hook) if isinstance(hook, str) else hook
            if isinstance(said, Command):
                continue
            found, _ = _target(said)
            if _is_step_class(found) or _is_step_class(type(found)):
                yield resolve_hook(said)


def with_imported_hooks(step: Step) -> Step:
    """Return a step with the functions that its hooks name, where they can be imported here.

    Where it is to run, they may not be there to be imported.
    """
    return _with_hooks(step, _import_hook)


def without_commands(step: Step) -> Step:
    """Return a step without the hooks that are commands, to look at what it would do."""
    return _with_hooks(step, lambda hook: None if _is_command(hook) else hook)


def without_hooks(step: Step) -> Step:
    """Return a step without hooks."""
    return _with_hooks(step, lambda hook: None)


def _with_hooks(step: Step, change: Any) -> Step:
    twin = copy.deepcopy(step)
    for one in (twin, *twin.steps().values()):
        for name in ("pre_hooks", "post_hooks"):
            changed = [change(hook) for hook in getattr(one, name)]
            one.__dict__[name] = [hook for hook in changed if hook is not None]
    return twin


def _is_command(hook: Any) -> bool:
    return isinstance(hook, str) and isinstance(parse_hook(hook), Command)


def _import_hook(hook: Any) -> Any:
    with suppress(ParameterError):  # told where it is run
        said = parse_hook(hook) if isinstance(hook, str) else hook
        if isinstance(said, NamedHook):
            return resolve_hook(said) if said.parameters else import_object(said.path)
    return hook
