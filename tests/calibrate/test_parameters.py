"""Parameters are typed, checked, and equal whether from Python, text or files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.parameters import (
    Boolean,
    Choice,
    Float,
    Integer,
    Items,
    Text,
    parameters_of,
)


class Thing:
    name = "thing"
    level = Float(4.0, low=0.0, high=10.0, unit="sigma", help="how high")
    count = Integer(3, low=1, help="how many")
    last = Integer(None, none=True, low=0, help="the last one")
    on = Boolean(True, help="whether")
    how = Choice("fast", ("fast", "Slow"), help="which way")
    label = Text(None, none=True, help="what to call it")
    hooks = Items(help="functions")


@given(st.floats(0, 10))
def test_floats_round_trip_through_text(value):
    thing = Thing()
    thing.level = Thing.level.text(value)
    assert thing.level == value


@given(st.integers(1, 10**9))
def test_integers_round_trip_through_text(value):
    thing = Thing()
    thing.count = Thing.count.text(value)
    assert thing.count == value
    assert type(thing.count) is int


@given(st.lists(st.text("abcxyz:._", min_size=1), max_size=5))
def test_items_round_trip_through_text(value):
    thing = Thing()
    thing.hooks = Thing.hooks.text(value)
    assert thing.hooks == value


@pytest.mark.parametrize("word", ["true", "True", "yes", "on", "1", True])
def test_boolean_words(word):
    thing = Thing()
    thing.on = False
    thing.on = word
    assert thing.on is True


def test_text_none_is_none_where_allowed():
    thing = Thing()
    thing.last = "5"
    assert thing.last == 5
    thing.last = "None"
    assert thing.last is None
    with pytest.raises(ParameterError, match=r"thing\.count = None: must be an integer"):
        thing.count = None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("level", 11, "must be a number at least 0 and at most 10"),
        ("level", "high", "must be a number at least 0 and at most 10"),
        ("level", float("nan"), "must be a number"),
        ("level", True, "must be a number"),
        ("count", 0, "must be an integer at least 1"),
        ("count", 2.5, "must be an integer at least 1"),
        ("count", "2.5", "must be an integer at least 1"),
        ("last", -1, "must be an integer at least 0 or None"),
        ("on", "maybe", "must be True or False"),
        ("how", "sideways", "must be one of fast, Slow"),
        ("label", ["a"], "must be a string or None"),
    ],
)
def test_invalid_values_are_rejected_with_a_description(name, value, message):
    with pytest.raises(ParameterError, match=rf"thing\.{name} = .*{message}"):
        setattr(Thing(), name, value)


def test_choices_ignore_case_and_keep_their_spelling():
    thing = Thing()
    thing.how = "SLOW"
    assert thing.how == "Slow"


def test_values_belong_to_the_instance():
    one, other = Thing(), Thing()
    one.level = 9
    one.hooks.append(print)
    assert (other.level, other.hooks) == (4.0, [])


def test_parameters_include_those_of_base_classes():
    class More(Thing):
        level = Float(1.0, help="lower")

    found = parameters_of(More)
    assert found["level"].default == 1.0
    assert "count" in found
