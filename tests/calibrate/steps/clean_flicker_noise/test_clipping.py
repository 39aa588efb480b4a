"""Limits of the background: agreement with astropy and with jwst."""

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate.steps.clean_flicker_noise import clipping


def draw(seed, count=4000):
    rng = np.random.default_rng(seed)
    values = rng.normal(5, 3, count)
    values[rng.random(count) < 0.1] += rng.exponential(200)
    values[rng.random(count) < 0.01] *= 1e4
    return np.sort(values.astype("f4"))


@pytest.mark.agreement
class TestAgreement:
    @pytest.mark.parametrize("seed", range(6))
    def test_statistics_are_those_of_astropy(self, seed):
        values = draw(seed)
        _, median, sigma = sigma_clipped_stats(values.astype("f8"), sigma=3)
        low, high = clipping.find_limits(values, 3, 2)
        np.testing.assert_allclose([low, high], [median - 3 * sigma, median + 2 * sigma], rtol=1e-9)

    @pytest.mark.parametrize("options", [{}, {"lower_half_only": True}, {"fit_histogram": True}])
    @pytest.mark.parametrize("seed", range(3))
    def test_the_same_pixels_are_inside_as_in_jwst(self, seed, options):
        from jwst.clean_flicker_noise.background_level import clip_to_background

        values = draw(seed)
        mask = np.ones((1, values.size), bool)
        clip_to_background(values[np.newaxis], mask, **options)
        ours = {"lower_half": options.get("lower_half_only", False)}
        ours["fit_histogram"] = options.get("fit_histogram", False)
        inside = clipping.select_range(values, clipping.find_limits(values, 3.0, 2.0, **ours))
        np.testing.assert_array_equal(inside, values[mask[0]])


class TestRules:
    def test_values_that_are_not_finite_do_not_count(self):
        values = draw(1)
        with_more = np.concatenate([[-np.inf], values, [np.inf] * 3]).astype("f4")
        assert clipping.find_limits(with_more, 3, 3) == clipping.find_limits(values, 3, 3)

    def test_there_are_no_limits_without_finite_values(self):
        assert clipping.find_limits(np.array([np.inf], "f4"), 3, 3) == (-np.inf, np.inf)

    def test_equal_values_need_no_histogram(self):
        values = np.full(9, 4.0, "f4")
        assert clipping.find_limits(values, 3, 3, fit_histogram=True) == (4.0, 4.0)

    @given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20))
    def test_the_median_is_numpys(self, values):
        values = np.sort(np.array(values, "f4"))
        assert clipping.find_median(values) == np.median(values)

    def test_limits_are_included(self):
        values = np.array([1, 2, 3, 4], "f4")
        np.testing.assert_array_equal(clipping.select_range(values, (2.0, 3.0)), [2, 3])
