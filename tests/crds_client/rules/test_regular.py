"""Regular expressions of rules: as in Python, but in linear time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.crds_client.rules.regular import compile_expression

NESTED = [
    "((A+)+B)", "((A|A)*B)", "((A{1,9})*B)", "((A*)*B)", "((A|AA)+B)", "((.*A){12}B)", "((A+)*B)",
    "((AA?)+B)", "((A?A)*B)", "((A|A?)+B)", "(((A+)B?)+C)", "((A+A+)+B)", "(A*A*A*A*A*A*A*A*A*B)",
    "((.+)*X)", "((?:A|.)*B)", "((A{2,}){2,}B)",
]  # fmt: skip


@pytest.mark.parametrize("key", NESTED)
def test_no_expression_runs_for_ever(key):
    # Python's engine needs more steps than there are atoms for most of them.
    assert not compile_expression(key)("A" * 20_000)


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
def test_constructs_that_the_engines_interpret_differently_are_rejected(key, named):
    with pytest.raises(ValueError, match=named):
        compile_expression(key)


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


def test_an_expression_matches_from_the_start_only():
    assert not compile_expression("B")("AB")
    assert compile_expression("A")("AB")
