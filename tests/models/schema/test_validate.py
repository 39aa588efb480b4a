"""Validation of metadata: valid values, messages and environment variables."""

import datetime
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from stdatamodels.jwst.datamodels import ImageModel

from calbatch.models.errors import UnknownNameError, ValidationError, ValidationWarning
from calbatch.models.schema.spec import KeywordSpec, load_schema
from calbatch.models.schema.validate import (
    check_assignment,
    is_enabled,
    misfit_reason,
    to_plain,
    validate_tree,
    validate_value,
)

FILTER = KeywordSpec("meta.filter", "FILTER", type="string", enum=("CLEAR", "F200W"))
SWITCHES = ("PASS_INVALID_VALUES", "STRICT_VALIDATION", "VALIDATE_ON_ASSIGNMENT")


@pytest.fixture(autouse=True)
def no_switches(monkeypatch):
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)


def fault(spec, value, where=""):
    with pytest.raises(ValidationError) as caught:
        validate_value(spec, value, where=where)
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "value", "reason"),
    [
        (FILTER, "CLEAR", None),
        (FILTER, "F444W", "FILTER = 'F444W': must be one of CLEAR, F200W"),
        (KeywordSpec("n", "NINTS", type="integer"), "5", "is text; a whole number is needed"),
        (KeywordSpec("n", "NINTS", type="integer"), 1.5, "must be an integer, not float"),
        (KeywordSpec("t", "TIME", type="string", pattern="^[0-9]+$"), "x", "must match"),
    ],
)
def test_the_reason_why_a_card_does_not_fit_names_its_keyword(spec, value, reason):
    found = misfit_reason(spec, value)
    if reason is None:
        assert found is None
    else:
        assert found.startswith(f"{spec.keyword} = {value!r}")
        assert reason in found


integers = st.integers(-(2**63), 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
rules = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", "array", "object"]),
        "minimum": st.integers(-3, 3),
        "maximum": st.integers(-3, 3),
        "pattern": st.sampled_from(["^a", "b$", "[0-9]+"]),
    },
)


class TestValues:
    @given(rules, json_values)
    def test_validation_agrees_with_jsonschema(self, rule, value):
        spec = KeywordSpec("meta.x", **rule)
        allowed = value is None or Draft202012Validator(rule).is_valid(value)
        if allowed:
            assert validate_value(spec, value) == value
        else:
            assert fault(spec, value)

    def test_other_rules_of_json_schema_are_checked(self):
        spec = KeywordSpec("meta.x", others={"items": {"type": "number"}, "minItems": 2})
        assert validate_value(spec, [1, 2.5]) == [1, 2.5]
        assert "meta.x" in fault(spec, [1, "a"])

    @pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
    def test_integers_must_fit_into_64_bits(self, value):
        assert "64 bits" in fault(KeywordSpec("meta.x"), value)

    def test_none_is_not_set_and_always_valid(self):
        assert validate_value(FILTER, None) is None

    def test_booleans_are_not_numbers(self):
        assert "must be an integer, not bool" in fault(KeywordSpec("m", type="integer"), True)
        assert "must be a boolean, not int" in fault(KeywordSpec("m", type="boolean"), 1)

    @pytest.mark.parametrize(
        ("kind", "given", "plain"),
        [
            ("integer", np.int16(3), 3),
            ("number", np.float32(0.5), 0.5),
            ("boolean", np.bool_(True), True),
            ("string", np.str_("a"), "a"),
            ("array", np.array([1, 2]), [1, 2]),
            ("array", (1, 2), [1, 2]),
            ("integer", 3.0, 3),
            ("string", datetime.date(2022, 7, 1), "2022-07-01"),
        ],
    )
    def test_values_become_plain_python(self, kind, given, plain):
        found = validate_value(KeywordSpec("meta.x", type=kind), given)
        assert found == plain
        assert type(found) is type(plain)

    def test_a_fraction_is_not_an_integer(self):
        assert "must be an integer, not float" in fault(KeywordSpec("m", type="integer"), 2.5)

    @given(json_values)
    def test_plain_values_are_not_changed(self, value):
        assert to_plain(value) == value


