"""Bounds of differences agree with the definition of a jump."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate.steps.jump.bounds import (
    deviation,
    find_suspects,
    set_bounds,
    sort_differences,
)

THRESHOLDS = np.array([np.inf, np.inf, 6.0, 5.0, 4.0])
"""The step's default thresholds by the number of usable differences."""

# Small integers are exact in single precision, so that no decision depends on rounding.
ramps = st.lists(
    st.lists(st.integers(-9, 9) | st.sampled_from([40, 90, 91, -200]), min_size=6, max_size=6),
    min_size=1,
    max_size=8,
).map(lambda pixels: np.array(pixels, "f4").T.copy())
"""Differences of up to 8 pixels, (6, pixels)."""


def limits(diffs, one_by_one, *, variance=4.0, only=None):
    """Return the suspects, and their bounds, of pixels with NaN for unusable differences."""
    usable = np.isfinite(diffs).sum(axis=0).astype("i4")
    variances = np.full(usable.size, variance)
    suspect = np.ones(usable.size, "i4") if only is None else only
    low, high = np.empty((2, usable.size))
    order = np.empty_like(diffs)
    sort_differences(diffs, one_by_one, order)
    set_bounds(order, one_by_one, usable, variances, THRESHOLDS, suspect, low, high)
    return suspect, low, high


def suspects(diffs, one_by_one, *, variance=4.0):
    """Return the mask of pixels that may have jumps at first sight."""
    usable = np.isfinite(diffs).sum(axis=0).astype("i4")
    found = np.empty(usable.size, "i4")
    order = np.empty_like(diffs)
    sort_differences(diffs, one_by_one, order)
    variances = np.full(usable.size, variance)
    find_suspects(order, one_by_one, usable, variances, THRESHOLDS, found)
    return found


def without_jumps(values, variance):
    """Return the values without the largest deviation, and so on until that is no jump."""
    values = np.sort(np.abs(np.asarray(values, "f8")))
    while values.size >= 2:
        # The largest value is not part of the median of four or more, or of two.
        others = values if values.size == 3 else values[values < values.max()]
        if values.size == 2:
            others = values[:1]
        if others.size == 0:
            break
        median = np.median(others)
        distance = np.abs(values - median)
        sigma = np.sqrt(abs(median) + variance)
        if distance.max() / sigma <= THRESHOLDS[min(values.size, 4)]:
            break
        values = values[distance < distance.max()]
    return values


@pytest.mark.parametrize(("median", "variance"), [(0.0, 9.0), (7.0, 9.0), (-7.0, 9.0), (16.0, 0.0)])
def test_deviation_adds_the_noise_of_photons_and_of_reading(median, variance):
    assert deviation(median, variance) == np.sqrt(abs(median) + variance)


def test_there_is_no_deviation_without_noise():
    assert np.isnan(deviation(0.0, 0.0))


@pytest.mark.parametrize(
    ("absolute", "expected"), [(False, [-5, 1, 3, np.inf]), (True, [1, 3, 5, np.inf])]
)
def test_unusable_differences_are_sorted_last(absolute, expected):
    diffs = np.array([[3], [np.nan], [-5], [1]], "f4")
    order = np.empty_like(diffs)
    sort_differences(diffs, absolute, order)
    assert order[:, 0].tolist() == expected


@given(ramps)
def test_bounds_of_a_single_pass_surround_the_median(diffs):
    suspect, low, high = limits(diffs, False)
    median = np.median(diffs.astype("f8"), axis=0)
    margin = 4 * np.sqrt(np.abs(median) + 4)
    # Both sides are the same few operations on doubles.
    np.testing.assert_allclose(low, median - margin, rtol=1e-14)
    np.testing.assert_allclose(high, median + margin, rtol=1e-14)
    outside = (np.abs(diffs - median) > margin).any(axis=0)
    assert suspect.tolist() == outside.tolist()


@given(ramps)
def test_bounds_of_the_iteration_are_those_without_jumps(diffs):
    suspect, low, high = limits(diffs, True)
    for x, pixel in enumerate(diffs.T):
        left = without_jumps(pixel, 4.0)
        assert (low[x], high[x]) == ((left[0], left[-1]) if left.size else (np.inf, -np.inf))
        assert suspect[x] == (left.size < pixel.size)


def test_the_iteration_finds_a_jump_that_a_larger_one_hides():
    diffs = np.array([[0, 0, 40, 1000, 0, 0]], "f4").T.copy()
    suspect, low, high = limits(diffs, True)
    assert (suspect[0], low[0], high[0]) == (1, 0, 0)


@pytest.mark.parametrize(("count", "limit"), [(2, 6), (3, 5), (4, 4), (5, 4)])
def test_few_differences_have_higher_thresholds(count, limit):
    diffs = np.zeros((6, 2), "f4")
    diffs[count:] = np.nan
    diffs[0] = [2 * limit, 2 * limit + 1]  # sigma is 2
    suspect, _, _ = limits(diffs, True)
    assert suspect.tolist() == [0, 1]


def test_pixels_without_usable_differences_have_no_bounds():
    diffs = np.full((6, 1), np.nan, "f4")
    suspect, low, high = limits(diffs, False)
    assert suspect[0] == 0
    assert np.isnan([low[0], high[0]]).all()


def test_only_suspects_have_bounds():
    diffs = np.array([[0, 0, 90, 0, 0, 0]] * 2, "f4").T.copy()
    suspect, low, _ = limits(diffs, False, only=np.array([1, 0], "i4"))
    assert suspect.tolist() == [1, 0]
    assert (low[0], np.isnan(low[1])) == (-8, True)


@given(ramps, st.booleans())
def test_every_pixel_with_a_jump_is_a_suspect(diffs, one_by_one):
    certain, _, _ = limits(diffs, one_by_one)
    assert np.all(suspects(diffs, one_by_one) >= certain)


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize(
    ("pixel", "is_suspect"),
    [
        ([1, 2, 3, 2, 1, 4], 0),
        ([1, 2, 90, 2, 1, 4], 1),
        ([1, 2, np.nan, 2, 1, 4], 1),
        ([1, 2, 4, 2, 1, 4], 1),
    ],
    ids=["calm", "large", "unusable", "equal"],
)
def test_calm_pixels_are_no_suspects(pixel, is_suspect, one_by_one):
    diffs = np.array([pixel], "f4").T.copy()
    assert suspects(diffs, one_by_one).tolist() == [is_suspect]
