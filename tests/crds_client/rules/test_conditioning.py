"""Values are normalised exactly as in crds."""

from crds.core import selectors, utils
from hypothesis import example, given
from hypothesis import strategies as st
from support.crds_rules import PATTERNS, VALUES

from calbatch.crds_client.rules.conditioning import alternatives, condition_key, condition_value

texts = st.sampled_from(VALUES) | st.text("AaNnOoTt019.+-eE |*/(){}#_", max_size=12)
values = texts | st.integers() | st.floats() | st.booleans()
keys = texts | st.sampled_from(PATTERNS) | st.lists(values, min_size=1, max_size=3).map(tuple)


@given(values)
@example("N/A (see below)")
@example("-2147483648")
@example("1e999")
def test_values_as_crds(value):
    assert condition_value(value) == utils.condition_value(value)


@given(keys)
def test_keys_as_crds(key):
    assert condition_key(key) == selectors.MatchSelector.condition_key_element(key)


@given(texts)
def test_alternatives_as_crds(text):
    assert alternatives(text) == selectors.glob_list(text)


@given(texts)
def test_conditioning_again_changes_nothing(text):
    once = condition_value(text)
    assert condition_value(once) == once
