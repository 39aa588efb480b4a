"""Patterns of Match keys agree with crds's matchers."""

import pytest
from crds.core import selectors
from hypothesis import given
from hypothesis import strategies as st
from support.crds_rules import PATTERNS, VALUES

from calbatch.crds_client.rules.conditioning import condition_key, condition_value
from calbatch.crds_client.rules.mapping import PipelineRules, load_mapping
from calbatch.crds_client.rules.patterns import HIT, MISS, compile_pattern

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


def test_globs_do_not_backtrack():
    assert compile_pattern("*A" * 40 + "*B")("A" * 20_000) == MISS


def test_long_runs_of_digits_take_linear_time():
    assert condition_value("1" * 200_000 + "X") == "1" * 200_000 + "X"


def test_every_rule_of_the_real_contexts_is_read(real_data):
    folder = real_data / "crds" / "mappings" / "jwst"
    for context in ("jwst_0541.pmap", "jwst_0303.pmap"):
        rules = PipelineRules(
            load_mapping(context, lambda name: (folder / name).read_text()),
            lambda name: (folder / name).read_text(),
        )
        assert all(rules.instrument(name).types for name in rules.instruments)
