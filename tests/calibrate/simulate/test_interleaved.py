"""IRS2 exposures and their references have interleaved reference pixels."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from support.interleaved import reference_rows as interleaved

from calbatch.calibrate.simulate import SimulationSpec
from calbatch.calibrate.simulate.effects.drift import draw_drift
from calbatch.calibrate.simulate.maps import make_maps
from calbatch.calibrate.simulate.ramp import Ramp, interleave_ramp
from calbatch.calibrate.simulate.readout_plan import plan_readout, reference_rows, science_rows
from calbatch.calibrate.simulate.reference_parts import (
    LISTED,
    Setting,
    draw_bad_reference_rows,
    draw_reference_bias,
    interleave_flags,
    make_weight_extensions,
)
from calbatch.calibrate.simulate.spec import Noise
from calbatch.calibrate.steps._interleaving import InterleavedLayout

NOTHING_ELSE = {
    "bursts": [],
    "zero": np.empty(0, np.uint16),
    "migrated": np.empty(0, np.int16),
}
SHORT = {"readpatt": "NRSIRS2RAPID", "ngroups": 2}


@pytest.fixture(scope="module")
def setting():
    spec = SimulationSpec("NRS1", **SHORT)
    readout = plan_readout(spec)
    maps = make_maps(readout.detector, readout.full_frame, spec.noise, 1)
    return Setting(spec, readout, maps, 1)


@pytest.mark.parametrize(("detector", "is_turned"), [("NRS1", False), ("NRS2", True)])
def test_rows_are_those_that_calibration_expects(detector, is_turned):
    axis = plan_readout(SimulationSpec(detector, **SHORT)).detector.fastaxis
    assert np.array_equal(science_rows(axis), InterleavedLayout(is_turned).science_rows)
    assert set(interleaved()) <= set(np.flatnonzero(reference_rows(axis)))


def test_the_readout_is_that_of_irs2():
    readout = plan_readout(SimulationSpec("NRS1", **SHORT))
    assert readout.noutputs == 5
    assert readout.frame_time == pytest.approx(14.5889, abs=1e-4)
    with pytest.raises(ValueError, match="NRSIRS2RAPID reads the full frame"):
        plan_readout(SimulationSpec("NRS1", "SUB512", readpatt="NRSIRS2RAPID"))


def test_reference_pixels_show_bias_drift_and_noise(setting):
    drifts = [draw_drift(np.random.default_rng(0), setting.readout)]
    ramp = Ramp(
        data=np.full((1, 2, 2048, 2048), 1234, np.uint16), rays=[], drifts=drifts, **NOTHING_ELSE
    )
    data = interleave_ramp(setting, ramp, (1, "NRS1 1", 1))
    rows = science_rows(setting.readout.detector.fastaxis)
    assert np.all(data[:, :, rows] == 1234)
    drift = drifts[0].by_row[1].T @ drifts[0].by_col[1]
    left = data[0, 1] - draw_reference_bias(setting) - drift
    good = np.setdiff1d(interleaved(), draw_bad_reference_rows(setting))
    noise = np.median(setting.maps.read_noise)
    assert np.std(left[good]) == pytest.approx(noise, rel=0.05)
    assert np.std(left[draw_bad_reference_rows(setting)]) > 4 * noise


def test_without_noise_reference_pixels_are_bias(setting):
    silent = replace(setting, spec=SimulationSpec("NRS1", **SHORT, noise=Noise(read=False)))
    ramp = Ramp(
        data=np.zeros((1, 1, 2048, 2048), np.uint16), rays=[], drifts=[None], **NOTHING_ELSE
    )
    data = interleave_ramp(silent, ramp, (1, "NRS1 1", 1))[0, 0]
    rows = interleaved()
    assert np.array_equal(data[rows], np.rint(draw_reference_bias(silent)[rows]))


def test_the_mask_flags_bad_reference_pixels(setting):
    nothing = np.zeros((2048, 2048), bool)
    flags = interleave_flags(setting, {"REFERENCE_PIXEL": nothing, "HOT": ~nothing})
    assert np.flatnonzero(flags["BAD_REF_PIXEL"].any(axis=1)).tolist() == (
        draw_bad_reference_rows(setting).tolist()
    )
    assert np.array_equal(flags["REFERENCE_PIXEL"], ~flags["HOT"])
    assert set(draw_bad_reference_rows(setting)) <= set(interleaved())


def test_weights_have_the_layout_of_jwst(tmp_path):
    from stdatamodels.jwst.datamodels import IRS2Model

    weights, listed = make_weight_extensions()
    hdus = [fits.BinTableHDU(e.data, name=e.name) for e in (weights, listed)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "w.fits")
    with IRS2Model(tmp_path / "w.fits") as model:
        assert len(model.irs2_table.field("alpha_0")) == 2 * 712 * 2048
        rows = model.dq_table
        found = zip(rows.field("output"), rows.field("odd_even"), rows.field("mask"), strict=True)
        assert [tuple(map(int, row)) for row in found] == list(LISTED)
