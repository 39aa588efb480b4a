"""Rings: their pixels are those of astropy, and decisions those of sums in double precision."""

import numpy as np
import pytest
from astropy.convolution import Ring2DKernel
from hypothesis import given, settings
from hypothesis import strategies as st
from stcal.jump.jump import convolve_fast

from calbatch.calibrate.steps.jump.rings import BrightSearch, list_runs, make_ring

RINGS = [(1.0, 2.6), (2.0, 1.5), (0.0, 1.0)]
radii = st.floats(0.1, 8.0)


@given(radii | st.just(0.0), radii)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:The kernel cannot be normalized")  # a ring without pixels
def test_pixels_are_those_of_astropy(inner, width):
    np.testing.assert_array_equal(make_ring(inner, width), Ring2DKernel(inner, width).array != 0)


@given(radii, radii)
@settings(max_examples=30, deadline=None)
def test_runs_cover_the_ring_once(inner, width):
    ring = make_ring(inner, width)
    covered = np.zeros(ring.shape, int)
    for row, first, length in list_runs(ring):
        covered[row, first : first + length] += 1
    np.testing.assert_array_equal(covered, ring)


def search(ratio, ring, threshold, rows=None):
    """Return the pixels in bright surroundings; NaN are not good."""
    searched = BrightSearch(ring, ratio.shape, rows or slice(0, len(ratio)))
    searched.good[:] = np.isfinite(ratio)
    searched.values[:] = np.where(np.isfinite(ratio), ratio, 0)
    return searched.find(threshold).copy()


def search_in_order(ratio, ring, threshold):
    """Return the same from sums in double precision in reading order."""
    reach = len(ring) // 2
    padded = np.pad(ratio.astype(float), reach)
    good = np.isfinite(padded)
    found = np.zeros(ratio.shape, bool)
    for y, x in np.ndindex(ratio.shape):
        around = slice(y, y + len(ring)), slice(x, x + len(ring))
        used = ring & good[around]
        total = sum(padded[around][used].tolist(), 0.0)
        found[y, x] = used.any() and total / used.sum() > threshold
    return found & np.isfinite(ratio)


def draw_ratios(seed):
    rng = np.random.default_rng(seed)
    ratio = rng.gamma(2, 1, (30, 41)).astype("f4")
    ratio[rng.random(ratio.shape) < 0.2] = np.nan
    ratio[5:12, 5:16] = np.nan
    return ratio


@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning"
)  # stcal divides by zero where a ring has no pixels
@pytest.mark.parametrize(("inner", "width"), RINGS)
def test_means_are_those_of_stcals_convolution(inner, width):
    ratio = draw_ratios(4)
    wanted = convolve_fast(ratio.astype(float), Ring2DKernel(inner, width).array)
    for threshold in (1.5, 2.0, 2.5):
        found = search(ratio, make_ring(inner, width), threshold)
        clear = np.abs(wanted / threshold - 1) > 1e-9  # the FFT rounds otherwise
        np.testing.assert_array_equal(found[clear], (wanted > threshold)[clear])
        assert 0 < found.sum() < found.size


@pytest.mark.parametrize(("inner", "width"), [*RINGS, (4.0, 6.0)])
def test_decisions_are_those_of_sums_in_double_precision(inner, width):
    ring, ratio = make_ring(inner, width), draw_ratios(5)
    ratio[20:, 25:] = np.float32(1.2)  # their mean is the threshold, but for rounding
    ratio[:3, 30:] *= np.float32(1e37)  # sums exceed single precision
    for threshold in (float(np.float32(1.2)), 1.2, 1e38, 0.0, -1.0):
        found = search(ratio, ring, threshold)
        np.testing.assert_array_equal(found, search_in_order(ratio, ring, threshold))


def test_bands_have_the_pixels_of_the_frame():
    ring, ratio = make_ring(1.0, 2.6), draw_ratios(6)
    whole = search(ratio, ring, 2.0)
    for rows in (slice(0, 9), slice(9, 10), slice(10, 30)):
        np.testing.assert_array_equal(search(ratio, ring, 2.0, rows), whole[rows])


def test_rings_of_more_pixels_than_sixteen_bits_count():
    ring, ratio = np.ones((257, 257), bool), np.full((4, 5), 2.0, "f4")
    ratio[1, 2] = np.nan
    for threshold in (1e-5, 5e-4, 7e-4):  # the mean is 38 / 66048
        found = search(ratio, ring, threshold)
        np.testing.assert_array_equal(found, search_in_order(ratio, ring, threshold))
        assert found.any() == (threshold < 6e-4)
