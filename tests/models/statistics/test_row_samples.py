"""Samples of rows: usable pixels only, and the same ones in any tile."""

from functools import cache
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models import dq
from calbatch.models.statistics.row_samples import (
    ROWS,
    TileSampler,
    choose_rows,
    join_samples,
    sample_rows,
)
from calbatch.models.tiling.tile import Region, Tile

SHAPE = (200, 150)


@cache
def arrays():
    rng = np.random.default_rng(5)
    flags = np.where(rng.random(SHAPE) < 0.1, dq.DO_NOT_USE, dq.GOOD).astype(np.uint32)
    return {
        "data": rng.normal(10, 2, (2, *SHAPE)).astype("f4"),
        "err": rng.random((2, *SHAPE)).astype("f4"),
        "dq": np.stack([flags, flags | dq.JUMP_DET]),
    }


def samples(edges):
    """Return the joined samples of a product that is cut at some rows."""
    sampler = TileSampler(frame=SHAPE, flags={"dq": "dq"}, data="data", errors="err", quality="dq")
    tiles = []
    for start, stop in pairwise(edges):
        core = Region((start, stop), (0, SHAPE[1]))
        region = core.grow(3, SHAPE)
        held = {name: array[..., slice(*region.rows), :] for name, array in arrays().items()}
        tiles.append(sampler(Tile(region, core, held)))
    return join_samples(tiles[::-1])


@settings(max_examples=25)
@given(cuts=st.sets(st.integers(1, SHAPE[0] - 1), max_size=5))
def test_samples_do_not_depend_on_the_tiling(cuts):
    whole_counts, whole = samples([0, SHAPE[0]])
    counts, rows = samples([0, *sorted(cuts), SHAPE[0]])
    np.testing.assert_array_equal(counts["dq"], whole_counts["dq"])
    for found, wanted in zip(rows, whole, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_bins_are_means_of_usable_pixels():
    data, flags = arrays()["data"][0], arrays()["dq"][0]
    rows = choose_rows(SHAPE[0])
    _, sampled = samples([0, SHAPE[0]])
    assert sampled.means.shape == (ROWS, ROWS)
    edges = [*(np.arange(ROWS) * SHAPE[1] // ROWS), SHAPE[1]]
    for j in (0, 17, ROWS - 1):
        part = np.s_[rows, edges[j] : edges[j + 1]]
        held = np.ma.masked_array(data[part], flags[part] & dq.DO_NOT_USE)
        wanted = held.astype("f8").mean(axis=1).filled(np.nan)
        np.testing.assert_allclose(sampled.means[:, j], wanted, rtol=1e-6)  # float32


def test_the_first_integration_and_the_last_group_are_sampled():
    ramp = np.arange(2 * 3 * 4 * 5, dtype="f4").reshape(2, 3, 4, 5)
    region = Region((0, 4), (0, 5))
    tile = Tile(region, region, {"data": ramp})
    sampled = TileSampler(frame=(4, 5), data="data")(tile).rows
    np.testing.assert_array_equal(sampled.levels, ramp[0, -1, :, :4])
    np.testing.assert_array_equal(sampled.differences, 1)
    assert np.isnan(sampled.errors).all()


def test_values_that_are_not_finite_are_not_usable():
    data = np.array([[1.0, np.nan, 3.0, np.inf, 5.0, 1e300]])
    sampled = sample_rows(data, None, None)
    np.testing.assert_array_equal(sampled.means, [[1, np.nan, 3, np.nan, 5, np.nan]])
    assert np.isnan(sampled.differences).all()


def test_a_frame_of_one_column_has_samples():
    sampled = sample_rows(np.ones((3, 1), np.int32), None, None)
    np.testing.assert_array_equal(sampled.levels, np.ones((3, 1)))


def test_chosen_rows_are_in_the_frame_and_distinct():
    for count in (1, 5, 95, 96, 97, 2048):
        rows = choose_rows(count)
        assert len(set(rows)) == min(count, ROWS)
        assert 0 <= rows.min() <= rows.max() < count


def test_reference_pixels_are_not_sampled_whatever_the_type_of_the_flags():
    flags = np.array([[dq.REFERENCE_PIXEL, 0, 0, dq.DO_NOT_USE]], np.uint32)
    for kind in (np.uint32, np.int32, np.uint8):
        sampled = sample_rows(np.ones((1, 4), "f4"), None, flags.astype(kind))
        usable = [kind is np.uint8, True, True, False]  # which has no such flag
        np.testing.assert_array_equal(np.isfinite(sampled.means[0]), usable)
