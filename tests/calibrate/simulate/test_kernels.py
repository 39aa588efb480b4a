"""The compiled loops of the forward model, compared with NumPy."""

import numpy as np
import pytest

from calbatch.calibrate.simulate.kernels import (
    DIM,
    RECIPROCALS,
    add_counts,
    add_dim_counts,
    add_profiles,
    digitise,
)

RNG = np.random.default_rng(4)


def test_dim_light_has_poisson_numbers():
    for mean in (0.5, 8.0, DIM):
        signal = np.zeros((200, 200), dtype=np.float32)
        expected = np.full(signal.shape, mean)
        gain = np.full(signal.shape, 2.0, dtype=np.float32)
        add_dim_counts(signal, expected, RNG.random(signal.shape), RECIPROCALS, gain)
        numbers = 2 * signal.astype(float)
        np.testing.assert_array_equal(numbers, np.rint(numbers))
        assert numbers.mean() == pytest.approx(mean, rel=0.02)
        assert numbers.var() == pytest.approx(mean, rel=0.05)


def test_bright_light_is_left_to_the_caller():
    signal = np.zeros((1, 2), dtype=np.float32)
    expected = np.array([[DIM + 1, -1.0]])
    add_dim_counts(signal, expected, np.full((1, 2), 0.9), RECIPROCALS, np.ones_like(signal))
    assert signal.tolist() == [[0, 0]]


def test_counts_are_the_inverse_of_the_polynomial_up_to_full_well():
    coefficients = np.zeros((5, 1, 3), dtype=np.float32)
    coefficients[1], coefficients[2] = 1, 1e-6
    true = np.array([[100.0, 30000.0, 90000.0]], dtype=np.float32)
    well = np.full((1, 3), 50000.0, dtype=np.float32)
    counts = np.ones((1, 3), dtype=np.float32)
    add_counts(counts, true, well, coefficients)
    result = counts - 1
    np.testing.assert_allclose((result + 1e-6 * result**2)[0, :2], true[0, :2], rtol=1e-5)
    assert result[0, 2] == 50000


def test_numbers_are_rounded_and_limited_to_16_bits():
    counts = np.array([[1.4, 1.6, -5.0, 1e6]], dtype=np.float32)
    groups = np.empty(counts.shape, dtype=np.uint16)
    digitise(counts, np.zeros_like(counts), np.ones_like(counts), groups)
    assert groups.tolist() == [[1, 2, 0, 65535]]


def test_profiles_are_products():
    image = np.ones((3, 4), dtype=np.float32)
    by_row, by_col = RNG.random((2, 3)).astype("f4"), RNG.random((2, 4)).astype("f4")
    add_profiles(image, by_row, by_col)
    np.testing.assert_allclose(image, 1 + by_row.T @ by_col, rtol=1e-5)
