"""Optional results hold each segment's fit, by the equations of the ramp fit."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.few_ramps import (
    GROUP_TIME,
    few_groups,
    few_ramps,
    good_runs,
    poisson_variances,
    read_variances,
    weighted_slope,
)

from calbatch.calibrate.steps.ramp_fit.optional import Segments, count_planes, fit_segments
from calbatch.calibrate.steps.ramp_fit.segments import Pixel
from calbatch.calibrate.steps.ramp_fit.work import make_stretch
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED

GROUPS = 7
SPLIT = [0, 0, 0, JUMP_DET, 0, 0, 0]
"""Flags of a ramp with segments of three and of four groups."""


def planes(groupdq):
    """Return the largest numbers of segments and of jumps of ramps, (groups, pixels)."""
    exposure, plan = few_ramps([np.zeros(np.shape(groupdq))], [groupdq]), few_groups(len(groupdq))
    pixels = exposure.pixeldq.size
    return count_planes(exposure, plan, make_stretch(min(pixels, 2), 1, plan))


def fit(samples, flags, *, rate=0.0, factor=0.5, **options):
    """Return the results of one ramp, without the axes of integrations and pixels."""
    exposure = few_ramps(np.reshape(samples, (1, -1, 1)), np.reshape(flags, (1, -1, 1)), **options)
    plan = few_groups(len(samples))
    leading = [(1, 3)] * 7 + [(1,), (1, 3)]
    results = Segments(*(np.zeros((*lead, 1), np.float32) for lead in leading))
    rateints = np.full((1, 1), rate, np.float32)
    fit_segments(exposure, plan, rateints, factor, results, make_stretch(1, 1, plan))
    return Segments(*(array[0, ..., 0] for array in results))


def line(intercept, rate):
    """Return samples (DN) of a rate in DN per group."""
    return intercept + rate * np.arange(GROUPS)


class TestCounts:
    @given(
        st.lists(
            st.lists(
                st.sampled_from([0, 0, JUMP_DET, DO_NOT_USE]), min_size=GROUPS, max_size=GROUPS
            ).filter(lambda flags: (0, 0) in pairwise(flags)),
            min_size=1,
            max_size=5,
        )
    )
    def test_counts_are_the_largest_of_all_ramps(self, pixels):
        segments = [sum(stop - start > 1 for start, stop in good_runs(ramp)) for ramp in pixels]
        jumps = [sum(flag == JUMP_DET for flag in ramp[1:]) for ramp in pixels]
        assert planes(np.array(pixels).T) == (max(segments), max(jumps))

    def test_single_groups_count_only_without_longer_segments(self):
        assert planes(np.array([[0, 1, 0, 1, 0, 1, 1]]).T) == (3, 0)
        assert planes(np.array([[0, 1, 0, 1, 0, 0, 1]]).T) == (1, 0)

    def test_ramps_that_are_saturated_from_the_first_group_have_no_segments(self):
        assert planes(np.array([[SATURATED, 0, 0, JUMP_DET, 0, 0, 0]]).T) == (0, 1)


class TestSegments:
    @given(st.lists(st.integers(-50, 4000), min_size=GROUPS, max_size=GROUPS))
    def test_each_segment_has_its_slope_and_variances(self, samples):
        found = fit(samples, SPLIT, dark=0.5)
        steps = np.delete(np.diff(np.array(samples, "f8")), 2)  # without the jump
        pixel = Pixel(2.0, 3.0, max(np.median(steps) / GROUP_TIME, 0) + 0.5)
        # The weights are powers in single precision, to a relative error of 1e-6.
        atol = 1e-5 * np.abs(samples).max()
        slopes = [weighted_slope(samples[:3], pixel), weighted_slope(samples[3:], pixel), 0]
        np.testing.assert_allclose(found.slope, slopes, rtol=1e-5, atol=atol)
        # The results are in single precision.
        read = np.array([read_variances(n, pixel) for n in (3, 4)])
        np.testing.assert_allclose(found.var_rnoise, [*read, 0], rtol=1e-6)
        np.testing.assert_allclose(found.weights, [*(1 / read), 0], rtol=1e-6)
        poisson = [poisson_variances(n, pixel) for n in (3, 4)]
        np.testing.assert_allclose(found.var_poisson, [*poisson, 0], rtol=1e-6)

    @given(st.integers(-100, 100), st.integers(-20, 500))
    def test_a_line_has_its_value_at_group_0_as_intercept(self, intercept, rate):
        found = fit(line(intercept, rate), SPLIT)
        # Sums of squares cancel, up to a few times the rounding of single precision.
        np.testing.assert_allclose(found.yint[:2], intercept, atol=0.01)
        assert found.yint[2] == 0

    def test_errors_are_those_of_least_squares_with_equal_weights(self):
        found = fit(line(10, 0), [0] * GROUPS)  # no signal: equal weights
        x = np.arange(GROUPS)
        covariance = 3.0**2 * np.linalg.inv([[GROUPS, x.sum()], [x.sum(), (x * x).sum()]])
        # The results are in single precision.
        assert found.sigyint[0] == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-6)
        assert found.sigslope[0] == pytest.approx(np.sqrt(covariance[1, 1]), rel=1e-6)

    def test_two_groups_have_the_noise_of_their_difference(self):
        found = fit(line(5, 30), [1, 1, 0, 0, 1, 1, 1])
        assert found.slope[0] == np.float32(30 / GROUP_TIME)
        assert found.yint[0] == 5
        assert found.sigslope[0] == found.sigyint[0] == np.float32(np.sqrt(2) * 3)

    def test_a_single_group_has_no_intercept(self):
        found = fit(line(8, 8), [1, 0, 1, 0, 1, 1, 1])
        assert found.slope[0] == 16 / GROUP_TIME
        assert (found.yint[0], found.sigslope[0], found.sigyint[0]) == (0, 0, 0)

    def test_a_ramp_saturated_from_the_first_group_has_no_segments(self):
        found = fit(line(8, 8), [SATURATED] * GROUPS)
        assert not np.any([found.slope, found.var_rnoise, found.weights])


class TestJumps:
    def test_sizes_of_jumps_are_in_order(self):
        samples = np.cumsum([0, 8, 508, 8, 8, 308, 8])
        found = fit(samples, [0, 0, JUMP_DET, 0, 0, JUMP_DET, 0])
        assert found.crmag.tolist() == [508, 308, 0]

    def test_a_jump_before_the_first_group_has_no_size(self):
        assert fit(line(8, 8), [JUMP_DET, 0, 0, 0, 0, 0, 0]).crmag.tolist() == [0, 0, 0]


class TestPedestals:
    def test_the_pedestal_is_the_first_sample_without_its_signal(self):
        assert fit(line(20, 8), [0] * GROUPS, rate=6.0, factor=0.5).pedestal == 20 - 6.0 * 0.5

    @pytest.mark.parametrize(
        "bad",
        [{"gain": 0.0}, {"pixeldq": DO_NOT_USE}, {"rate": np.nan}, {"flags": [SATURATED] * GROUPS}],
        ids=["gain", "flag", "rate", "saturated"],
    )
    def test_unusable_ramps_have_none(self, bad):
        arguments = {"flags": [0] * GROUPS, "rate": 6.0} | bad
        assert fit(line(20, 8), **arguments).pedestal == 0
