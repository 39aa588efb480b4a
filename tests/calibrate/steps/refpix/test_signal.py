"""Clipped means and running medians agree with scipy and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import sigmaclip

from calbatch.calibrate.steps.refpix.signal import (
    average_known,
    clipped_means,
    column_offsets,
    combine_sides,
    parity_means,
    running_median,
    window_rows,
)


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(1.5, 6))
@settings(max_examples=60, deadline=None)  # the first one compiles
def test_clipped_means_are_those_of_scipy(seed, pixels, sigmas):
    rng = np.random.default_rng(seed)
    samples = rng.normal(100, 10, (3, pixels))
    samples[rng.random(samples.shape) < 0.1] += 200
    expected = [sigmaclip(frame, sigmas, sigmas).clipped.mean() for frame in samples]
    # the order of float64 sums differs
    np.testing.assert_allclose(clipped_means(samples, sigmas), expected, rtol=1e-12)


def test_equal_samples_are_their_own_mean():
    assert clipped_means(np.full((1, 999), 0.1, dtype="f4"), 3.0)[0] == np.float32(0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_invalid_sample_makes_the_mean_nan(bad):
    samples = np.ones((2, 50))
    samples[1, 7] = bad
    means = clipped_means(samples, 3.0)
    assert means[0] == 1
    assert np.isnan(means[1])


def test_clipping_does_not_modify_the_samples():
    samples = np.arange(20.0)[None, ::-1].copy()
    before = samples.copy()
    clipped_means(samples, 1.5)
    assert np.array_equal(samples, before)


def test_read_only_samples_do_not_recompile_the_kernel():
    samples = np.ones((2, 50))
    samples.flags.writeable = False
    assert clipped_means(samples, 3.0).tolist() == [1, 1]


def test_parities_have_separate_means():
    samples = np.array([[1.0, 2.0, 1.0, 4.0]])
    good = np.array([True, True, True, False])
    even, odd = parity_means(samples, good, np.array([6, 7, 8, 9]), True, 3.0)
    assert (even[0], odd[0]) == (1, 2)


def test_without_parities_both_have_the_mean_of_all_pixels():
    samples = np.array([[1.0, 2.0, 6.0]])
    even, odd = parity_means(samples, np.ones(3, dtype=bool), np.arange(3), False, 3.0)
    assert (even[0], odd[0]) == (3, 3)


def test_a_parity_without_usable_pixels_has_no_mean():
    means = parity_means(np.ones((1, 2)), np.array([True, False]), np.arange(2), True, 3.0)
    assert means[1] is None
    assert column_offsets(means, np.arange(4), 1).tolist() == [[0, 0, 0, 0]]


def test_an_unknown_mean_yields_the_other():
    one, two = np.array([1.0]), np.array([2.0])
    assert average_known(one, two) == 1.5
    assert average_known(None, two) is two
    assert average_known(one, None) is one
    assert average_known(None, None) is None


def test_sides_are_averaged_where_both_are_known():
    left = np.array([1.0, np.nan, 1.0, np.nan])
    right = np.array([3.0, 3.0, np.nan, np.nan])
    assert combine_sides(left, right).tolist() == [2, 3, 1, 0]


@given(st.integers(1, 40), st.integers(1, 60), st.data())
def test_windows_mirror_at_the_detector_ends(rows, length, data):
    height = data.draw(st.integers(max(rows, length // 2 + 1), 100))
    first = data.draw(st.integers(0, height - rows))
    half = length // 2
    mirrored = np.pad(np.arange(height), (half, max(length - half - 1, 0)), mode="reflect")
    found = window_rows(rows, length, first, height)
    for i in range(rows):
        window = mirrored[first + i : first + i + length]
        local = np.where((window >= first) & (window < first + rows), window - first, -1)
        assert np.array_equal(found[i : i + length], local)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 25), st.integers(0, 4))
@settings(max_examples=60, deadline=None)  # the first one compiles
def test_running_median_is_that_of_each_window(seed, rows, length, columns):
    rng = np.random.default_rng(seed)
    sides = np.round(rng.normal(0, 3, (2, rows, columns)), 1)  # rounded: with ties
    good = rng.random((rows, columns)) < rng.choice([0.1, 0.7, 1.0])
    sides[rng.random(sides.shape) < rng.choice([0.0, 0.02])] = np.nan
    found = running_median(sides, good, length, 5, 50)
    windows = window_rows(rows, length, 5, 50)
    for i in range(rows):
        inside = [r for r in windows[i : i + length] if r >= 0]
        for frame in range(2):
            window = sides[frame, inside][good[inside]]
            expected = np.median(window) if window.size else np.nan
            np.testing.assert_array_equal(found[frame, i], expected)
