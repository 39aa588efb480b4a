"""Regions and tiles: their arithmetic, and the number of times that their pixels are read."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.fits.readers import ArrayReader
from calbatch.models.tiling.tile import REGION, Region, RegionReads, Tile

FRAME = (12, 9)
PIXELS = np.arange(2 * 12 * 9, dtype="f4").reshape(2, *FRAME)


def ranges(length):
    """Generate non-empty half-open ranges below a length."""
    pairs = st.tuples(st.integers(0, length - 1), st.integers(1, length))
    return pairs.filter(lambda pair: pair[0] < pair[1])


regions = st.builds(Region, ranges(FRAME[0]), ranges(FRAME[1]))


class CountingReader(ArrayReader):
    """An array reader that counts its passes over the rows."""

    def __init__(self, array):
        super().__init__(array)
        self.passes = 0

    def _fetch_beside(self, windows, dtype):
        self.passes += 1
        return super()._fetch_beside(windows, dtype)


@given(regions, st.integers(0, 4))
def test_a_grown_region_contains_the_region_and_stays_in_the_frame(region, radius):
    grown = region.grow(radius, FRAME)
    for inner, outer, length in zip(region, grown, FRAME, strict=True):
        assert 0 <= outer[0] <= inner[0] < inner[1] <= outer[1] <= length
        assert inner[0] - outer[0] == min(radius, inner[0])
        assert outer[1] - inner[1] == min(radius, length - inner[1])


@given(regions, st.integers(0, 4))
def test_within_selects_the_same_pixels_from_a_larger_array(region, radius):
    grown = region.grow(radius, FRAME)
    whole = PIXELS[(..., *region.within(Region((0, 12), (0, 9))))]
    part = PIXELS[(..., *grown.within(Region((0, 12), (0, 9))))]
    np.testing.assert_array_equal(part[(..., *region.within(grown))], whole)
    assert whole.shape[-2:] == region.shape


def test_the_region_argument_survives_pickling():
    assert pickle.loads(pickle.dumps(REGION)) is REGION


@given(regions, st.integers(0, 3))
def test_a_cropped_tile_has_only_its_core(region, radius):
    tile = Tile(region.grow(radius, FRAME), region, {"data": ArrayReader(PIXELS)})
    cropped = tile.crop()
    assert cropped.region == cropped.core == region
    expected = PIXELS[:, slice(*region.rows), slice(*region.cols)]
    np.testing.assert_array_equal(cropped.load("data"), expected)
    np.testing.assert_array_equal(tile.core_rows("data"), expected)


def test_a_field_is_read_once():
    reader = CountingReader(PIXELS)
    region = Region((2, 5), (0, 9))
    tile = Tile(region, region, {"data": reader})
    assert tile.load("data") is tile.load("data")
    assert reader.passes == 1


@pytest.mark.parametrize("read", [RegionReads.read_own, RegionReads.read_shared])
def test_regions_on_the_same_rows_are_read_in_one_pass(read):
    reader = CountingReader(PIXELS)
    wanted = [Region((1, 4), (0, 2)), Region((6, 8), (0, 9)), Region((1, 4), (7, 9))]
    reads = RegionReads(wanted)
    for region in wanted:
        expected = PIXELS[:, slice(*region.rows), slice(*region.cols)]
        np.testing.assert_array_equal(read(reads, reader, region), expected)
    assert reader.passes == 2


def test_a_region_that_was_not_announced_is_read_by_itself():
    reader = CountingReader(PIXELS)
    reads = RegionReads([Region((1, 4), (0, 2)), Region((1, 4), (7, 9))])
    np.testing.assert_array_equal(reads.read_own(reader, Region((0, 2), (0, 9))), PIXELS[:, :2])
    assert reader.passes == 1


@given(st.integers(0, 12), st.integers(0, 4), st.integers(0, 6))
def test_a_narrow_tile_has_fewer_rows_and_fields(first, halo, narrow):
    core = Region((min(first, 9), min(first, 9) + 3), (0, FRAME[1]))
    region = core.grow(halo, FRAME)
    rows = slice(*region.rows)
    tile = Tile(region, core, {"data": PIXELS[:, rows], "dq": PIXELS[0, rows]})
    cut = tile.narrow(narrow, ["data"])
    wanted = core.grow(min(narrow, halo), FRAME)
    assert (cut.region, cut.core) == (wanted._replace(cols=region.cols), core)
    np.testing.assert_array_equal(cut.arrays["data"], PIXELS[:, slice(*wanted.rows)])
    assert list(cut.arrays) == ["data"]
