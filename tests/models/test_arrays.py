"""Fields of a model: shapes, defaults, assignment, readers and sections."""

import dask.array as da
import numpy as np
import pytest

from calbatch.models.datamodels import CubeModel, DataModel, ImageModel, LinearityModel, RampModel
from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import ArrayReader, ConstantReader
from calbatch.models.schema.meta import copy_metadata

PIXELS = np.arange(48, dtype="f4").reshape(8, 6)


def test_shapes_are_known_without_reading():
    model = ImageModel(PIXELS, err=PIXELS)
    assert (model.shape, model.frame) == ((8, 6), (8, 6))
    assert model.shape_of("err") == (8, 6)
    assert model.shape_of("dq") is None
    assert (model.has("err"), model.has("dq")) == (True, False)


def test_a_model_without_arrays_has_no_frame():
    model = ImageModel()
    assert model.shape == ()
    with pytest.raises(ModelError, match="holds no arrays yet; assign 'data' first"):
        _ = model.frame


def test_the_primary_array_is_data_or_else_the_first_array():
    assert RampModel().primary == "data"
    assert LinearityModel().primary == "coeffs"
    assert DataModel().primary == "data"


def test_an_absent_array_has_its_default_or_is_none():
    model = RampModel(np.zeros((1, 2, 8, 6)))
    assert model.pixeldq.shape == (8, 6)
    assert model.groupdq.shape == (1, 2, 8, 6)
    assert int(model.groupdq.sum()) == 0
    assert not model.has("groupdq")
    assert ImageModel(PIXELS).area is None


def test_none_removes_an_array():
    model = ImageModel(PIXELS, err=PIXELS)
    model.err = None
    assert not model.has("err")


def test_an_array_of_another_shape_is_off_the_grid():
    model = ImageModel(PIXELS)
    model.area = np.ones((3, 2))
    assert model.area.shape == (3, 2)
    assert isinstance(model.area, np.ndarray)
    assert isinstance(model.data, da.Array)


def test_tile_edges_follow_the_chunks_of_a_first_dask_array():
    model = ImageModel(da.zeros((8, 6), chunks=(3, 6)))
    assert model.data.chunks[0] == (3, 3, 2)


def test_a_reader_is_found_until_its_field_is_computed():
    reader = ArrayReader(PIXELS)
    model = ImageModel()
    model.set_reader("data", reader)
    model.set_reader("err", ConstantReader((8, 6), np.dtype("f4"), 2))
    assert model.reader("data") is reader
    model.data = model.data + 1
    assert model.reader("data") is None
    np.testing.assert_array_equal(model.rows("data").whole(), PIXELS + 1)


def test_a_field_without_a_shape_has_no_rows():
    with pytest.raises(ModelError, match="has no area, and its schema has no default"):
        ImageModel(PIXELS).rows("area")


def test_a_section_has_the_default_of_an_absent_array():
    part = CubeModel((2, 8, 6)).section(1, 3, 2, 4)
    assert part.shape == (2, 3, 4)
    assert part.dq.shape == (2, 3, 4)


def test_metadata_are_copied_deeply():
    tree = {"meta": {"a": [1, {"b": 2}], "c": "text"}}
    copied = copy_metadata(tree)
    copied["meta"]["a"][1]["b"] = 3
    copied["meta"]["c"] = "other"
    assert tree == {"meta": {"a": [1, {"b": 2}], "c": "text"}}
