"""Bounds of sigma clipping agree with astropy's, and bounds of medians with NumPy's."""

from itertools import pairwise

import numpy as np
import pytest
from astropy.stats import sigma_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.calibrate.steps.jump.sigma_clipping import group_differences, set_clipped_bounds


def draw_differences(seed, rows, columns):
    """Return normal deviates, (rows, columns)."""
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype("f4")


def clip(diffs, population, threshold):
    """Return suspects, bounds of their medians, and bounds of clipping by population."""
    populations, size = max(population) + 1, diffs.shape[1]
    suspect, (lowest, highest) = np.empty(size, np.int32), np.empty((2, size))
    low, high = np.empty((2, populations, size))
    usable = np.sum(~np.isnan(diffs), axis=0, dtype=np.int32)
    members = group_differences(np.asarray(population), populations)
    set_clipped_bounds(diffs, members, threshold, usable, suspect, lowest, highest, low, high)
    return suspect, (lowest, highest), (low, high)


def test_differences_are_grouped_by_population():
    members, starts = group_differences(np.array([2, 0, 2, 0, 0]), 3)
    assert [members[a:b].tolist() for a, b in pairwise(starts)] == [
        [1, 3, 4], [], [0, 2],
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Input data contains invalid values")  # this is tested
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([0.0, 1.0, 2.5, 4.0]),
    st.sampled_from([0, 3e4]),
)  # fmt: skip
def test_clipping_agrees_with_astropy(seed, rows, threshold, offset):
    rng = np.random.default_rng(seed)
    diffs = draw_differences(seed, rows, 12) * np.float32(10)
    diffs[:, :6][rng.random((rows, 6)) < 0.1] *= 30
    diffs += np.float32(offset)
    for value in (np.nan, np.inf):
        diffs[:, 3:9][rng.random((rows, 6)) < 0.05] = value
    suspect, _, ((low,), (high,)) = clip(diffs, np.zeros(rows, int), threshold)
    clipped, wanted_low, wanted_high = sigma_clip(
        diffs.astype("f8"), sigma=threshold, axis=0, masked=True, return_bounds=True
    )
    outliers = (np.isfinite(diffs) & clipped.mask).any(axis=0)
    assert np.array_equal(suspect == 1, outliers)
    examined = np.isfinite(low)
    assert np.all(examined >= outliers)
    assert np.array_equal(np.isnan(low), ~np.isfinite(diffs).any(axis=0))
    # the order of summation differs
    for found, wanted in ((low, wanted_low), (high, wanted_high)):
        np.testing.assert_allclose(found[examined], wanted[examined], rtol=1e-10, atol=1e-10)


def test_the_largest_difference_is_judged_by_the_median_and_not_by_the_mean():
    # The median is -1; the largest lies 4.01 standard deviations above it, or 3.67 above the mean.
    pixel = np.array([-1.0] * 67 + [1.0] * 33 + [3.37])
    threshold = (pixel.max() + 1) / pixel.std()
    diffs = np.stack([pixel] * 2, axis=1).astype("f4")
    for factor, expected in ((1.0001, 0), (0.9999, 1)):
        suspect, _, _ = clip(diffs, np.zeros(pixel.size, int), threshold * factor)
        assert suspect.tolist() == [expected] * 2


def test_populations_are_clipped_separately():
    diffs = np.concatenate([draw_differences(2, 30, 4), 1000 + draw_differences(3, 30, 4)])
    diffs[[3, 40]] = [[90], [910]]
    suspect, _, (low, high) = clip(diffs, np.repeat([0, 1], 30), 4.0)
    assert suspect.tolist() == [1] * 4
    assert np.all(high[0] < 90)
    assert np.all(low[1] > 910)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.sampled_from([1.0, 2.5, 4.0]))
def test_the_median_of_all_populations_is_within_its_bounds(seed, rows, threshold):
    rng = np.random.default_rng(seed)
    diffs = rng.integers(-5, 5, (rows, 9)).astype("f4")
    diffs[rng.random(diffs.shape) < 0.1] *= 30
    diffs[:, 5:][rng.random((rows, 4)) < 0.2] = np.nan
    diffs[0, 8] = np.inf
    _, (lowest, highest), _ = clip(diffs, rng.integers(0, 3, rows), threshold)
    for pixel, least, most in zip(diffs.T, lowest, highest, strict=True):
        known = pixel[~np.isnan(pixel)]
        if known.size:
            assert least <= np.median(known) <= most
        else:
            assert (least, most) == (-np.inf, np.inf)
