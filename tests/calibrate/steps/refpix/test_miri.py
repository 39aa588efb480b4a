"""Reference pixels of MIRI: means of each amplifier's rows, as in jwst."""

import numpy as np
import pytest
from jwst.refpix.reference_pixels import MIRIDataset
from stdatamodels.jwst import datamodels as jwst_models

from calbatch.calibrate.steps.refpix.miri import (
    combine_miri,
    gather_drift,
    side_regions,
    subtract_drift,
)
from calbatch.models.dq import DO_NOT_USE
from calbatch.models.tiling.plan import Region

SHAPE = (2, 3, 1024, 1032)
WHOLE = Region((0, 1024), (0, 1032))


@pytest.fixture(scope="module")
def exposure():
    """Return a full frame whose amplifiers and rows drift, with outliers and bad pixels."""
    rng = np.random.default_rng(12)
    levels = rng.normal(0, 20, (*SHAPE[:2], 2, 4))
    rows, columns = np.arange(SHAPE[2]) % 2, np.arange(SHAPE[3]) % 4
    data = 9000 + levels[..., rows[:, None], columns] + rng.normal(0, 4, SHAPE)
    data[rng.random(SHAPE) < 0.01] += 1000
    pixeldq = np.where(rng.random(SHAPE[2:]) < 0.05, rng.integers(0, 4, SHAPE[2:]), 0)
    return data.astype("f4"), pixeldq.astype("u4")


def correct(data, pixeldq, *, odd_even_rows=True, siglimit=3.0):
    sides = [
        gather_drift(data[..., slice(*region.cols)], pixeldq[..., slice(*region.cols)])
        for region in side_regions()
    ]
    signal = combine_miri(sides, odd_even_rows=odd_even_rows, siglimit=siglimit)
    return subtract_drift(data, signal=signal, region=WHOLE)


def correct_by_jwst(data, pixeldq, *, odd_even_rows=True, siglimit=3.0):
    model = jwst_models.RampModel(data=data.copy(), pixeldq=pixeldq.copy())
    model.meta.instrument.name, model.meta.instrument.detector = "MIRI", "MIRIMAGE"
    place = model.meta.subarray
    place.name, place.xstart, place.ystart, place.xsize, place.ysize = "FULL", 1, 1, 1032, 1024
    settings = {"refpix_algorithm": "median", "sirs_kernel_model": None}
    settings |= {"sigreject": 4.0, "gaussmooth": 1.0, "halfwidth": 30}
    MIRIDataset(model, odd_even_rows, settings, siglimit).do_corrections()
    return model.data


@pytest.mark.agreement
@pytest.mark.parametrize("options", [{}, {"odd_even_rows": False}, {"siglimit": 2.0}], ids=str)
def test_agreement_with_jwst(exposure, options):
    found, wanted = correct(*exposure, **options), correct_by_jwst(*exposure, **options)
    # jwst averages in single precision
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-3)
    np.testing.assert_array_equal(found[:, 0], exposure[0][:, 0])
    drift = np.ptp((found - found[:, :1])[..., 4:-4].mean(axis=(2, 3)))
    assert drift < 0.5


@pytest.mark.agreement
def test_an_amplifier_without_reference_pixels_stops_the_correction(exposure, caplog):
    """As in jwst, which however rounds the samples again."""
    data, pixeldq = exposure
    pixeldq = pixeldq.copy()
    pixeldq[1::2, 1030] |= DO_NOT_USE
    np.testing.assert_array_equal(correct(data, pixeldq), data)
    assert "amplifier 3 has no usable reference pixels on a side" in caplog.text
    np.testing.assert_allclose(correct_by_jwst(data, pixeldq), data, rtol=2e-7)


def test_parts_of_the_frame_are_corrected_alike(exposure):
    data = exposure[0][..., :40]
    signal = np.random.default_rng(1).normal(0, 10, (*SHAPE[:2], 2, 4))
    whole = subtract_drift(data, signal=signal, region=Region((0, 1024), (0, 40)))
    part = subtract_drift(
        data[..., 301:340, 5:20], signal=signal, region=Region((301, 340), (5, 20))
    )
    np.testing.assert_array_equal(part, whole[..., 301:340, 5:20])
