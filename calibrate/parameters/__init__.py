"""Typed parameters of steps: one declaration yields value, checks, ``.cfg`` entry and help."""

from __future__ import annotations

import difflib
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, Self, TypeVar, cast, overload
from weakref import WeakKeyDictionary

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters.cfgtext import (
    NotInFileError,
    path_text,
    quote_items,
    show_value,
    split_items,
)
from calbatch.models.errors import ValidationError

T = TypeVar("T")


_BEYOND = 2**63
"""First integer that does not fit into 64 bits."""


class Parameter(Generic[T]):
    """A value that users can set: a descriptor on the step's class.

    Parameters
    ----------
    default : T
        The default value.
    help : str
        A one-line description for ``help()``, the ``.cfg`` and the documentation.
    unit : str, optional
        The value's unit.
    none : bool
        True if the value may be None (written ``None`` in a ``.cfg``).

    Raises
    ------
    ParameterError
        On assignment of an invalid value.
    """

    kind = "a value"
    name = ""

    def __init__(
        self, default: T, *, help: str = "", unit: str | None = None, none: bool = False
    ) -> None:
        self.default, self.help, self.unit = default, help, unit
        self.none = none or default is None

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        return cast("T", instance.__dict__.get(self.name, self.default))

    def __set__(self, instance: object, value: Any) -> None:
        try:
            instance.__dict__[self.name] = self.convert(value)
        except ParameterError as error:
            step = getattr(instance, "name", "") or type(instance).__name__
            raise ParameterError(f"{step}.{error}") from None

    def convert(self, value: Any) -> T | None:
        """Return a value or its text converted to the parameter's type."""
        is_none = isinstance(value, str) and value.strip().lower() == "none"
        if self.none and (value is None or is_none):
            return None
        if value is None:
            raise self._fault(value)
        try:
            return self._convert(value)
        except (ArithmeticError, ValueError, TypeError, RecursionError) as error:
            raise self._fault(value) from error

    def _convert(self, value: Any) -> T:
        return cast("T", value)

    def _fault(self, value: Any) -> ParameterError:
        return ParameterError(f"{self.name} = {show_value(value)}: must be {self.describe()}")

    def describe(self) -> str:
        """Return a description of the allowed values."""
        return self._description() + (" or None" if self.none else "")

    def _description(self) -> str:
        return self.kind

    def text(self, value: Any) -> str:
        """Return a value as text; different values have different texts."""
        return str(value)

    def entry(self, value: Any) -> str | list[str]:
        """Return a value as stored in a ``.cfg``.

        Raises
        ------
        NotInFileError
            If the value exists only in this process.
        """
        return self.text(value)


class _Number(Parameter[T]):
    """A number with optional bounds."""

    def __init__(
        self, default: T, *, low: float | None = None, high: float | None = None, **options: Any
    ) -> None:
        super().__init__(default, **options)
        self.low, self.high = low, high

    def _check_bounds(self, value: Any) -> Any:
        too_low = self.low is not None and value < self.low
        too_high = self.high is not None and value > self.high
        if too_low or too_high or value != value:
            raise self._fault(value)
        return value

    def _description(self) -> str:
        bounds = []
        if self.low is not None:
            bounds.append(f"at least {self.low:g}")
        if self.high is not None:
            bounds.append(f"at most {self.high:g}")
        return " ".join([self.kind, " and ".join(bounds)]).rstrip()


class Float(_Number[T]):
    """A real number."""

    kind = "a number"

    @overload
    def __init__(self: Float[float], default: float, **options: Any) -> None: ...
    @overload
    def __init__(
        self: Float[float | None], default: float | None, *, none: Literal[True], **options: Any
    ) -> None: ...
    def __init__(self, default: Any, **options: Any) -> None:
        super().__init__(default, **options)

    def _convert(self, value: Any) -> Any:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self._fault(value) from None
        if isinstance(value, bool):
            raise self._fault(value)
        return self._check_bounds(number)


class Integer(_Number[T]):
    """An integer."""

    kind = "an integer"

    @overload
    def __init__(self: Integer[int], default: int, **options: Any) -> None: ...
    @overload
    def __init__(
        self: Integer[int | None], default: int | None, *, none: Literal[True], **options: Any
    ) -> None: ...
    def __init__(self, default: Any, **options: Any) -> None:
        super().__init__(default, **options)

    def _convert(self, value: Any) -> Any:
        try:
            number = int(value) if isinstance(value, str) else value
            whole = int(number) == number
        except (TypeError, ValueError, OverflowError):
            raise self._fault(value) from None
        if isinstance(value, bool) or not whole:
            raise self._fault(value)
        if not -_BEYOND <= number < _BEYOND:  # Python writes no integer of thousands of digits
            raise ParameterError(f"{self.name} = {show_value(value)}: must fit into 64 bits")
        return self._check_bounds(int(number))


class Boolean(Parameter[bool]):
    """True or False."""

    kind = "a boolean"
    _words: Mapping[str, bool] = {
        "true": True, "t": True, "yes": True, "y": True, "on": True, "1": True,
        "false": False, "f": False, "no": False, "n": False, "off": False, "0": False,
    }  # fmt: skip

    def __init__(self, default: bool, *, help: str = "") -> None:
        super().__init__(default, help=help)

    def _convert(self, value: Any) -> bool:
        word = str(value).strip().lower()
        if word not in self._words:
            raise self._fault(value)
        return self._words[word]

    def _description(self) -> str:
        return "True or False"


