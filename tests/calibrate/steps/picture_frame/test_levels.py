"""Medians found by counting are those of all samples, with any tiles."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.calibrate.steps.picture_frame import levels, regions
from calbatch.models.tiling.plan import Region

FRAME = (84, 82)


def find(data, chosen, heights):
    """Return the medians of tiles of some heights."""
    edges = np.cumsum([0, *heights])
    tiles = [Region((int(a), int(b)), (0, FRAME[1])) for a, b in pairwise(edges)]
    cut = [(data[:, :, slice(*tile.rows)], {"chosen": chosen, "region": tile}) for tile in tiles]
    counted = [levels.count_bins(rows, **where) for rows, where in cut]
    bins = levels.choose_bins(counted, shape=data.shape)
    count = partial(levels.count_levels, bins=bins)
    return levels.find_levels([count(rows, **where) for rows, where in cut])


def choose(rng, fraction):
    background = rng.random(FRAME) < fraction
    zero = np.float32(0)
    return regions.ChosenRegions(
        background=background, at_centre=zero, at_edges=zero, is_empty=False
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1e-30, 1.0, 1e4, 1e30]),
    centre=st.sampled_from([0.0, 3.0, -1e4]),
    fraction=st.sampled_from([0.01, 0.5, 1.0]),
    digits=st.sampled_from([0, 3, 40]),
)
def test_medians_are_exact(seed, scale, centre, fraction, digits):
    rng = np.random.default_rng(seed)
    data = np.round(rng.normal(centre, scale, (2, 3, *FRAME)), digits).astype("f4")
    data[:, 0] = 0
    data[rng.random(data.shape) < 0.1] = np.nan
    data[:, 0] = 0
    chosen = choose(rng, fraction)
    parts = chosen.parts_of(Region((0, FRAME[0]), (0, FRAME[1])))
    wanted = np.full((2, 2, 2), np.nan, "f4")
    for index in np.ndindex(2, 2, 2):
        samples = data[index[0], index[1] + 1][parts[index[2]]]
        if np.isfinite(samples).any():
            wanted[index] = np.nanmedian(samples)
    for heights in ([84], [1, 30, 53], [40, 44]):
        np.testing.assert_array_equal(find(data, chosen, heights), wanted)


def test_a_part_without_samples_has_no_median():
    chosen = choose(np.random.default_rng(0), 0.0)
    assert np.isnan(find(np.ones((1, 2, *FRAME), "f4"), chosen, [84])).all()


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2))
def test_the_order_of_samples_is_kept(samples):
    values = np.array(samples, "f4")
    ordered = levels.order_samples(values)
    np.testing.assert_array_equal(values[np.argsort(ordered, kind="stable")], np.sort(values))
    np.testing.assert_array_equal(levels.restore_samples(ordered), values)


def test_memory_grows_with_the_groups():
    one, many = (levels.estimate_bytes((1, groups, *FRAME)) for groups in (1, 7))
    assert many == pytest.approx(7 * one)
