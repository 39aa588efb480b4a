"""Parameters of large events are those of jwst, for every step that inherits them."""

import re

import pytest
from jwst.jump import JumpStep as JwstStep

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import Boolean, Float, Integer
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps.jump.events import LargeEvents

SPEC = dict(re.findall(r"^\s*(\w+) *= *(\w+\(.*?\)) *(?:#|$)", JwstStep.spec, re.MULTILINE))
"""The type and default of each of jwst's parameters, as it writes them."""

TYPES = {Boolean: "boolean", Float: "float", Integer: "integer"}
NAMES = [name for name, value in vars(LargeEvents).items() if not name.startswith("__")]


class Finder(LargeEvents, Step):
    """A step that inherits the parameters."""


def test_there_are_parameters_of_both_kinds_of_events():
    described = {Finder.parameters()[name].help.partition(":")[0] for name in NAMES}
    assert described >= {"snowballs", "showers"}


@pytest.mark.agreement
@pytest.mark.parametrize("name", NAMES)
def test_types_and_defaults_are_those_of_jwst(name):
    kind, default = re.fullmatch(r"(\w+)\(default=(.*)\)", SPEC[name]).groups()
    declared = Finder.parameters()[name]
    assert TYPES[type(declared)] == kind
    value = getattr(Finder(), name)
    assert value == (default == "True" if kind == "boolean" else float(default))


@pytest.mark.agreement
@pytest.mark.parametrize("name", NAMES)
def test_values_as_jwst_writes_them_are_read(name):
    default = re.fullmatch(r"\w+\(default=(.*)\)", SPEC[name])[1]
    assert getattr(Finder(**{name: default}), name) == getattr(Finder(), name)


@pytest.mark.parametrize("name", ["min_jump_area", "sat_expand", "use_ellipses"])
def test_other_values_are_rejected(name):
    with pytest.raises(ParameterError, match=name):
        Finder(**{name: "large"})
