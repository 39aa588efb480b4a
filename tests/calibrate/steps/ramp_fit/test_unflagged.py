"""Fits of unflagged ramps, many at a time, agree with the equations for each ramp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.few_ramps import (
    GROUP_TIME,
    few_groups,
    few_ramps,
    poisson_variances,
    read_variances,
    weighted_slope,
)

from calbatch.calibrate.steps.ramp_fit import segments, unflagged
from calbatch.calibrate.steps.ramp_fit.plan import EDGES
from calbatch.calibrate.steps.ramp_fit.segments import LARGE_VARIANCE, Pixel
from calbatch.calibrate.steps.ramp_fit.work import make_stretch
from calbatch.models.jit import kernel

GROUPS = 5


@kernel
def merge_flags(flags, seen):
    unflagged.merge_flags(flags, seen)


@kernel
def add_starting_rates(ramps, low, plan, differences, spoiled, odd, total):
    unflagged.add_starting_rates(ramps, low, plan, differences, spoiled, odd, total)


@kernel
def fill_whole(gain, noise, current, valid, plan, whole):
    unflagged.fill_whole(gain, noise, current, valid, plan, whole)


@kernel
def fit_whole(ramps, low, gain, noise, plan, ratio, slope):
    unflagged.fit_whole(ramps, low, gain, noise, plan, ratio, slope)


@kernel
def choose_weight(weights, ratio):
    return unflagged.choose_weight(unflagged.load_weights(weights), ratio)


@kernel
def noise_class(ratio):
    return segments.noise_class(ratio)


samples = st.lists(
    st.lists(st.integers(-50, 4000), min_size=GROUPS, max_size=GROUPS), min_size=3, max_size=8
).map(lambda pixels: np.array(pixels, "f4").T)
"""Ramps of some pixels, (groups, pixels)."""


def test_flags_are_merged():
    seen = np.array([0, 1, 4], "u1")
    merge_flags(np.array([2, 1, 2], "u1"), seen)
    assert seen.tolist() == [2, 1, 6]


ratios = st.one_of(st.floats(), st.sampled_from([*EDGES, *np.nextafter(EDGES, 0.0)]))


@given(ratios)
def test_a_weight_is_that_of_its_class(ratio):
    assert choose_weight(np.arange(6.0), ratio) == noise_class(ratio)


class TestStartingRates:
    @staticmethod
    def totals(data, *, low=0, size=None, odd=None, window=None):
        """Return the totals, which start at 1 DN/s, and the marks of odd ramps."""
        plan = few_groups(len(data), window)
        size = size or data.shape[1]
        work = make_stretch(size, 1, plan)
        work.odd[0], work.current[:] = 0 if odd is None else odd, 1.0
        ramps = few_ramps([data]).data[0]
        scratch = work.differences, work.spoiled
        add_starting_rates(ramps, low, plan, *scratch, work.odd[0], work.current)
        return work.current, work.odd[0]

    @given(samples)
    def test_the_median_of_the_differences_is_added(self, data):
        found, odd = self.totals(data)
        expected = 1 + np.median(np.diff(data.astype("f8"), axis=0), axis=0) / GROUP_TIME
        np.testing.assert_array_equal(found, expected)
        assert not odd.any()

    def test_only_differences_within_the_window_count(self):
        data = np.array([[0, 80, 160, 240, 9999]], "f4").T
        found, _ = self.totals(data, window=(1, 4))
        assert found.tolist() == [1 + 80 / GROUP_TIME]

    def test_a_stretch_begins_at_its_first_pixel(self):
        data = np.arange(GROUPS)[:, None] * np.array([0, 8, 16, 24])
        assert self.totals(data, low=1, size=2)[0].tolist() == [2, 3]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_ramp_with_an_invalid_sample_is_marked_instead(self, value):
        data = np.arange(GROUPS, dtype="f4")[:, None] * np.array([8, 8, 8], "f4")
        data[2, 1] = value
        found, odd = self.totals(data, odd=np.array([4, 0, 0], "u1"))
        assert found.tolist() == [1, 1, 2]
        assert (odd != 0).tolist() == [True, True, False]


class TestVariances:
    @staticmethod
    def shared_results(gain=2.0, noise=5.0, current=1.5, valid=1):
        """Return the results that the integrations of one pixel share."""
        plan = few_groups(GROUPS)
        work = make_stretch(1, 1, plan)
        work.noise[:], work.current[:], work.valid[:] = noise, current, valid
        gains = few_ramps(np.zeros((1, GROUPS, 1)), gain=gain).gain
        fill_whole(gains, work.noise, work.current, work.valid, plan, work.whole)
        return type(work.whole)(*(array[0] for array in work.whole))

    @pytest.mark.parametrize(("gain", "noise", "current"), [(2, 5, 1.5), (0.5, 9, 700), (1, 1, 0)])
    def test_variances_and_error_are_those_of_the_equations(self, gain, noise, current):
        found = self.shared_results(gain, noise, current)
        pixel = Pixel(gain, noise, current)
        read, poisson = read_variances(GROUPS, pixel), poisson_variances(GROUPS, pixel)
        # The products are in single precision, the inverse variances in double precision.
        assert found.var_read == pytest.approx(read, rel=1e-7)
        assert found.var_poisson == pytest.approx(poisson, rel=1e-7)
        assert found.err == pytest.approx(np.sqrt(read + poisson), rel=1e-7)
        assert found.inv_var_read == pytest.approx(1 / read, rel=1e-14)
        assert found.inv_var_poisson == pytest.approx(1 / poisson if poisson else 0, rel=1e-14)
        assert found.scale == 1

    def test_an_unusable_pixel_has_no_rate(self):
        found = self.shared_results(valid=0)
        assert np.isnan(found.scale)
        assert (found.var_read, found.var_poisson, found.err) == (0, 0, 0)

    def test_a_large_read_variance_makes_the_rate_zero(self):
        # 12 * R**2 / (120 * 8**2 * 2**2) = 1e6
        noise = np.sqrt(LARGE_VARIANCE * 120 * GROUP_TIME**2 * 4 / 12)
        assert self.shared_results(noise=1.01 * noise).scale == 0
        assert self.shared_results(noise=1.01 * noise).var_read == 0
        assert self.shared_results(noise=0.99 * noise).scale == 1

    def test_a_large_poisson_variance_is_zero(self):
        found = self.shared_results(current=1.01 * LARGE_VARIANCE * GROUP_TIME * 2 * (GROUPS - 1))
        assert (found.var_poisson, found.err, found.scale) == (0, 0, 1)


class TestSlopes:
    @staticmethod
    def slopes(data, *, low=0, size=None, window=None):
        plan = few_groups(len(data), window)
        work = make_stretch(size or data.shape[1], 1, plan)
        work.noise[:] = 5
        exposure = few_ramps([data])
        high = low + work.noise.size
        gain = exposure.gain[low:high]
        fit_whole(exposure.data[0], low, gain, work.noise, plan, work.ratio, work.slope)
        return work.slope

    @given(samples)
    def test_slopes_are_weighted_least_squares(self, data):
        expected = [weighted_slope(ramp, Pixel(2.0, 5.0, 0.0)) for ramp in data.T]
        # The weights are powers in single precision, to a relative error of 1e-6.
        atol = 1e-5 * np.abs(data).max()
        np.testing.assert_allclose(self.slopes(data), expected, rtol=1e-5, atol=atol)

    def test_groups_outside_the_window_have_no_weight(self):
        data = np.array([[-999, 8, 16, 24, 999]], "f4").T
        assert self.slopes(data, window=(1, 4)) == pytest.approx(1.0, rel=1e-7)

    def test_a_stretch_begins_at_its_first_pixel(self):
        data = np.arange(GROUPS)[:, None] * np.array([0, 8, 16, 24])
        assert self.slopes(data, low=1, size=2) == pytest.approx([1, 2], rel=1e-7)
