"""Blanks: values that are filled in later, and that nothing may depend on meanwhile.

A blank can be kept and copied. Operators, calls, attributes and `isinstance` raise a
`ConsultedError` and are noted, so that nothing can depend on it unseen, even if the error is
caught. ``is`` and `type` see nothing, and some compiled functions, such as `str.join`, raise a
plain `TypeError`. So whatever hands out a value of a model asks for the class of the value first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, cast
from uuid import uuid4

Place = tuple[Any, ...]
"""Name of what a blank stands for: a tag, and what tells it from others of its tag.

=======================  ===================================================================
``("meta", path)``       a value of the metadata
``("card", hdu, n)``     the value of the card at index ``n`` of those that no schema names
``("cards", index)``     the header of an HDU
``("hdu", index, ...)``  an HDU
``("stamp",)``           the identity of the file
``("path",)``            its path
``("text", pieces)``     text in which the path stands between the pieces
``("schema", id)``       a schema
``("shared", n)``        something that all that is made from a template shares
``("slot", name)``       an object that is given when a template is filled
``("own", path)``        a value that a product has for itself, such as its name
=======================  ===================================================================
"""

PATH_TEXT = f"(file {uuid4().hex})"
"""The text of a blank path, which the real one replaces in messages."""


class ConsultedError(BaseException):
    """Something depends on a blank; not an `Exception`, so that no handler of errors catches it."""


class Blank:
    """A value that is filled in later.

    Parameters
    ----------
    place : tuple
        What it stands for.
    consulted : set of tuple
        Receives the place if something depends on the value.
    """

    __slots__ = ("_consulted", "_place")

    def __init__(self, place: Place, consulted: set[Place]) -> None:
        object.__setattr__(self, "_place", place)
        object.__setattr__(self, "_consulted", consulted)

    def __copy__(self) -> Blank:
        return self

    def __getattribute__(self, name: str) -> Any:
        if name == "__deepcopy__":
            return lambda _: self
        return _stop(self)  # isinstance asks for __class__


place_of = cast("Callable[[Blank], Place]", Blank.__dict__["_place"].__get__)
"""Return what a blank stands for."""

_consulted_of = cast("Callable[[Blank], set[Place]]", Blank.__dict__["_consulted"].__get__)


def _stop(blank: Blank, *_: Any) -> NoReturn:
    """Note that something depends on a blank, and stop it."""
    _consulted_of(blank).add(place_of(blank))
    raise ConsultedError(f"{place_of(blank)} is filled in later")


def _refuse_operations() -> None:
    """Make every special method of the built-in types of values stop."""
    own = {"__class__", "__doc__", "__getattribute__", "__init__", "__init_subclass__", "__new__"}
    types = (str, bytes, int, float, list, dict)
    for name in {name for each in types for name in dir(each)} | {"__call__", "__fspath__"}:
        if name.startswith("__") and name not in own:
            setattr(Blank, name, _stop)


_refuse_operations()


class BlankPath(Blank):
    """The path of a file, which messages may name."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return PATH_TEXT

    def __format__(self, form: str) -> str:
        return _stop(self) if form else PATH_TEXT
