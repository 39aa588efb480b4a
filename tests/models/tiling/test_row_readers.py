"""Readers that place or choose rows agree with plain indexing."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.datamodels import RampModel
from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import ArrayReader
from calbatch.models.tiling.row_readers import ChosenRows, SpreadRows

HEIGHT, WIDTH = 12, 7
DATA = np.arange(2 * 3 * HEIGHT * WIDTH, dtype="f4").reshape(2, 3, HEIGHT, WIDTH)


def add_neighbours(data):
    """Add the rows above and below; beyond the array there are none."""
    padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (0, 0)))
    return padded[..., :-2, :] + data + padded[..., 2:, :]


def level(data):
    return float(data.sum())


def minus(data, *, value):
    return data - value


def add(values):
    return sum(values)


rows_of = st.sets(st.integers(0, HEIGHT - 1), min_size=1).map(lambda rows: np.array(sorted(rows)))


@given(rows_of, st.data())
def test_spread_rows_are_zero_elsewhere(rows, data):
    first = data.draw(st.integers(0, HEIGHT))
    last = data.draw(st.integers(first, HEIGHT))
    wanted = np.zeros_like(DATA)
    wanted[..., rows, :] = DATA[..., : rows.size, :]
    reader = SpreadRows(ArrayReader(DATA[..., : rows.size, :]), rows, HEIGHT)
    assert reader.shape == DATA.shape
    assert np.array_equal(reader.read((first, last), (2, 6)), wanted[..., first:last, 2:6])
    assert np.array_equal(reader.planes(slice(1, 2)).whole(), wanted[1:2])


def test_a_spread_image_has_two_dimensions():
    reader = SpreadRows(ArrayReader(DATA[0, 0, :2]), np.array([1, 4]), 5)
    assert reader.whole()[[1, 4]].tolist() == DATA[0, 0, :2].tolist()


@given(rows_of, st.data())
def test_chosen_rows_are_computed_from_their_neighbours(rows, data):
    first = data.draw(st.integers(0, rows.size))
    last = data.draw(st.integers(first, rows.size))
    model = RampModel(DATA).map_tiles(add_neighbours, outputs=("data",), radius=1)
    reader = ChosenRows(model._content.node, "data", DATA.shape, np.dtype("f4"), rows)
    wanted = add_neighbours(DATA)[..., rows[first:last], :]
    left, right = reader.read_beside((first, last), [(0, 2), (5, 7)])
    assert np.array_equal(left, wanted[..., :2])
    assert np.array_equal(right, wanted[..., 5:])
    again = pickle.loads(pickle.dumps(reader))
    assert np.array_equal(again.read((first, last), (0, WIDTH)), wanted)


def test_planes_of_chosen_rows():
    model = RampModel(DATA).map_tiles(add_neighbours, outputs=("data",), radius=1)
    reader = ChosenRows(model._content.node, "data", DATA.shape, np.dtype("f4"), np.array([3, 5]))
    planes = reader.planes((slice(1, 2), slice(0, 2)))
    assert np.array_equal(planes.whole(), add_neighbours(DATA)[1:2, :2, [3, 5]])


def test_values_of_the_frame_are_named():
    model = RampModel(DATA)
    value = model.reduce(level, add)
    node = model.map_tiles(minus, outputs=("data",), value=value)._content.node
    with pytest.raises(ModelError, match="data depends on values of the whole frame before rows"):
        ChosenRows(node, "data", DATA.shape, np.dtype("f4"), np.array([1]))
    other = ChosenRows(node, "pixeldq", DATA.shape[-2:], np.dtype("u4"), np.array([1]))
    assert other.shape == (1, WIDTH)
