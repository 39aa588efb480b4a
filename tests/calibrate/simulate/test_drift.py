"""Correlated noise: spectrum, and drift of the amplifiers."""

from dataclasses import replace

import numpy as np
import pytest

from calbatch.calibrate.simulate import SimulationSpec
from calbatch.calibrate.simulate.drift import draw_drift, pink
from calbatch.calibrate.simulate.readout_plan import plan_readout


def test_pink_noise_has_unit_power_and_falling_spectrum():
    series = pink(np.random.default_rng(1), (200, 512))
    power = (np.abs(np.fft.rfft(series)) ** 2).mean(axis=0)
    assert (series**2).mean() == pytest.approx(1, rel=0.1)
    low, high = power[4:8].mean(), power[64:128].mean()
    assert low / high == pytest.approx(16, rel=0.2)  # one over frequency, four octaves apart


def test_amplifiers_drift_apart_in_full_rows_only():
    wide = SimulationSpec("NRCA1", "SUBGRISM64", ngroups=40, full_references=False)
    for noutputs, apart in ((4, True), (1, False)):
        readout = plan_readout(replace(wide, noutputs=noutputs))
        drift = draw_drift(np.random.default_rng(0), readout)
        image = np.einsum("gkr,gkc->grc", drift.by_row, drift.by_col)
        outputs = image.reshape(40, 64, 4, 512).mean(axis=(1, 3))
        assert (np.ptp(outputs, axis=1).mean() > 1) == apart
