"""Loops of the fit and the subtraction of interference, against NumPy."""

import numpy as np
import pytest

from calbatch.calibrate.steps.emicorr.phase_kernels import (
    add_by_phase,
    compute_fit_terms,
    compute_scatter,
    subtract_phased,
)
from calbatch.calibrate.steps.emicorr.waves import fit_spline


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("groups", [3, 8, 41])
def test_the_scatter_is_that_of_numpy_bit_for_bit(rng, groups):
    data = rng.normal(9000, 300, (2, groups, 5, 32)).astype("f4")
    found = np.empty((2, 5, 32), np.float32)
    compute_scatter(data, found)
    np.testing.assert_array_equal(found, np.std(data, axis=1))


def test_good_pixels_are_added_by_phase(rng):
    data = rng.integers(0, 60000, (2, 4, 5, 16)).astype("f4")
    good, bins = rng.random((2, 5, 16)) < 0.7, rng.integers(0, 6, (5, 4))
    sums, numbers = np.zeros((6, 4, 2)), np.zeros((6, 2))
    add_by_phase(data, good, bins, sums, numbers)
    usable = good & np.isin(np.arange(16) // 4, [0, 3])
    for part in range(6):
        there = usable & (np.repeat(bins, 4, axis=1) == part)
        np.testing.assert_array_equal(numbers[part], there.sum(axis=(1, 2)))
        wanted = np.where(there[:, None], data, 0).sum(axis=(2, 3), dtype="f8")
        np.testing.assert_array_equal(sums[part], wanted.T)


def test_the_wave_is_subtracted_at_its_phase(rng):
    samples = np.cos(2 * np.pi * (np.arange(100) + 0.5) / 100)
    phases, shifts = rng.random((3, 2)), rng.uniform(-2, 9, (1, 2, 2))
    data, result = np.zeros((1, 2, 3, 8), "f4"), np.empty((1, 2, 3, 8), "f4")
    subtract_phased(data, fit_spline(samples), phases, shifts, np.array([7.0]), result)
    total = phases[None, None] + shifts.sum(axis=2)[..., None, None]
    wanted = np.repeat(-7 * np.cos(2 * np.pi * total), 4, axis=-1)
    np.testing.assert_allclose(result, wanted, atol=1e-3)


def test_chi_squared_is_that_of_straight_lines(rng):
    """The sums of n equal pixels of a phase, minus A times the wave, are fitted by lines."""
    bins, groups = 8, 6
    wave = rng.normal(0, 1, bins)
    template, shifts = rng.random((bins, groups)), np.array([0.0, 0.3])
    pixels, numbers = rng.normal(0, 5, (bins, groups, 1)), rng.integers(1, 9, (bins, 1)) * 1.0
    quadratic, linear = np.zeros((2, 2, 1))
    coefficients = fit_spline(wave)
    compute_fit_terms(
        pixels * numbers[:, None], numbers, coefficients, template, shifts, quadratic, linear
    )
    design = np.stack([np.ones(groups), np.arange(groups)], axis=1)

    def chi_squared(amplitude, shift):
        t = (template + shift) % 1 * bins + 0.5
        part = t.astype(int)
        z = np.sum(coefficients[part] * (t - part)[..., None] ** np.arange(4), axis=-1)
        rest = pixels[..., 0] - amplitude * z
        lines = rest @ design @ np.linalg.inv(design.T @ design) @ design.T
        return np.sum(numbers * (rest - lines) ** 2)

    for k, shift in enumerate(shifts):
        rise = [chi_squared(a, shift) - chi_squared(0, shift) for a in (1.0, -2.0)]
        a, b = quadratic[k, 0], linear[k, 0]
        np.testing.assert_allclose([a + b, 4 * a - 2 * b], rise, rtol=1e-9)
