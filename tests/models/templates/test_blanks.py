"""Blanks stop whatever depends on them, and are copied and kept without a trace."""

import copy
import math
import operator
import os
from collections.abc import Mapping
from contextlib import suppress

import pytest

from calbatch.models.schema.meta import copy_metadata
from calbatch.models.templates.blanks import PATH_TEXT, Blank, BlankPath, ConsultedError, place_of

PLACE = ("meta", "meta.target.ra")

USES = {
    "str": str,
    "repr": repr,
    "format": "{:.3f}".format,
    "formatted": lambda value: f"{value}",
    "percent": lambda value: "%s" % value,  # noqa: UP031 - as loggers do
    "bool": bool,
    "not": operator.not_,
    "int": int,
    "float": float,
    "complex": complex,
    "index": operator.index,
    "round": round,
    "abs": abs,
    "negative": operator.neg,
    "len": len,
    "iter": iter,
    "list": list,
    "hash": hash,
    "in a set": lambda value: value in {1},
    "contains": lambda value: 1 in value,
    "in a list": lambda value: value in (None, []),
    "equal": lambda value: value == 1,
    "equal from the right": lambda value: value == [],
    "not equal": lambda value: value != "",
    "less": lambda value: value < 1,
    "greater from the right": lambda value: 2 > value,  # noqa: SIM300
    "add": lambda value: value + 1,
    "add from the right": lambda value: "a" + value,
    "multiply from the right": lambda value: 2 * value,
    "divide": lambda value: value / 2,
    "power": lambda value: value**2,
    "modulo": lambda value: value % 2,
    "item": operator.itemgetter(0),
    "attribute": operator.attrgetter("name"),
    "method": lambda value: value.strip(),
    "class": lambda value: value.__class__,
    "isinstance of a class": lambda value: isinstance(value, str),
    "isinstance of classes": lambda value: isinstance(value, (dict, list)),
    "isinstance of an abstract class": lambda value: isinstance(value, Mapping),
    "issubclass": lambda value: issubclass(value, str),
    "fspath": os.fspath,
    "isfinite": math.isfinite,
    "call": lambda value: value(),
    "set an attribute": lambda value: setattr(value, "name", 1),
    "has an attribute": lambda value: hasattr(value, "name"),
    "callable": lambda value: value.__call__,
    "dir": dir,
    "vars": vars,
    "sorted": lambda value: sorted([value, 1]),
    "sum": lambda value: sum([value]),
    "max": lambda value: max(value, 0),
    "bytes": bytes,
    "range": range,
    "unpack": lambda value: [*value],
    "match": lambda value: next(iter([1 for _ in [0] if _matches(value)]), None),
}


def _matches(value):
    match value:
        case str() | int():
            return True
    return False


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_use_stops_and_is_noted(use):
    consulted = set()
    with pytest.raises(ConsultedError, match="target"):
        use(Blank(PLACE, consulted))
    assert consulted == {PLACE}


def test_a_use_is_noted_even_if_its_error_is_caught():
    consulted = set()
    with suppress(BaseException):
        Blank(PLACE, consulted) > 3  # noqa: B015 - its effect is what counts
    assert consulted == {PLACE}
    assert not issubclass(ConsultedError, Exception)  # which is all that steps catch


def test_a_copy_of_a_blank_is_the_blank():
    blank = Blank(PLACE, set())
    assert copy.copy(blank) is blank
    assert copy.deepcopy(blank) is blank


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, copy_metadata])
def test_copies_are_no_use(duplicate):
    consulted = set()
    blank = Blank(PLACE, consulted)
    copied = duplicate({"meta": {"ra": blank}, "history": []})
    assert copied["meta"]["ra"] is blank
    assert place_of(copied["meta"]["ra"]) == PLACE
    assert consulted == set()


def test_messages_may_name_a_blank_path():
    consulted = set()
    path = BlankPath(("path",), consulted)
    assert f"{path}: {path!s}" == f"{PATH_TEXT}: {PATH_TEXT}"
    assert path or None
    assert consulted == set()


@pytest.mark.parametrize(
    "use", [lambda path: path.name, lambda path: path / "a", os.fspath, "{:>80}".format, repr]
)
def test_nothing_else_may_depend_on_a_blank_path(use):
    consulted = set()
    with pytest.raises(ConsultedError):
        use(BlankPath(("path",), consulted))
    assert consulted == {("path",)}
