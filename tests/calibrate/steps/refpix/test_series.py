"""Loops over time series agree with their equations, written in NumPy."""

import numpy as np
import pytest
from scipy.ndimage import convolve1d

from calbatch.calibrate.steps.refpix import series as loops


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def normal(rng, *shape):
    return rng.normal(0, 10, shape).astype("f4")


def test_samples_are_placed_at_their_times(rng):
    samples, picked, times = normal(rng, 6, 50), np.array([4, 0, 4, 1]), np.array([7, 2, 3, 8])
    series = np.zeros((50, 9), "f4")
    loops.place_rows(samples, picked, times, series)
    wanted = np.zeros_like(series)
    wanted[:, times] = samples[picked].T
    assert np.array_equal(series, wanted)


def test_samples_are_picked_at_their_times(rng):
    series, times = normal(rng, 50, 9), np.array([7, 2, 3, 8])
    samples = np.empty((4, 50), "f4")
    loops.pick_rows(series, times, samples)
    assert np.array_equal(samples, series[:, times].T)


def test_known_samples_are_restored(rng):
    known, series, times = normal(rng, 5, 9), normal(rng, 5, 9), np.array([1, 8])
    wanted = series.copy()
    wanted[:, times] = known[:, times]
    loops.copy_columns(known, times, series)
    assert np.array_equal(series, wanted)


def test_lines_are_subtracted_where_samples_are_not_zero(rng):
    samples, times, lines = normal(rng, 3, 4, 5), normal(rng, 4, 5), normal(rng, 3, 2)
    samples[rng.random(samples.shape) < 0.3] = 0
    a, b = (lines[..., n, None, None] for n in (0, 1))
    wanted = np.where(samples == 0, 0, samples - (a + times * b))
    loops.subtract_lines(samples, times, lines)
    np.testing.assert_allclose(samples, wanted, rtol=1e-5, atol=1e-4)


def test_spectra_are_combined(rng):
    own, output, weights, spectrum = (
        (normal(rng, 3, 8) + 1j * normal(rng, 3, 8)).astype("c8") for _ in range(4)
    )
    wanted = own * spectrum + weights * output
    loops.combine_spectra(spectrum, own, output, weights)
    np.testing.assert_allclose(spectrum, wanted, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("known", [0.9, 0.02])
def test_zeros_are_filled_by_weighted_means(rng, known):
    series = normal(rng, 4000)
    series[rng.random(series.size) > known] = 0
    weights = np.sin(np.arange(1, 32) / 32 * np.pi)
    above = convolve1d(series.astype("f8"), weights, mode="wrap")
    below = convolve1d((series != 0).astype("f8"), weights, mode="wrap")
    mean = np.divide(above, below, out=np.zeros_like(above), where=below > 1e-9)
    before = series.copy()
    filled = loops.fill_zeros(series, weights)
    np.testing.assert_allclose(filled, np.where(series == 0, mean, series), rtol=1e-5, atol=1e-4)
    assert np.array_equal(series, before)


@pytest.mark.parametrize("groups", [1, 4])
def test_the_signal_is_subtracted_from_deviations(rng, groups):
    data = normal(rng, groups, 3, 5)
    data[:, 1, 2] = 7  # equals its mean: no drift is subtracted
    correction, lines = normal(rng, groups, 3, 5), normal(rng, groups, 2, 2)
    rows, columns, amplifiers = normal(rng, 3), normal(rng, 5), np.array([0, 1, 1])
    offsets = rng.normal(0, 10, (groups, 3))
    offsets[:, 1] = 0
    shifted = data - offsets[..., None]
    mean = shifted.mean(axis=0)
    a, b = (lines[:, amplifiers, n, None] for n in (0, 1))
    drift = a + b * (rows[:, None] + columns)
    deviation = shifted - mean
    drift = np.where(np.abs(deviation) < 1e-5, 0, drift)
    result = correction.copy()
    loops.subtract_signal(data, lines, rows, columns, amplifiers, offsets, result)
    np.testing.assert_allclose(result, shifted - drift - correction, rtol=1e-4, atol=1e-3)
