"""Models of some rows behave as models of those rows alone."""

import dask
import numpy as np
import pytest

from calbatch.models.datamodels import RampModel
from calbatch.models.errors import ModelError
from calbatch.models.row_selection import rearrange_frame, select_rows
from calbatch.models.tiling.patches import Patch, PatchedRows
from calbatch.models.tiling.tile import Region

ROWS = np.array([1, 2, 5, 6, 9])


def model():
    rng = np.random.default_rng(0)
    made = RampModel(rng.normal(size=(2, 3, 11, 6)).astype("f4"))
    made.pixeldq = rng.integers(0, 9, (11, 6)).astype("u4")
    made.meta.instrument.detector = "NRS1"
    return made


def double(data):
    return data * 2


def mean_of_neighbours(data):
    padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
    return (padded[..., :-2, :] + padded[..., 2:, :]) / np.float32(2)


def test_arrays_and_metadata_are_selected():
    whole = model()
    part = select_rows(whole, ROWS)
    assert part.frame == (5, 6)
    assert part.shape == (2, 3, 5, 6)
    assert part.meta.instrument.detector == "NRS1"
    for name in ("data", "pixeldq"):
        found, wanted = (np.asarray(getattr(each, name)) for each in (part, whole))
        assert np.array_equal(found, wanted[..., ROWS, :])
    assert whole.frame == (11, 6)


@pytest.mark.parametrize("height", [1, 2, 5])
def test_operations_continue_in_the_smaller_frame(height, tmp_path):
    whole = model().map_tiles(double, outputs=("data",))
    part = select_rows(whole, ROWS).map_tiles(mean_of_neighbours, outputs=("data",), radius=1)
    with dask.config.set({"calbatch.tile-rows": height}):
        path = part.save(tmp_path / "part.fits", fsync=False)
    wanted = mean_of_neighbours(np.asarray(model().data)[..., ROWS, :] * 2)
    assert np.array_equal(np.asarray(RampModel(path).data), wanted)


def test_absent_fields_get_the_smaller_frame():
    assert select_rows(model(), ROWS).groupdq.shape == (2, 3, 5, 6)


@pytest.mark.parametrize("rows", [[3, 1], [2, 2], [-1, 4], [4, 11]])
def test_rows_must_be_in_order_within_the_frame(rows):
    with pytest.raises(ModelError, match=r"cannot select rows .* \(11, 6\)"):
        select_rows(model(), np.array(rows))


def test_a_frame_is_rearranged_without_reading_it():
    whole = model()
    doubled = whole.map_tiles(double, ("data",))
    half = Region((0, 11), (3, 6))
    patches = [Patch(half, Region((0, 11), (0, 3)))]

    def place(name, reader):
        if name == "pixeldq":
            return None
        return PatchedRows(reader, patches, (*reader.shape[:-2], 11, 3))

    part = rearrange_frame(doubled, (11, 3), place)
    assert part.frame == (11, 3)
    assert not part.has("pixeldq")
    assert np.array_equal(np.asarray(part.data), 2 * np.asarray(whole.data)[..., 3:])
    assert doubled.frame == (11, 6)
