"""detector1 against jwst 3.0.0 on simulated exposures: after each step, and at the end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from support.agreement import assert_agreement
from support.simulated import offline, small_exposure

from calbatch.calibrate.simulate import Noise

# jwst and what it stands on warn of their own future; that is not under test here.
pytestmark = [
    pytest.mark.agreement,
    pytest.mark.filterwarnings("ignore"),
]

ROUGH = Noise(cosmic_rays=2000.0, hot=0.01, dead=0.01, bad_references=0.03)
"""Rays enough for several hits in many ramps; dead, hot, saturated and NaN-reference pixels."""


def check(exposure, path=None, **parameters):
    with offline(exposure.set):
        assert_agreement(path or exposure.path, read_noise=5.0, **parameters)


@pytest.mark.parametrize("nints", [1, 3])
@pytest.mark.parametrize("ngroups", [1, 2, 3, 4, 5, 10, 12])
def test_any_number_of_groups_and_integrations(ngroups, nints):
    check(small_exposure("NRCA1", ngroups=ngroups, nints=nints, noise=ROUGH, seed=ngroups))


def test_120_groups():
    check(
        small_exposure(
            "NRCA1", shape=(24, 32), ngroups=120, noise=replace(ROUGH, cosmic_rays=200.0)
        )
    )


def test_sigma_clipping_across_many_integrations():
    exposure = small_exposure("NRCA1", shape=(16, 24), nints=120, ngroups=3, noise=ROUGH)
    check(exposure, jump={"minimum_sigclip_groups": 20})


@pytest.mark.parametrize(
    "detector", ["NRCA1", "NRCB4", "NIS", "NRS1", "NRS2", "GUIDER1", "GUIDER2"]
)
@pytest.mark.parametrize("corner", [(1, 1), (600, 700)], ids=["edge", "middle"])
def test_every_detector_with_and_without_reference_pixels(detector, corner):
    check(small_exposure(detector, corner=corner, nints=2, ngroups=6, noise=ROUGH))


def test_averaged_frames_with_gaps():
    exposure = small_exposure("NRCA1", nframes=4, groupgap=1, ngroups=8, nints=2, noise=ROUGH)
    check(exposure)


def test_dark_with_too_few_frames():
    check(small_exposure("NIS", ngroups=6, nframes=4, groupgap=1, dark_frames=12, noise=ROUGH))


def test_groups_wholly_unusable(tmp_path):
    exposure = small_exposure("NRCA1", ngroups=7, nints=2, noise=ROUGH)
    path = altered(exposure.path, tmp_path, lambda data: data[0, 0:2].fill(0))
    check(exposure, path)


def test_saturated_from_the_first_group(tmp_path):
    exposure = small_exposure("NIS", ngroups=5, noise=ROUGH)
    path = altered(
        exposure.path, tmp_path, lambda data: data.__setitem__((..., slice(20, None)), 65535)
    )
    check(exposure, path)


@pytest.mark.parametrize(
    "parameters",
    [
        {"ramp_fit": {"suppress_one_group": False}},
        {"ramp_fit": {"firstgroup": 1, "lastgroup": 5}},
        {"jump": {"flag_4_neighbors": False, "rejection_threshold": 6.0}},
        {"jump": {"after_jump_flag_dn1": 10.0, "after_jump_flag_time1": 30.0}},
        {"jump": {"min_diffs_single_pass": 3}},
        {"saturation": {"n_pix_grow_sat": 2}},
        {"saturation": {"n_pix_grow_sat": 0, "use_readpatt": False}},
        {"refpix": {"odd_even_columns": False, "use_side_ref_pixels": False}},
        {"refpix": {"odd_even_rows": False}},
    ],
    ids=str,
)
def test_parameters(parameters):
    check(small_exposure("NRCA1", ngroups=8, nints=2, noise=ROUGH), **parameters)


def long(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("detector", "ngroups"),
    [
        ("NRCA1", 3),
        long("NRCB1", 2),
        long("NIS", 2),
        long("NRS1", 2),
        long("NRS2", 2),
        long("GUIDER1", 2),
        long("GUIDER2", 2),
    ],
)
def test_full_frame(detector, ngroups):
    exposure = small_exposure(detector, subarray="FULL", ngroups=ngroups)
    check(exposure)


def altered(path: Path, folder: Path, change) -> Path:
    """Return a copy of a file whose raw counts have been changed."""
    with fits.open(path, memmap=False) as hdus:
        change(hdus["SCI"].data)
        copy = folder / path.name
        hdus.writeto(copy)
    assert np.any(fits.getdata(copy, "SCI") != fits.getdata(path, "SCI"))
    return copy