class Text(Parameter[T]):
    """A string: a name or a path."""

    kind = "a string"

    @overload
    def __init__(self: Text[str], default: str, **options: Any) -> None: ...
    @overload
    def __init__(
        self: Text[str | None], default: str | None, *, none: Literal[True], **options: Any
    ) -> None: ...
    def __init__(self, default: Any, **options: Any) -> None:
        super().__init__(default, **options)

    def _convert(self, value: Any) -> Any:
        if isinstance(value, list):  # a parameter file yields this for text with commas
            raise ParameterError(f"{self._fault(value)}; quote text that contains commas")
        if isinstance(value, bool) or not isinstance(value, (str, os.PathLike, int, float)):
            raise self._fault(value)
        return path_text(value) if isinstance(value, os.PathLike) else str(value)


class InputFile(Text[str | None]):
    """The path of a file that a step reads, other than a reference; none by default.

    In a batch, relative paths are those of the folder where it was started, and exposures are
    calibrated again if the file has changed.
    """

    def __init__(self, *, help: str = "") -> None:
        super().__init__(None, none=True, help=help)


class Choice(Parameter[str]):
    """One of several words."""

    def __init__(self, default: str, choices: Sequence[str], *, help: str = "") -> None:
        super().__init__(default, help=help)
        self.choices = tuple(choices)

    def _convert(self, value: Any) -> str:
        for choice in self.choices:
            if str(value).lower() == choice.lower():
                return choice
        raise self._fault(value)

    def _description(self) -> str:
        return "one of " + ", ".join(self.choices)


class Items(Parameter[list[Any]]):
    """A list; in a ``.cfg`` its items are separated by commas.

    Parameters
    ----------
    item : Parameter, optional
        The parameter that describes each item; strings by default.
    help : str
        A one-line description.
    """

    kind = "a list"

    def __init__(self, item: Parameter[Any] | None = None, *, help: str = "") -> None:
        super().__init__([], help=help)
        self.item: Parameter[Any] = item or Text("")

    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        return instance.__dict__.setdefault(self.name, [])

    def _convert(self, value: Any) -> list[Any]:
        if isinstance(value, str):
            value = split_items(value)
        elif callable(value):
            value = [value]
        elif not isinstance(value, Iterable) or isinstance(value, (Mapping, bytes)):
            raise self._fault(value)
        return [self._item(item) for item in value]

    def _item(self, item: Any) -> Any:
        try:
            return self.item.convert(item)
        except ParameterError:
            raise ParameterError(
                f"{self.name}: item {show_value(item)} must be {self.item.describe()}"
            ) from None

    def _item_entry(self, item: Any) -> str:
        return str(self.item.entry(item))

    def text(self, value: Any) -> str:
        """Return the items as one text."""
        try:
            return quote_items([self.item.text(item) for item in value])
        except NotInFileError:
            return repr([self.item.text(item) for item in value])

    def entry(self, value: Any) -> list[str]:
        """Return the items as a list of strings."""
        return [self._item_entry(item) for item in value]


class Override(Parameter[Any]):
    """A reference file that replaces the choice of CRDS: a path, a model, or N/A."""

    kind = "a path, a model or N/A"

    def __init__(self, reference_type: str) -> None:
        super().__init__(None, help=f"use this {reference_type} reference: a path, or N/A for none")
        self.reference_type = reference_type

    def convert(self, value: Any) -> Any:
        """Return the override; empty text means no override."""
        if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none")):
            return None
        if isinstance(value, str):
            return value
        if isinstance(value, os.PathLike):
            return value if os.fspath(value) == path_text(value) else path_text(value)
        return self._model(value)

    def _model(self, value: Any) -> Any:
        from calbatch.models import datamodels  # slow to import, and few overrides are models

        if not isinstance(value, datamodels.DataModel):
            shown = " ".join(repr(value).split())[:80]
            raise ParameterError(
                f"{self.name} = {shown}: must be {self.describe()}, not {type(value).__name__}"
            )
        try:
            return datamodels.as_reference(self.reference_type, value)
        except ValidationError as error:
            raise ParameterError(f"{self.name}: {error}") from None

    def text(self, value: Any) -> str:
        """Return the path, or a unique name for a model, which may differ from its file."""
        if value is None or isinstance(value, (str, os.PathLike)):
            return "" if value is None else os.fspath(value)
        return process_name(value)

    def entry(self, value: Any) -> str:
        """Return the path.

        Raises
        ------
        NotInFileError
            If the override is a model, which may differ from its file.
        """
        if value is None or isinstance(value, (str, os.PathLike)):
            return self.text(value)
        raise NotInFileError(f"{type(value).__name__} in memory")


_NAMES: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def process_name(value: Any) -> str:
    """Return a name for an object of this process that is unique across processes."""
    kind = getattr(value, "__qualname__", type(value).__qualname__)
    try:
        return _NAMES.setdefault(value, f"<{kind} {uuid.uuid4().hex}>")
    except TypeError:  # not hashable, or without weak references
        return f"<{kind} {uuid.uuid4().hex}>"


def parameters_of(cls: type) -> dict[str, Parameter[Any]]:
    """Return a class's parameters by name, its own before those of its bases."""
    parameters: dict[str, Parameter[Any]] = {}
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if isinstance(value, Parameter) and name not in parameters:
                parameters[name] = value
    return parameters


def nearest(name: str, names: Iterable[str]) -> str:
    """Return a hint at the closest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(names), 1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