class TestMessages:
    def test_a_message_names_file_keyword_path_value_and_allowed_values(self):
        assert fault(FILTER, "F999W", "a.fits") == (
            "a.fits: FILTER (meta.filter) = 'F999W': must be one of CLEAR, F200W"
        )

    def test_the_nearest_of_many_allowed_values_are_named(self):
        spec = load_schema("core").keywords["meta.instrument.filter"]
        message = fault(spec, "F201W")
        assert f"one of {len(spec.enum)} values, nearest " in message
        assert "F200W" in message

    def test_limits_are_named(self):
        spec = KeywordSpec("meta.x", minimum=1, maximum=3)
        assert fault(spec, 0).endswith("must be at least 1")
        assert fault(spec, 4).endswith("must be at most 3")

    def test_a_huge_value_is_shortened(self):
        assert len(fault(FILTER, "x" * 10_000)) < 300


class TestAssignment:
    schema = load_schema("core")

    def test_a_valid_value_is_accepted(self):
        assert check_assignment(self.schema, "meta.instrument.name", "MIRI") == (True, "MIRI")

    def test_an_invalid_value_is_refused_with_a_warning(self):
        with pytest.warns(ValidationWarning, match="INSTRUME .* 'HST': must be one of NIRCAM"):
            accepted, _ = check_assignment(self.schema, "meta.instrument.name", "HST")
        assert not accepted

    @pytest.mark.parametrize("path", ["meta.users", "meta.users.own", "meta.instrument.nam"])
    def test_unknown_names_are_refused(self, path):
        with pytest.raises(UnknownNameError, match=r"has no '(users|nam)'"):
            check_assignment(self.schema, path, [1])

    def test_unknown_names_are_kept_only_if_invalid_values_pass(self, monkeypatch):
        monkeypatch.setenv("PASS_INVALID_VALUES", "1")
        with pytest.warns(ValidationWarning, match="has no 'users'"):
            assert check_assignment(self.schema, "meta.users", [1]) == (True, [1])

    def test_names_inside_a_value_are_free(self, tmp_path):
        path = tmp_path / "s.yaml"
        path.write_text("properties: {meta: {any: {type: array, fits_keyword: A}}}")
        assert check_assignment(load_schema(path), "meta.any.thing", 1) == (True, 1)

    def test_a_mapping_can_be_assigned_to_a_branch(self):
        value = {"name": "MIRI", "detector": "MIRIMAGE"}
        assert check_assignment(self.schema, "meta.instrument", value) == (True, value)

    @pytest.mark.parametrize("value", [{"name": "HST", "filter": "CLEAR"}, "MIRI"])
    def test_invalid_values_of_a_branch_are_refused(self, value):
        with pytest.warns(ValidationWarning, match="instrument"):
            assert not check_assignment(self.schema, "meta.instrument", value)[0]

    def test_the_default_agrees_with_stdatamodels(self):
        ours, theirs = {}, ImageModel()
        for value in ("MIRI", "HST", 3, None, "FGS"):
            with warnings.catch_warnings(record=True) as theirs_said:
                warnings.simplefilter("always")
                theirs.meta.instrument.name = value
            with warnings.catch_warnings(record=True) as ours_said:
                warnings.simplefilter("always")
                accepted, value = check_assignment(self.schema, "meta.instrument.name", value)
            if accepted:
                ours["name"] = value
            assert ours.get("name") == theirs.meta.instrument.name
            assert len(ours_said) == len(theirs_said)


