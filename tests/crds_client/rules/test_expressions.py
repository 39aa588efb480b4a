"""Conditions in rules' headers have the value of Python's expressions; nothing is executed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.crds_client.rules.expressions import Expression, names_of

NAMES = ("DETECTOR", "META.EXPOSURE.TYPE")
atoms = st.sampled_from(["DETECTOR", "META_EXPOSURE_TYPE", "'A'", "'B'", "1", "-2.5", "('A', 'B')"])
compared = st.tuples(
    atoms, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"]), atoms
).map(" ".join)
conditions = st.recursive(
    compared | atoms,
    lambda inner: st.one_of(
        inner.map("(not {})".format),
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(
            lambda parts: f"({''.join(parts)})"
        ),
        st.tuples(inner, inner, inner).map(lambda parts: "({} if {} else {})".format(*parts)),
    ),
    max_leaves=6,
)
headers = st.fixed_dictionaries(
    {"DETECTOR": st.sampled_from("ABC"), "META.EXPOSURE.TYPE": st.sampled_from(["A", "1.0", ""])}
)


@given(conditions, headers)
def test_as_python(text, header):
    names = names_of(header)
    try:
        expected = bool(eval(text, {"__builtins__": {}}, dict(names)))
    except TypeError:
        with pytest.raises(ValueError, match=r"\S"):
            Expression(text, NAMES)(names)
    else:
        assert Expression(text, NAMES)(names) == expected


def test_dotted_names_are_parameters_of_the_header():
    condition = Expression("(META.EXPOSURE.TYPE == 'NRC_IMAGE')", NAMES)
    assert condition(names_of({"META.EXPOSURE.TYPE": "NRC_IMAGE"}))


def test_a_missing_name_is_an_error():
    with pytest.raises(ValueError, match="DETECTOR is missing"):
        Expression("DETECTOR == 'A'", NAMES)({})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "DETECTOR.upper()", "DETECTOR[0]", "1 + 1", "lambda: 1",
        "[x for x in y]", "(x := 1)", "f'{DETECTOR}'", "DETECTOR is None",
        "{1: 2}", "", "a b", "META.OTHER == 1",
        "~DETECTOR", "-DETECTOR", "b'x'", "not " * 20000 + "1", "(" * 300 + "1",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="condition"):
        Expression(text, NAMES)
