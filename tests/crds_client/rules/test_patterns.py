"""Patterns of Match keys answer as crds's matchers do."""

import re

import pytest
from crds.core import selectors
from hypothesis import given
from hypothesis import strategies as st
from support.crds_rules import PATTERNS, VALUES

from calbatch.crds_client.rules.conditioning import condition_key, condition_value
from calbatch.crds_client.rules.mapping import PipelineRules, load_mapping
from calbatch.crds_client.rules.patterns import HIT, MISS, compile_pattern
from calbatch.crds_client.rules.regular import compile_expression

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


NESTED = [
    "((A+)+B)", "((A|A)*B)", "((A{1,9})*B)", "((A*)*B)", "((A|AA)+B)", "((.*A){12}B)", "((A+)*B)",
    "((AA?)+B)", "((A?A)*B)", "((A|A?)+B)", "(((A+)B?)+C)", "((A+A+)+B)", "(A*A*A*A*A*A*A*A*A*B)",
    "((.+)*X)", "((?:A|.)*B)", "((A{2,}){2,}B)",
]  # fmt: skip


@pytest.mark.parametrize("key", NESTED)
def test_no_expression_runs_for_ever(key):
    # Python's engine needs more steps than there are atoms for most of them.
    assert compile_pattern(key)("A" * 20_000) == MISS


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (r"((A)\1)", r"\\1"),
        ("((?P<n>A)(?P=n))", r"\(\?P<n"),
        ("(A(?=B))", r"\(\?=B"),
        ("((?>A+)B)", r"\(\?>"),
        ("((?i)a)", r"\(\?i"),
        ("(A{,3})", r"\{,3"),
        ("([[:alpha:]])", r"\["),
        (r"(A\Z)", r"\\Z"),
        (r"(\pL)", r"\\p"),
        ("(A*+B)", "repe"),
        ("(" + "A" * 2000 + ")", "longer than"),
        ("(A{1000}{1000})", "repe"),
    ],
)
def test_what_both_engines_do_not_read_alike_is_refused_by_name(key, named):
    with pytest.raises(ValueError, match=named):
        compile_pattern(key)


def test_globs_do_not_backtrack():
    assert compile_pattern("*A" * 40 + "*B")("A" * 20_000) == MISS


def test_digits_without_end_are_looked_at_once():
    assert condition_value("1" * 200_000 + "X") == "1" * 200_000 + "X"


expressions = st.recursive(
    st.sampled_from(
        ["A", "B", "1", ".", "[AB]", "[^A]", "[]A]", r"\d", r"\W", r"\.", "^", "$", r"\b"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        inner.map("({})".format),
        inner.map("(?:{})".format),
        st.tuples(
            inner.map("(?:{})".format),
            st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{1,2}?"]),
        ).map("".join),
    ),
    max_leaves=6,
)


@given(expressions, st.text("AB1. -", max_size=8))
def test_expressions_match_as_pythons_do(expression, value):
    wanted = re.compile(expression).match(value) is not None
    assert bool(compile_expression(expression)(value)) == wanted


def test_every_rule_of_the_real_contexts_is_read(real_data):
    folder = real_data / "crds" / "mappings" / "jwst"
    for context in ("jwst_0541.pmap", "jwst_0303.pmap"):
        rules = PipelineRules(
            load_mapping(context, lambda name: (folder / name).read_text()),
            lambda name: (folder / name).read_text(),
        )
        assert all(rules.instrument(name).types for name in rules.instruments)


def test_an_expression_matches_from_the_start_only():
    assert compile_pattern("(B)")("AB") == MISS
