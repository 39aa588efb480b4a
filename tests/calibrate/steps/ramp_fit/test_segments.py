"""Segments between flagged groups, their slopes by least squares, and their variances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.few_ramps import (
    GROUP_TIME,
    few_groups,
    good_runs,
    poisson_variances,
    read_variances,
    weighted_slope,
)

from calbatch.calibrate.steps.ramp_fit import segments
from calbatch.calibrate.steps.ramp_fit.plan import slope_estimators
from calbatch.calibrate.steps.ramp_fit.segments import LARGE_VARIANCE, Pixel
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, PERSISTENCE, SATURATED
from calbatch.models.jit import kernel

GROUPS = 9
ESTIMATORS = slope_estimators(GROUPS)
ORDINARY = Pixel(gain=2.0, noise=5.0, current=1.5)


@kernel
def find_segments(flags, starts, stops):
    return segments.find_segments(flags, 0, starts, stops)


@kernel
def split_ramp(flags, starts, stops):
    return segments.split_ramp(flags, 0, starts, stops)


@kernel
def group_noise(readnoise, gain, plan):
    return segments.group_noise(readnoise, gain, plan)


@kernel
def noise_class(rise, gain, noise):
    return segments.noise_class(segments.find_ratio(rise, gain, noise))


@kernel
def segment_slope(ramps, span, pixel):
    return segments.segment_slope(ramps, 0, span, GROUP_TIME, pixel, ESTIMATORS)


@kernel
def variances(length, pixel):
    read = segments.read_variance(length, GROUP_TIME, pixel)
    return read, segments.poisson_variance(length, GROUP_TIME, pixel)


@kernel
def zero_if_large(variance):
    return segments.zero_if_large(variance)


flags = st.lists(
    st.sampled_from([0, 0, PERSISTENCE, JUMP_DET, DO_NOT_USE, JUMP_DET | SATURATED]),
    min_size=1,
    max_size=GROUPS,
)


def scratch():
    return np.empty((2, GROUPS + 1), np.intp)


class TestSplitting:
    @given(flags)
    def test_segments_are_runs_of_good_groups_that_may_begin_with_a_jump(self, flags):
        starts, stops = scratch()
        count, longest = find_segments(np.array(flags, "u1")[:, None], starts, stops)
        expected = good_runs(flags)
        assert list(zip(starts[:count], stops[:count], strict=True)) == expected
        assert longest == max((stop - start for start, stop in expected), default=0)

    @given(flags)
    def test_single_groups_count_only_without_longer_segments(self, flags):
        starts, stops = scratch()
        count = split_ramp(np.array(flags, "u1")[:, None], starts, stops)
        longer = [(start, stop) for start, stop in good_runs(flags) if stop - start > 1]
        expected = longer or good_runs(flags)[:1]
        assert list(zip(starts[:count], stops[:count], strict=True)) == expected


@pytest.mark.parametrize(("readnoise", "gain"), [(6.0, 2.0), (1.0, 0.5), (0.0, 1.0)])
def test_noise_of_a_group_is_that_of_a_difference_of_frames_reduced(readnoise, gain):
    # Two frames are averaged: R = readnoise * gain / sqrt(2 * 2).
    assert group_noise(readnoise, gain, few_groups(5)) == readnoise * gain / 2


@pytest.mark.parametrize("edge", [5, 10, 20, 50, 100])
def test_classes_begin_at_ratios_of_signal_to_noise(edge):
    # S / sqrt(R**2 + S) = edge where S = (edge**2 + sqrt(edge**4 + 4 * (R * edge)**2)) / 2.
    signal = (edge**2 + np.sqrt(edge**4 + 4 * (5.0 * edge) ** 2)) / 2
    below, above = (noise_class(signal * f / 2.0, 2.0, 5.0) for f in (0.999, 1.001))
    assert (below, above) == ([5, 10, 20, 50, 100].index(edge), below + 1)


@pytest.mark.parametrize(
    ("rise", "gain", "expected"),
    [(-1e4, 2.0, 0), (0.0, 2.0, 0), (1e4, 0.0, 0), (np.nan, 2.0, 5), (np.inf, 2.0, 5)],
)
def test_classes_of_unusual_rises(rise, gain, expected):
    assert noise_class(rise, gain, 5.0) == expected


class TestSlopes:
    @given(
        st.lists(st.integers(-50, 3000), min_size=GROUPS, max_size=GROUPS),
        st.integers(0, GROUPS - 3),
        st.integers(3, GROUPS),
    )
    def test_slopes_are_weighted_least_squares(self, samples, start, length):
        stop = min(start + length, GROUPS)
        ramp = np.array(samples, "f4")[:, None]
        expected = weighted_slope(samples[start:stop], ORDINARY)
        found = segment_slope(ramp, (start, stop), ORDINARY)
        # The weights are powers in single precision, to a relative error of 1e-6.
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5 * max(np.abs(samples)))

    def test_one_group_and_two_groups(self):
        ramp = np.array([8, 12, 28], "f4")[:, None]
        assert segment_slope(ramp, (1, 2), ORDINARY) == 12 / GROUP_TIME
        assert segment_slope(ramp, (1, 3), ORDINARY) == (28 - 12) / GROUP_TIME

    def test_nan_samples_count_as_zero(self):
        ramp = np.array([1, np.nan, 3, 3, 5], "f4")[:, None]
        zero = np.array([[1, 0, 3, 3, 5]], "f4")
        found = segment_slope(ramp, (0, 5), ORDINARY)
        assert found == pytest.approx(weighted_slope(zero[0], ORDINARY), rel=1e-6)

    @pytest.mark.parametrize("place", range(5))
    @pytest.mark.parametrize("value", [np.inf, -np.inf])
    def test_infinite_samples_have_no_slope(self, place, value):
        ramp = np.arange(5, dtype="f4")[:, None]
        ramp[place] = value
        assert np.isnan(segment_slope(ramp, (0, 5), ORDINARY))

    @pytest.mark.parametrize("noise", [0.0, np.nan, np.inf])
    def test_pixels_without_noise_have_no_slope(self, noise):
        ramp = np.arange(5, dtype="f4")[:, None]
        assert np.isnan(segment_slope(ramp, (0, 5), ORDINARY._replace(noise=noise)))


class TestVariances:
    @pytest.mark.parametrize("length", [2, 3, 5, 9])
    def test_variances_are_those_of_the_equations(self, length):
        expected = read_variances(length, ORDINARY), poisson_variances(length, ORDINARY)
        # Both sides are the same few operations on doubles.
        np.testing.assert_allclose(variances(length, ORDINARY), expected, rtol=1e-14)

    def test_one_group_has_the_variances_of_two(self):
        assert variances(1, ORDINARY) == variances(2, ORDINARY)

    @pytest.mark.parametrize("gain", [-1.0, 0.0, np.nan])
    def test_without_a_gain_there_is_no_read_variance(self, gain):
        read, _ = variances(4, ORDINARY._replace(gain=gain))
        assert read == 0

    def test_large_variances_are_zero(self):
        assert zero_if_large(LARGE_VARIANCE) == 0
        below = np.nextafter(LARGE_VARIANCE, 0)
        assert zero_if_large(below) == below
