"""Parts of trees are checked against their schema."""

import numpy as np
import pytest
import yaml

from calbatch.models.asdf.tagged import TaggedValue
from calbatch.models.errors import SchemaError, ValidationError
from calbatch.models.schema.parts import check_part
from calbatch.models.schema.spec import load_schema

SHIFT = TaggedValue("tag:stsci.edu:asdf/transform/shift-1.4.0", {"offset": 1.0})


@pytest.fixture
def check(tmp_path):
    """Return a function that checks a part against a definition."""

    def check_definition(definition, value):
        path = tmp_path / "a.schema.yaml"
        path.write_text(yaml.dump({"stored_as": "asdf", "properties": {"part": definition}}))
        return check_part(load_schema(path).parts["part"].node, value, "part", "file.asdf")

    return check_definition


@pytest.mark.parametrize(
    ("definition", "value", "message"),
    [
        ({"tag": "transform"}, {"a": 1}, "part: must be a transform, not dict"),
        ({"datatype": "float32"}, [[1], [2, 3]], "part: must be an array"),
        ({"datatype": "float32"}, [1j], "must be an array of float32, not of complex128"),
        ({"ndim": 2}, [1, 2], "must have 2 dimensions, has 1"),
        ({"max_ndim": 1}, [[1, 2]], "must have at most 1 dimensions, has 2"),
        ({"type": "object"}, [1], "must be a mapping, not list"),
        ({"required": ["a"], "properties": {"a": {"type": "integer"}}}, {}, "part: a is required"),
        ({"properties": {"a": {"type": "integer"}}}, {"a": "x"}, r"part\.a = 'x': must be an"),
        ({"type": "array", "items": {"tag": "table"}}, 5, "must be a list, not int"),
        (
            {"type": "array", "items": {"type": "number"}, "maxItems": 2},
            [1, 2, 3],
            "has 3 items, must have 0 to 2",
        ),
        ({"type": "array", "items": {"type": "number"}}, [1, "x"], r"part\[1\] = 'x'"),
        ({"type": "string", "enum": ["a"]}, "b", "must be one of a"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(check, definition, value, message):
    with pytest.raises(ValidationError, match=message):
        check(definition, value)


def test_arrays_get_the_type_of_the_schema(check):
    found = check({"datatype": "float32"}, [1, 2])
    assert found.dtype == np.float32
    nested = {"type": "array", "items": {"properties": {"a": {"datatype": "float32"}}}}
    found = check(nested, [{"a": np.arange(2.0), "b": "kept"}])
    assert found[0]["a"].dtype == np.float32
    assert found[0]["b"] == "kept"


def test_what_fits_is_returned(check):
    assert check({"tag": "transform"}, SHIFT) is SHIFT
    assert check({"type": "integer"}, 3.0) == 3
    assert check({"type": "integer"}, None) is None


def test_the_format_of_a_schema_is_known(tmp_path):
    path = tmp_path / "a.schema.yaml"
    path.write_text("stored_as: hdf5\n")
    with pytest.raises(SchemaError, match="stored_as 'hdf5': one of fits, asdf, json"):
        load_schema(path)
