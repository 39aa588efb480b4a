"""Versions have the order of crds."""

import pytest
from crds.core import selectors
from hypothesis import given
from hypothesis import strategies as st
from support.crds_rules import RELATION_VALUES, RELATIONS, VERSION_VALUES

from calbatch.crds_client.rules.versions import are_comparable, parse_relation, version_key

relations = st.sampled_from([*RELATIONS, *RELATION_VALUES, "< (5,0,1)", "=(5,0)"])


@given(st.sampled_from(VERSION_VALUES) | st.text("0123456789.rcdev+", max_size=12))
def test_version_keys_as_crds(text):
    after = selectors.VersionAfterSelector(("V",), {})
    try:
        expected = after.condition_key(text)
    except Exception:
        expected = None
    if expected is None:
        with pytest.raises(ValueError, match="is not a version"):
            version_key(text)
    else:
        assert version_key(text) == expected


@given(relations, relations)
def test_relations_as_crds(one, other):
    try:
        expected = selectors.VersionRelation(one) < selectors.VersionRelation(other)
    except Exception:
        expected = None
    try:
        ours = parse_relation(one), parse_relation(other)
    except ValueError:
        assert expected is None
        return
    assert are_comparable(*ours) == (expected is not None)
    if expected is not None:
        assert (ours[0] < ours[1]) == expected
