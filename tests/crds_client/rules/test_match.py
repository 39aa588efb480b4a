"""The Match selector: weights, substitutes, merging, and rejected values."""

import pytest

from calbatch.crds_client.rules import match as match_module
from calbatch.crds_client.rules.match import Match, MatchSettings
from calbatch.crds_client.rules.selectors import NoMatchError, RejectedValueError, UseAfter


def match(rules, settings=None, parameters=("A", "B")):
    keys = sorted(rules)
    return Match(parameters, keys, [rules[key] for key in keys], settings or MatchSettings())


def test_the_rule_of_the_highest_weight_is_chosen():
    selector = match({("X", "Y"): "both", ("X", "N/A"): "one", ("N/A", "N/A"): "none"})
    assert selector.choose({"A": "X", "B": "Y"}) == "both"
    assert selector.choose({"A": "X", "B": "Z"}) == "one"
    assert selector.choose({"A": "W", "B": "Z"}) == "none"
    assert selector.choose({"A": "X"}) == "one"


def test_a_rule_of_lower_weight_follows_if_no_nested_rule_fits():
    late = UseAfter(("DATE",), ["2030-01-01 00:00:00"], ["late"])
    selector = match({("X", "Y"): late, ("X", "N/A"): "always"})
    header = {"A": "X", "B": "Y", "DATE": "2020-01-01 00:00:00"}
    assert selector.choose(header) == "always"
    assert selector.choose({**header, "DATE": "2040-01-01 00:00:00"}) == "late"


def test_rules_of_equal_weight_are_merged_or_rejected():
    rules = {("X", "N/A"): "a", ("N/A", "Y"): "b"}
    header = {"A": "X", "B": "Y"}
    assert sorted(match(rules).choose(header)) == ["a", "b"]
    with pytest.raises(RejectedValueError, match="these rules fit equally well"):
        match(rules, MatchSettings(merge_overlaps=False)).choose(header)


def test_merged_selectors_have_the_keys_of_both():
    first = UseAfter(("DATE",), ["2010-01-01 00:00:00"], ["a"])
    second = UseAfter(("DATE",), ["2020-01-01 00:00:00"], ["b"])
    selector = match({("X", "N/A"): first, ("N/A", "Y"): second})
    for year, name in ((2015, "a"), (2025, "b")):
        header = {"A": "X", "B": "Y", "DATE": f"{year}-01-01 00:00:00"}
        assert selector.choose(header) == name


def test_unknown_and_missing_values_are_rejected():
    selector = match({("X",): "x", ("Y|Z",): "yz"}, parameters=("A",))
    assert selector.choose({"A": "Z"}) == "yz"
    with pytest.raises(RejectedValueError, match=r"A='W' is not one of \['X', 'Y', 'Z'\]"):
        selector.choose({"A": "W"})
    with pytest.raises(RejectedValueError, match="A is missing"):
        selector.choose({})


def test_the_reason_of_a_mismatch_names_the_values():
    selector = match({("X", "Y"): "a", ("Z", "V"): "b"})
    with pytest.raises(NoMatchError, match=r"no rule fits \(A='X', B='V'\)"):
        selector.choose({"A": "X", "B": "V"})


def test_substitutes_are_accepted():
    settings = MatchSettings({"A": {"GENERIC": "X"}})
    selector = match({("X",): "x", ("Y",): "y"}, settings, ("A",))
    with pytest.raises(NoMatchError):
        selector.choose({"A": "GENERIC"})  # known, although no rule matches it


def test_the_choice_does_not_depend_on_remembered_values(monkeypatch):
    monkeypatch.setattr(match_module, "_MEMORY", 2)
    selector = match({("X", "Y"): "both", ("N/A", "N/A"): "none"})
    for value in "XWVXUX":
        assert selector.choose({"A": value, "B": "Y"}) == ("both" if value == "X" else "none")


@pytest.mark.parametrize("value", ["2.5", "-1", "x"])
def test_a_value_outside_of_the_only_range_is_rejected(value):
    with pytest.raises(RejectedValueError, match=f"A='{value}' is not in 0:1"):
        match({("0:1",): "x"}, parameters=("A",)).choose({"A": value})


def test_a_value_with_several_substitutes_is_rejected():
    settings = MatchSettings(substitutions={"A": {"W": ("X", "Y")}})
    with pytest.raises(RejectedValueError, match="A has several substitutes"):
        match({("X",): "x"}, settings, ("A",)).choose({"A": "W"})
