"""Order statistics and bounds of the jump step agree with NumPy and astropy."""

import warnings

import numpy as np
import pytest
from astropy.stats import sigma_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.calibrate.steps.jump.bounds import set_clipped_bounds
from calbatch.calibrate.steps.jump.sort import find_medians, sort_columns


def drawn(seed, rows, columns, equal=False):
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    return (np.round(values) if equal else values).astype("f4")


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 70), st.integers(1, 40), st.booleans())
def test_columns_are_sorted(seed, rows, columns, equal):
    values = drawn(seed, rows, columns, equal)
    wanted = np.sort(values, axis=0)
    sort_columns(values, rows)
    np.testing.assert_array_equal(values, wanted)


def test_only_the_first_rows_are_sorted():
    values = drawn(1, 9, 5)
    rest = values[6:].copy()
    wanted = np.sort(values[:6], axis=0)
    sort_columns(values, 6)
    np.testing.assert_array_equal(values[:6], wanted)
    np.testing.assert_array_equal(values[6:], rest)


def test_infinities_sort_last():
    values = np.array([[np.inf], [1.0], [-np.inf], [np.inf], [0.0]], "f4")
    sort_columns(values, 5)
    np.testing.assert_array_equal(values[:, 0], [-np.inf, 0, 1, np.inf, np.inf])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([0, 0.3, 1]))
def test_medians_ignore_nan(seed, rows, missing):
    values = drawn(seed, rows, 12)
    values[np.random.default_rng(seed).random(values.shape) < missing] = np.nan
    picked = np.array([0, 3, 11])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        wanted = np.nanmedian(values[:, picked].astype("f8"), axis=0)
    np.testing.assert_array_equal(find_medians(values, picked), wanted)


@pytest.mark.filterwarnings("ignore:Input data contains invalid values")  # this is tested
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([1.0, 2.5, 4.0]))
def test_clipping_agrees_with_astropy(seed, rows, threshold):
    rng = np.random.default_rng(seed)
    diffs = drawn(seed, rows, 12) * np.float32(10)
    diffs[rng.random(diffs.shape) < 0.1] *= 30
    for value in (np.nan, np.inf):
        diffs[rng.random(diffs.shape) < 0.05] = value
    low, high = np.empty((2, 1, 12))
    suspect = np.empty(12, np.int32)
    set_clipped_bounds(diffs, np.zeros(rows, int), threshold, suspect, low, high)
    clipped, wanted_low, wanted_high = sigma_clip(
        diffs.astype("f8"), sigma=threshold, axis=0, masked=True, return_bounds=True
    )
    # the order of summation differs
    np.testing.assert_allclose(low[0], wanted_low, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(high[0], wanted_high, rtol=1e-10, atol=1e-10)
    outliers = np.isfinite(diffs) & clipped.mask
    assert np.all(suspect[outliers.any(axis=0)] == 1)


def test_populations_are_clipped_separately():
    diffs = np.concatenate([drawn(2, 30, 4), 1000 + drawn(3, 30, 4)])
    population = np.repeat([0, 1], 30)
    low, high = np.empty((2, 2, 4))
    set_clipped_bounds(diffs, population, 4.0, np.empty(4, np.int32), low, high)
    assert np.all(high[0] < 100)
    assert np.all(low[1] > 900)
