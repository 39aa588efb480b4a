"""Simulated stripes have the rows of the detector that their headers describe."""

import numpy as np
import pytest
from astropy.io import fits
from support.simulated import small_exposure, without_noise

from calbatch.calibrate.frames.stripes import stripes_of
from calbatch.calibrate.simulate import SimulationSpec
from calbatch.calibrate.simulate.instruments import find_detector
from calbatch.calibrate.simulate.readout_plan import plan_readout
from calbatch.calibrate.simulate.stripe_pattern import StripePattern, cut_stripes, take_rows
from calbatch.models import datamodels

DHS = StripePattern(size=164, reads1=1, skips1=1526, reads2=40, skips2=85)
ROWS = StripePattern(size=514, reads1=4, reads2=510, step=510, positions=4)
COLUMNS = StripePattern(size=684, reads1=4, reads2=680, step=680, positions=3, whole=True)
EXPOSURES = {
    "multistripe": ("NRCA2", "SUB164STRIPE4_DHS", (2048, 8), DHS),
    "one place": (
        "NRCALONG",
        "SUB164STRIPE4_DHS",
        (2048, 8),
        StripePattern(size=164, reads1=1, skips1=971, reads2=40, interleave=False),
    ),
    "superstripes of rows": ("NRCB1", "FULL_SUPSTP510", (2048, 8), ROWS),
    "superstripes of columns": ("NIS", "SUB680STRIPE_SOSS", (8, 2048), COLUMNS),
}


def exposure(name):
    detector, subarray, shape, pattern = EXPOSURES[name]
    return small_exposure(
        detector, subarray=subarray, size=shape, stripes=pattern, nints=2, ngroups=2,
        noise=without_noise(),
    )  # fmt: skip


@pytest.mark.parametrize("name", EXPOSURES)
def test_headers_describe_the_rows(name):
    made, pattern = exposure(name), EXPOSURES[name][-1]
    stripes = stripes_of(datamodels.open(made.path))
    found = [
        np.concatenate([np.arange(r.detector, r.detector + r.rows) for r in reads])
        for reads in stripes.reads
    ]
    assert np.array_equal(found, pattern.rows())
    assert made.data.shape == (2 * max(1, pattern.positions), 2, *stripes.shape)
    assert made.header["NINTS"] == made.data.shape[0]
    assert len(fits.getdata(made.path, "INT_TIMES")) == made.data.shape[0]


@pytest.mark.parametrize("name", EXPOSURES)
def test_truth_and_dark_have_the_frame_of_the_rates(name):
    made, (detector, _, shape, pattern) = exposure(name), EXPOSURES[name]
    axis = 1 if abs(find_detector(detector).slowaxis) == 1 else 0
    wanted = list(shape)
    wanted[axis] = len(pattern.calibrated_rows())
    assert made.truth.rate.shape == tuple(wanted)
    assert 0.4 < made.truth.good.mean() < 0.6  # four of eight columns are reference pixels
    with fits.open(made.reference("dark")) as hdus:
        assert hdus["SCI"].data.shape[-2:] == tuple(wanted)
        assert hdus["DQ"].data.shape == tuple(wanted)


def test_rows_are_taken_along_the_slow_axis_in_its_direction():
    numbers = np.arange(2048)
    for name, image in (("NRCA1", numbers[:, None]), ("NRS1", numbers[None])):
        assert take_rows(image, np.array([3, 9]), find_detector(name)).ravel().tolist() == [3, 9]
    for name, image in (("NRCA2", numbers[:, None]), ("NIS", numbers[None])):
        found = take_rows(image, np.array([3, 9]), find_detector(name)).ravel()
        assert found.tolist() == [2047 - 9, 2047 - 3]


def test_stripes_of_an_integration_follow_each_other():
    data = np.arange(2)[:, None, None, None] * 10_000 + np.arange(2048)[:, None]
    found = cut_stripes(data, ROWS, find_detector("NRCA1"))
    assert found[:, 0, 4, 0].tolist() == [4, 514, 1024, 1534, 10_004, 10_514, 11_024, 11_534]


def test_frame_times_are_those_of_a_stripe():
    readout = plan_readout(
        SimulationSpec("NIS", "SUB680STRIPE_SOSS", shape=(8, 2048), stripes=COLUMNS)
    )
    assert readout.frame_time == pytest.approx((8 + 12) * 685 * 1e-5)


def test_impossible_patterns_are_rejected():
    with pytest.raises(ValueError, match="repeated reads are not simulated"):
        StripePattern(size=8, reads1=1, reads2=1, step=1, positions=64)
    with pytest.raises(ValueError, match="must lie within 2048 rows"):
        StripePattern(size=514, reads1=4, reads2=510, step=510, positions=5)
    with pytest.raises(ValueError, match="stripes of NIS need a shape of 2048 columns"):
        SimulationSpec("NIS", "SUB680STRIPE_SOSS", shape=(8, 1024), stripes=COLUMNS)
