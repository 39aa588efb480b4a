"""Transforms of an IRS2 frame's time series agree with those of NumPy."""

import numpy as np
import pytest

from calbatch.calibrate.steps.refpix.transform import (
    HALF,
    PRIME,
    SAMPLES,
    make_hermitian,
    order_frequencies,
    transform,
    transform_back,
)


@pytest.fixture(scope="module")
def series():
    rng = np.random.default_rng(0)
    return rng.normal(0, 10, SAMPLES).astype("f4")


@pytest.fixture(scope="module")
def full(series):
    return np.fft.fft(series.astype("f8"))


def test_spectra_agree_with_numpy(series, full):
    found, wanted = transform(series), order_frequencies(full)
    scale = np.sqrt(np.mean(np.abs(wanted) ** 2))
    # Single precision, in some 20 additions for each value.
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=5e-6 * scale)


def test_a_series_survives_a_round_trip(series):
    np.testing.assert_allclose(transform_back(transform(series)), series, atol=2e-5)


def test_rows_of_a_spectrum_hold_their_frequencies():
    found = order_frequencies(np.arange(SAMPLES))
    assert found.shape == (HALF + 1, SAMPLES // PRIME)
    assert found[7, 3] == 7 + PRIME * 3


def test_a_filter_acts_as_its_hermitian_part(series, full):
    rng = np.random.default_rng(1)
    values = rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES)
    wanted = np.fft.ifft(values * full).real
    weights = order_frequencies(make_hermitian(values)).astype("c8")
    np.testing.assert_allclose(transform_back(weights * transform(series)), wanted, atol=2e-4)


def test_the_input_is_unchanged(series):
    before = series.copy()
    transform(series)
    assert np.array_equal(series, before)
