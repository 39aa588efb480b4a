"""Patterns of Match keys answer as crds's matchers do."""

import pytest
from crds.core import selectors
from hypothesis import given
from hypothesis import strategies as st
from support.crds_rules import PATTERNS, VALUES

from calbatch.crds_client.conditioning import condition_key
from calbatch.crds_client.patterns import HIT, MISS, compile_pattern

keys = (st.sampled_from(PATTERNS) | st.text("AB|*?1.<>=# ", min_size=1, max_size=10)).map(
    condition_key
)


@given(keys, st.sampled_from(VALUES) | st.text("AB|*1.", max_size=5))
def test_as_crds(key, value):
    try:
        theirs = selectors.matcher(key)
    except Exception:
        theirs = None
    try:
        ours = compile_pattern(key)
    except ValueError:
        ours = None
    assert (theirs is None) == (ours is None)
    if ours:
        assert ours(value) == theirs.match(value)


@pytest.mark.parametrize("key", ["between 1", "between 2 1", "between a b", ">", "(", "(()", "(*)"])
def test_malformed_keys_are_refused(key):
    if key == "(":  # one character is a plain value
        assert compile_pattern(key)("(") == HIT
        return
    with pytest.raises(ValueError, match=r"\S"):
        compile_pattern(key)


@pytest.mark.parametrize(
    "key", ["((A+)+B)", "((A|A)*B)", "((A{1,9})*B)", r"((A)\1)", "(" + "A" * 2000 + ")"]
)
def test_expressions_that_could_run_for_ever_are_refused(key):
    with pytest.raises(ValueError, match="for ever"):
        compile_pattern(key)


def test_an_expression_matches_from_the_start_only():
    assert compile_pattern("(B)")("AB") == MISS
