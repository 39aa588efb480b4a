"""The sequential fit: its counts, resampling and residuals."""

import numpy as np
import pytest

from calbatch.calibrate.steps.emicorr.clocks import Clocks, Sampling
from calbatch.calibrate.steps.emicorr.sequential import (
    count_bins,
    count_integrations,
    gather_residuals,
    stretch,
)

SAMPLING = Sampling(shape=(9, 10, 64, 72), samples=1, clocks=Clocks(28, 8512), has_reset_frame=True)


@pytest.mark.parametrize(
    ("period", "wanted", "bins"), [(256.0, None, 128), (9961.0, None, 500), (256.0, 501, 501)]
)
def test_bins_are_half_the_samples_of_a_period(period, wanted, bins):
    assert count_bins(period, wanted) == bins


@pytest.mark.parametrize(
    ("period", "wanted", "cycles", "count"),
    [
        (256.0, None, 3, 1),
        (99_610.0, None, 3, 4),  # of 85,120 samples each
        (256.0, None, None, 9),
        (256.0, 4, 3, 4),
        (256.0, 20, 3, 9),
    ],
)
def test_integrations_are_those_of_some_periods(period, wanted, cycles, count):
    assert count_integrations(SAMPLING, period, wanted, cycles) == count


@pytest.mark.agreement
@pytest.mark.parametrize(("size", "length"), [(128, 256.0), (500, 457.62), (7, 3.0), (3, 10.5)])
def test_resampling_is_that_of_jwst(size, length):
    from jwst.emicorr.emicorr import rebin

    values = np.arange(float(size))
    np.testing.assert_array_equal(stretch(values, length), rebin(values, [length]))


@pytest.mark.parametrize("groups", [4, 5, 9])
def test_straight_ramps_have_no_residuals(groups):
    rng = np.random.default_rng(groups)
    rate = rng.uniform(0, 100, (6, 20))
    ramp = (9000 + rate * np.arange(groups)[:, None, None]).astype("f4")
    signal = np.zeros((groups, 6, 20), "f4")
    signal[0], signal[-1] = 8, -8  # the fitted lines leave these groups out
    found = gather_residuals(np.array([ramp + signal, ramp]), integrations=1)
    assert found.shape == (1, groups, 6, 5)
    np.testing.assert_allclose(found[0], signal[..., ::4], atol=5e-3)
