"""Compilation of parsed rules: substitutions, keys and choices."""

import pytest

from calbatch.crds_client.errors import MappingError
from calbatch.crds_client.rules.compiling import check_entries, compile_selector, parkeys
from calbatch.crds_client.rules.literals import parse_mapping

DATED = {"parkey": (("A",), ("DATE",))}


def source(selector, **header):
    return parse_mapping(f"header = {header!r}\nselector = {selector}", "x.rmap")


def test_substitutes_replace_values_in_keys():
    rules = source(
        "Match({'GENERIC': 'all', ('FULL',): 'full'})",
        parkey=(("SUBARRAY",),), substitutions={"SUBARRAY": {"FULL": ["SUB1", "SUB2"]}},
    )  # fmt: skip
    selector = compile_selector(rules)
    assert selector.choose({"SUBARRAY": "SUB2"}) == "full"
    assert compile_selector(
        source("Match({'GENERIC': 'all'})", parkey=(("SUBARRAY",),))
    ).choose({"SUBARRAY": "ANYTHING"}) == "all"  # a default substitution  # fmt: skip


def test_nested_selectors_take_the_next_parameters():
    selector = compile_selector(
        source("Match({'x': UseAfter({'2000-01-01 00:00:00': 'a'})})", **DATED)
    )
    assert selector.choose({"A": "X", "DATE": "2001-01-01 00:00:00"}) == "a"


@pytest.mark.parametrize(
    ("selector", "header", "fault"),
    [
        ("Match({'x': 5})", DATED, "5 is not a file name"),
        ("Match({'x': 'a', 'X': 'b'})", DATED, "key 'X' is given twice"),
        ("Match({('x', 'y'): 'a'})", DATED, "expected values of 1 parameters, A"),
        ("UseAfter({5: 'a'})", DATED, "5 is not a date"),
        ("UseAfter({'a': UseAfter({'b': UseAfter({'c': 'd'})})})", DATED, "nested deeper"),
        ("{}", DATED, r"must have Match\(\{\.\.\.\}\)"),
        ("Match({'x': 'a'})", {"parkey": "A"}, "header has no parkey"),
    ],
)
def test_faults_name_the_line(selector, header, fault):
    with pytest.raises(MappingError, match=rf"^x\.rmap:\d+: .*{fault}"):
        compile_selector(source(selector, **header))


@pytest.mark.parametrize(
    "entry",
    [{"extra_keys": 5}, {"parkey_relevance": ["a"]}, {"hooks": [1]}, {"substitutions": {"a": 1}}],
)
def test_entries_of_the_wrong_type_are_rejected(entry):
    (name,) = entry
    with pytest.raises(MappingError, match=f"{name} is .*; expected "):
        check_entries(source("{}", **entry))


def test_the_levels_of_parameters():
    assert parkeys(source("{}", parkey=(("A",), ["B", "C"]))) == (("A",), ("B", "C"))
