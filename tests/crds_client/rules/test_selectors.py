"""Selectors over one ordered parameter."""

import pytest

from calbatch.crds_client.rules.selectors import (
    ORDERED,
    Bracket,
    ClosestTime,
    GeometricallyNearest,
    NoMatchError,
    RejectedValueError,
    Selector,
    SelectVersion,
    UseAfter,
    VersionAfter,
    flat_names,
)

DATES = ["2010-01-01 00:00:00", "2020-01-01 00:00:00"]
WHEN = ("DATE", "TIME")


def on(date, time="00:00:00"):
    return {"DATE": date, "TIME": time}


def test_the_latest_date_before_is_used():
    selector = UseAfter(WHEN, DATES, ["old", "new"])
    assert selector.choose(on("2015-06-01")) == "old"
    assert selector.choose(on("2020-01-01")) == "new"
    with pytest.raises(NoMatchError, match="DATE TIME is before every rule"):
        selector.choose(on("2009-12-31", "23:59:59"))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"DATE": "2015-01-01"}, "TIME is missing"),
        ({"DATE": "UNDEFINED", "TIME": "0"}, "DATE is UNDEFINED"),
        ({"DATE": "soon", "TIME": "0:0:0"}, "DATE TIME 'soon 0:0:0'"),
    ],
)
def test_a_date_that_cannot_be_read_is_rejected(header, reason):
    with pytest.raises(RejectedValueError, match=reason):
        UseAfter(WHEN, DATES, ["old", "new"]).choose(header)


def test_the_closest_time_may_be_after():
    selector = ClosestTime(WHEN, DATES, ["old", "new"])
    assert selector.choose(on("2009-01-01")) == "old"
    assert selector.choose(on("2019-01-01")) == "new"


def test_versions_are_compared_as_numbers():
    selector = VersionAfter(("V",), [(0, 9, 0), (0, 10, 0)], ["nine", "ten"])
    assert selector.choose({"V": "0.9.5"}) == "nine"
    assert selector.choose({"V": "0.10.1rc2"}) == "ten"


@pytest.mark.parametrize(("value", "name"), [("1.9", "low"), ("2.6", "high"), ("-5", "low")])
def test_the_nearest_number(value, name):
    selector = GeometricallyNearest(("X",), ["1.0", "3.0"], ["low", "high"])
    assert selector.choose({"X": value}) == name


@pytest.mark.parametrize(
    ("value", "names"),
    [("1.5", ("a", "b")), ("2.0", ("b", "b")), ("0", ("a", "a")), ("9", ("c", "c"))],
)
def test_a_bracket_has_the_keys_below_and_above(value, names):
    assert Bracket(("X",), [1.0, 2.0, 3.0], ["a", "b", "c"]).choose({"X": value}) == names


def test_the_first_relation_that_holds_is_used():
    make, read_key = ORDERED["SelectVersion"]
    keys = sorted(map(read_key, ["< 3", "< 5", "default"]))
    selector = make(("V",), keys, ["old", "middle", "new"])
    assert isinstance(selector, SelectVersion)
    assert [selector.choose({"V": value}) for value in ("2", "4", "7")] == ["old", "middle", "new"]
    with pytest.raises(RejectedValueError, match="is not a version"):
        selector.choose({"V": "x"})


def test_versions_of_different_kinds_are_not_compared():
    make, read_key = ORDERED["SelectVersion"]
    with pytest.raises(ValueError, match="cannot be ordered"):
        make(("V",), [read_key("< 3"), read_key("= (5, 0)")], ["old", "new"])
    with pytest.raises(RejectedValueError, match=r"V='4' cannot be compared with \(5, 0\)"):
        make(("V",), [read_key("= (5, 0)")], ["new"]).choose({"V": "4"})


@pytest.mark.parametrize(
    ("selector", "header"),
    [
        (ClosestTime(WHEN, [], []), on("2015-06-01")),
        (GeometricallyNearest(("X",), [], []), {"X": "1"}),
        (Bracket(("X",), [], []), {"X": "1"}),
    ],
)
def test_a_rule_without_choices_chooses_nothing(selector, header):
    with pytest.raises(RejectedValueError, match="the rule has no choices"):
        selector.choose(header)


@pytest.mark.parametrize(("name", "key"), [("ClosestTime", 5), ("Bracket", "x"), ("UseAfter", 5)])
def test_keys_of_another_type_are_rejected(name, key):
    _, read_key = ORDERED[name]
    with pytest.raises(TypeError, match=f"{key!r} is not a "):
        read_key(key)


def test_a_date_in_the_rules_that_cannot_be_read_is_rejected():
    with pytest.raises(RejectedValueError, match="soon"):
        ClosestTime(WHEN, ["soon"], ["x"]).choose(on("2015-06-01"))


@pytest.mark.parametrize("value", ["", "x"])
def test_text_is_not_a_number(value):
    with pytest.raises(RejectedValueError, match="is not a number"):
        Bracket(("X",), [1.0], ["a"]).choose({"X": value})


def test_selectors_list_their_names():
    inner = UseAfter(WHEN, DATES, ["a", ("b", "c")])
    outer = Bracket(("X",), [1.0, 2.0], [inner, {"x": "d"}])
    assert list(outer.names()) == ["a", "b", "c", "d"]
    assert list(outer.walk()) == [outer, inner]
    assert list(flat_names(("a", {"k": "b"}))) == ["a", "b"]


def test_selectors_of_different_kinds_are_not_merged():
    selector = UseAfter(WHEN, DATES, ["a", "b"])
    with pytest.raises(RejectedValueError, match="selects by date"):
        selector.merge("c")
    with pytest.raises(RejectedValueError, match="cannot join"):
        Bracket(("X",), [1.0], ["a"]).merge(selector)
    merged = selector.merge(UseAfter(WHEN, DATES[1:], ["z"]))
    assert isinstance(merged, Selector)
    assert merged.choose(on("2021-01-01")) == "z"  # the greater name