class TestSwitches:
    schema = load_schema("core")

    def test_pass_invalid_values_warns_and_accepts(self, monkeypatch):
        monkeypatch.setenv("PASS_INVALID_VALUES", "true")
        with pytest.warns(ValidationWarning):
            assert check_assignment(self.schema, "meta.instrument.name", "HST") == (True, "HST")

    def test_strict_validation_raises(self, monkeypatch):
        monkeypatch.setenv("STRICT_VALIDATION", "1")
        with pytest.raises(ValidationError, match=r"a\.fits: INSTRUME"):
            check_assignment(self.schema, "meta.instrument.name", "HST", where="a.fits")

    def test_validation_on_assignment_can_be_disabled(self, monkeypatch):
        monkeypatch.setenv("VALIDATE_ON_ASSIGNMENT", "no")
        assert check_assignment(self.schema, "meta.instrument.name", "HST") == (True, "HST")

    @pytest.mark.parametrize("text", ["1", "true", "T", "Yes", "y"])
    def test_true_values_of_variables(self, monkeypatch, text):
        monkeypatch.setenv("STRICT_VALIDATION", text)
        assert is_enabled("STRICT_VALIDATION", default=False)

    @pytest.mark.parametrize("text", ["0", "false", "F", "No", "n", ""])
    def test_false_values_of_variables(self, monkeypatch, text):
        monkeypatch.setenv("STRICT_VALIDATION", text)
        assert not is_enabled("STRICT_VALIDATION", default=True)

    def test_other_values_of_variables_are_errors(self, monkeypatch):
        monkeypatch.setenv("STRICT_VALIDATION", "maybe")
        with pytest.raises(ValidationError, match="STRICT_VALIDATION='maybe'"):
            is_enabled("STRICT_VALIDATION", default=False)


class TestTrees:
    schema = load_schema("core")

    def test_each_invalid_value_is_dropped_with_a_warning(self):
        data = {"meta": {"instrument": {"name": "HST", "filter": "CLEAR"}, "date": 3}}
        with pytest.warns(ValidationWarning) as caught:
            valid = validate_tree(self.schema, data, "a.fits")
        assert valid == {"meta": {"instrument": {"filter": "CLEAR"}}}
        assert [str(w.message).split(":")[1].split()[0] for w in caught] == ["INSTRUME", "DATE"]
        assert all(str(w.message).startswith("a.fits: ") for w in caught)

    def test_unknown_names_are_dropped_with_a_warning(self):
        data = {"meta": {"own": 1, "date": "2026"}}
        with pytest.warns(ValidationWarning, match=r"a\.fits: meta has no 'own'"):
            assert validate_tree(self.schema, data, "a.fits") == {"meta": {"date": "2026"}}

    def test_unknown_names_are_kept_where_invalid_values_pass(self, monkeypatch):
        monkeypatch.setenv("PASS_INVALID_VALUES", "1")
        data = {"meta": {"instrument": {"name": "HST"}}}
        with pytest.warns(ValidationWarning):
            assert validate_tree(self.schema, data) == data

    def test_strict(self, monkeypatch):
        monkeypatch.setenv("STRICT_VALIDATION", "1")
        with pytest.raises(ValidationError, match="INSTRUME"):
            validate_tree(self.schema, {"meta": {"instrument": {"name": "HST"}}})

    def test_the_input_is_not_changed(self):
        data = {"meta": {"date": 3}, "history": ["a"]}
        with pytest.warns(ValidationWarning):
            valid = validate_tree(self.schema, data)
        assert data == {"meta": {"date": 3}, "history": ["a"]}
        assert valid["history"] == ["a"]

    def test_missing_required_values_are_an_error(self, tmp_path, monkeypatch):
        path = tmp_path / "s.yaml"
        path.write_text(
            "properties: {meta: {required: [a], a: {type: string, fits_keyword: A}, b: {}}}"
        )
        schema = load_schema(path)
        assert validate_tree(schema, {"meta": {"a": "x"}}) == {"meta": {"a": "x"}}
        with pytest.raises(ValidationError, match=r"A \(meta\.a\) = None: is required"):
            validate_tree(schema, {"meta": {"b": 1}})
        monkeypatch.setenv("PASS_INVALID_VALUES", "1")
        with pytest.warns(ValidationWarning, match=r"A \(meta\.a\) = None: is required"):
            validate_tree(schema, {"meta": {"b": 1}})
