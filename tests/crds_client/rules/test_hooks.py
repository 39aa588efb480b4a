"""Rules that need Python functions of the official client."""

import pytest

from calbatch.crds_client.rules.hooks import hook_refusal
from calbatch.crds_client.rules.literals import parse_mapping
from calbatch.crds_client.rules.mapping import ReferenceRules

HEADER = {
    "observatory": "HST",
    "instrument": "ACS",
    "filekind": "BIASFILE",
    "parkey": (("DETECTOR",), ("DATE-OBS", "TIME-OBS")),
}


@pytest.mark.parametrize(
    ("instrument", "filekind", "hooks", "function"),
    [
        ("acs", "biasfile", None, "precondition_header_acs_biasfile_v1"),
        ("wfc3", "biasfile", None, "precondition_header_wfc3_biasfile_v1"),
        ("wfpc2", "flatfile", None, "fallback_header_wfpc2_flatfile_v1"),
        ("acs", "darkfile", {"fallback_header": "fallback_acs_v3"}, "fallback_acs_v3"),
        ("acs", "darkfile", {"precondition_header": "of_the_future_v9"}, "of_the_future_v9"),
        ("wfpc2", "darkfile", {"fallback_header": "none"}, "precondition_header"),
    ],
)
def test_the_refusal_names_the_function(instrument, filekind, hooks, function):
    assert function in hook_refusal("hst", instrument, filekind, {"hooks": hooks})


@pytest.mark.parametrize("hooks", [None, {}, {"precondition_header": "none"}])
def test_other_types_need_no_function(hooks):
    assert hook_refusal("hst", "acs", "darkfile", {"hooks": hooks}) == ""


def test_functions_that_are_not_named_exist_for_hst_only():
    assert hook_refusal("jwst", "acs", "biasfile", {}) == ""


def test_refused_rules_select_nothing():
    text = f"header = {HEADER!r}\nselector = Match({{'WFC': UseAfter({{'2000-01-01': 'a.fits'}})}})"
    rules = ReferenceRules(parse_mapping(text, "some.rmap"))
    found = rules.resolve({"DETECTOR": "WFC", "DATE-OBS": "2010-01-01", "TIME-OBS": "12:00:00"})
    assert (found.status, found.reason) == ("not found", rules.refusal)
    assert "precondition_header_acs_biasfile_v1" in rules.refusal
