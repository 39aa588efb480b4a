"""Correlated noise: spectrum, and drift of the amplifiers; MIRI's interference."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from support.simulated import small_exposure, without_noise

from calbatch.calibrate.simulate import SimulationSpec, Sky
from calbatch.calibrate.simulate.effects.drift import (
    FREQUENCIES,
    draw_drift,
    draw_interference,
    draw_pink_noise,
    evaluate_wave,
)
from calbatch.calibrate.simulate.readout_plan import plan_readout
from calbatch.calibrate.steps.emicorr import EmiCorrStep


def test_pink_noise_has_unit_power_and_falling_spectrum():
    series = draw_pink_noise(np.random.default_rng(1), (200, 512))
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


# -- interference ------------------------------------------------------------------------------


SPEC = {"shape": (24, 64), "ngroups": 8, "nints": 2, "sky": Sky(background=0.0, stars=0)}
AMPLITUDE = 200.0


def exposure(**changes):
    noise = without_noise(nonlinearity=0.0, dark_rate=0.0, **changes)
    return small_exposure("MIRIMAGE", noise=noise, **SPEC)


def test_a_period_later_the_interference_is_the_same():
    readout = plan_readout(SimulationSpec("MIRIMAGE", "SUB64", ngroups=3, full_references=False))
    first, shifted = (
        draw_interference(readout, 0, 0, slice(0, 8), start) for start in (0.25, 1.25)
    )
    np.testing.assert_allclose(first, shifted, atol=1e-5)
    assert first.shape == (8, 72)
    np.testing.assert_array_equal(first[:, ::4], first[:, 3::4])


def test_waves_of_the_reference_are_those_of_the_signal():
    content = exposure().set.crds.glob("references/jwst/miri/*emicorr*.asdf")
    tree = yaml.safe_load(next(content).read_text().split("--- !core/asdf-1.1.0\n")[1][:-5])
    for name, (frequency, _) in FREQUENCIES.items():
        entry = tree["frequencies"][name]
        assert entry["frequency"] == frequency
        middles = (np.arange(256) + 0.5) / 256
        np.testing.assert_allclose(entry["phase_amplitudes"], evaluate_wave(middles), atol=1e-8)


@pytest.mark.parametrize("separately", [False, True])
def test_the_step_removes_the_interference(separately):
    clean, disturbed = exposure(), exposure(interference=AMPLITUDE)
    path = next(clean.set.crds.glob("references/jwst/miri/*emicorr*.asdf"))
    step = EmiCorrStep(skip=False, override_emicorr=path, fit_ints_separately=separately)
    wanted = clean.data.astype("f4")
    before = disturbed.data - wanted
    after = np.asarray(step(disturbed.path).data) - wanted
    residual = after - after.mean(axis=1, keepdims=True)  # a constant is not interference
    assert before.std() > 0.5 * AMPLITUDE
    assert residual.std() < 0.05 * AMPLITUDE
