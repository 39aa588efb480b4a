"""detector1 agrees with jwst 3.0.0 on simulated exposures of MIRI, after each step."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from support.agreement import assert_agreement, our_steps
from support.simulated import offline, small_exposure

from calbatch.calibrate.simulate import Noise, Sky
from calbatch.models.dq import DO_NOT_USE

# Deprecation warnings of jwst and its dependencies are not under test here.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

ROUGH = Noise(cosmic_rays=1000.0, hot=0.01, dead=0.01, bad_references=0.03)
"""Several cosmic-ray hits in many ramps; dead, hot, saturated and NaN-reference pixels."""


def check(exposure, path=None, **parameters):
    """Compare with jwst after each step; return our arrays by step."""
    with offline(exposure.set):
        return assert_agreement(path or exposure.path, read_noise=4.0, **parameters)


@pytest.mark.parametrize(
    ("ngroups", "nints"), [(3, 2), (12, 3), pytest.param(5, 1, marks=pytest.mark.slow)]
)
def test_any_number_of_groups_and_integrations(ngroups, nints):
    found = check(small_exposure("MIRIMAGE", ngroups=ngroups, nints=nints, noise=ROUGH))
    status = found["rate"].status
    assert (status["rscd"], status["lastframe"]) == ("COMPLETE", "COMPLETE")
    assert status["refpix"] == "SKIPPED"
    excluded = np.all(found["rscd"].fields["groupdq"] & DO_NOT_USE, axis=(0, 2, 3))
    assert excluded[-1]
    assert np.isfinite(found["rate"].fields["data"]).mean() > 0.5


def test_first_frame():
    exposure = small_exposure("MIRIMAGE", ngroups=6, nints=3, noise=ROUGH)
    found = check(exposure, firstframe={"skip": False, "bright_use_group1": True})
    excluded = found["firstframe"].fields["groupdq"][:, 0] & DO_NOT_USE != 0
    assert found["firstframe"].status["firstframe"] == "COMPLETE"
    assert excluded.any()


@pytest.mark.parametrize(
    ("nframes", "ngroups"), [(4, 5), pytest.param(8, 4, marks=pytest.mark.slow)]
)
def test_groups_of_averaged_frames(nframes, ngroups):
    exposure = small_exposure(
        "MIRIMAGE", shape=(24, 32), nframes=nframes, ngroups=ngroups, nints=2, noise=ROUGH
    )
    assert exposure.header["READPATT"] == {4: "FASTGRPAVG", 8: "FASTGRPAVG8"}[nframes]
    found = check(exposure)
    assert found["rate"].status["dark_sub"] == "COMPLETE"


@pytest.mark.parametrize("algorithm", ["joint", "sequential"])
def test_interference(algorithm):
    noise = replace(ROUGH, interference=20.0, rscd=0.01)
    exposure = small_exposure(
        "MIRIMAGE", shape=(40, 64), ngroups=11, nints=2, noise=noise, sky=Sky(stars=20)
    )
    found = check(exposure, emicorr={"skip": False, "algorithm": algorithm, "nbins": 12})
    assert found["rate"].status["emicorr"] == "COMPLETE"
    before, after = (found[step].fields["data"] for step in ("dq_init", "emicorr"))
    change = (before - after)[..., found["dq_init"].fields["pixeldq"] == 0]
    assert 10 < change.std() < 40
    assert np.isfinite(found["rate"].fields["data"]).mean() > 0.5


def test_a_segment_of_an_exposure(tmp_path):
    exposure = small_exposure("MIRIMAGE", ngroups=8, nints=3, noise=ROUGH)
    segment = tmp_path / exposure.path.name
    with fits.open(exposure.path, memmap=False) as hdus:
        hdus[0].header.update(NINTS=9, INTSTART=4, INTEND=6)
        hdus.writeto(segment)
    with offline(exposure.set):
        whole = {arrays.step: arrays for arrays in our_steps(exposure.path)}
    part = check(exposure, segment)
    first = [found["rscd"].fields["groupdq"][0, :3] & DO_NOT_USE for found in (whole, part)]
    assert np.all(first[1][1])
    assert not np.all(first[0][1])
    for step in ("reset", "dark_current"):
        assert np.any(whole[step].fields["data"][0] != part[step].fields["data"][0])


@pytest.mark.slow
def test_full_frame_with_reference_pixels():
    exposure = small_exposure("MIRIMAGE", subarray="FULL", ngroups=4, nints=2)
    found = check(exposure)
    before, after = (found[step].fields["data"] for step in ("dark_current", "refpix"))
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert np.all(np.any(after[:, 1:] != before[:, 1:], axis=(2, 3)))
