"""detector1 agrees with jwst 3.0.0 on simulated exposures, after each step and at the end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels as jwst_models
from support.agreement import assert_agreement, our_steps
from support.cases import long
from support.simulated import offline, small_exposure

from calbatch.calibrate.simulate import Noise
from calbatch.models.dq import CHARGELOSS, DO_NOT_USE, JUMP_DET, PERSISTENCE, SATURATED

# Deprecation warnings of jwst and its dependencies are not under test here.
pytestmark = [
    pytest.mark.agreement,
    pytest.mark.filterwarnings("ignore"),
]

ROUGH = Noise(cosmic_rays=2000.0, hot=0.01, dead=0.01, bad_references=0.03)
"""Several cosmic-ray hits in many ramps; dead, hot, saturated and NaN-reference pixels."""


def check(exposure, path=None, **parameters):
    """Compare with jwst after each step; return our arrays by step."""
    with offline(exposure.set):
        return assert_agreement(path or exposure.path, read_noise=5.0, **parameters)


@pytest.mark.parametrize(
    ("ngroups", "nints"),
    [
        *((1, 1), (2, 3), (4, 3), (5, 1)),
        *(long(*case) for case in ((1, 3), (2, 1), (3, 1), (3, 3), (4, 1), (5, 3))),
        *(long(*case) for case in ((10, 1), (10, 3), (12, 1), (12, 3))),
    ],
)
def test_any_number_of_groups_and_integrations(ngroups, nints):
    found = check(small_exposure("NRCA1", ngroups=ngroups, nints=nints, noise=ROUGH, seed=ngroups))
    status = found["rate"].status
    assert status["ramp_fit"] == "COMPLETE"
    assert status["jump"] == ("COMPLETE" if ngroups > 2 else "SKIPPED")
    rateints = found["rateints"].fields["data"]
    assert rateints.shape == (nints, *found["rate"].fields["data"].shape)
    assert np.isfinite(rateints).mean() > 0.8


@pytest.mark.ci
def test_120_groups():
    found = check(
        small_exposure(
            "NRCA1", shape=(24, 32), ngroups=120, noise=replace(ROUGH, cosmic_rays=200.0)
        )
    )
    assert found["jump"].fields["data"].shape == (1, 120, 24, 32)
    jumps = (found["jump"].fields["groupdq"] & JUMP_DET != 0).any(axis=(0, 1))
    assert 0 < jumps.mean() < 1


@pytest.mark.ci
def test_sigma_clipping_across_many_integrations():
    exposure = small_exposure("NRCA1", shape=(16, 24), nints=60, ngroups=3, noise=ROUGH)
    clipped = check(exposure, jump={"minimum_sigclip_groups": 20})["jump"].fields["groupdq"]
    compared = check(exposure, jump={"minimum_sigclip_groups": 61})["jump"].fields["groupdq"]
    assert np.any(clipped & JUMP_DET)
    assert np.any(clipped != compared)


DETECTORS = ("NRCA1", "NRCB4", "NIS", "NRS1", "NRS2", "GUIDER1", "GUIDER2")


@pytest.mark.parametrize(
    ("detector", "where"),
    [
        *(("NRCA1", "edge"), ("NIS", "edge"), ("NRS2", "edge"), ("NRS2", "middle")),
        *(long(name, "edge") for name in DETECTORS if name not in ("NRCA1", "NIS", "NRS2")),
        *(long(name, "middle") for name in DETECTORS if name != "NRS2"),
    ],
)
def test_every_detector_with_and_without_reference_pixels(detector, where):
    corner = (1, 1) if where == "edge" else (600, 700)
    found = check(small_exposure(detector, corner=corner, nints=2, ngroups=6, noise=ROUGH))
    changed = np.any(found["refpix"].fields["data"] != found["superbias"].fields["data"])
    assert changed == (where == "edge")


@pytest.mark.ci
def test_averaged_frames_with_gaps():
    exposure = small_exposure("NRCA1", nframes=4, groupgap=1, ngroups=8, nints=2, noise=ROUGH)
    rate = check(exposure)["rate"].fields["data"]
    header = fits.getheader(exposure.path)
    assert (header["NFRAMES"], header["GROUPGAP"]) == (4, 1)
    assert header["TGROUP"] == pytest.approx(5 * header["TFRAME"])
    assert np.isfinite(rate).mean() > 0.8


def test_dark_with_too_few_frames():
    found = check(
        small_exposure("NIS", ngroups=6, nframes=4, groupgap=1, dark_frames=12, noise=ROUGH)
    )
    assert found["dark_current"].status["dark_sub"] == "COMPLETE"
    dark = found["linearity"].fields["data"] - found["dark_current"].fields["data"]
    assert np.nanmean(dark[:, 5]) > np.nanmean(dark[:, 0])  # extrapolated, not absent


def test_groups_unusable_in_the_whole_frame(tmp_path):
    exposure = small_exposure("NRCA1", ngroups=7, nints=2, noise=ROUGH)
    path = copy_with_counts(exposure.path, tmp_path, lambda data: data[0, 0:2].fill(0))
    found = check(exposure, path)
    unusable = np.all(found["saturation"].fields["groupdq"] & DO_NOT_USE, axis=(2, 3))
    assert np.argwhere(unusable).tolist() == [[0, 0], [0, 1]]


def test_saturated_from_the_first_group(tmp_path):
    exposure = small_exposure("NIS", ngroups=5, noise=ROUGH)
    path = copy_with_counts(
        exposure.path, tmp_path, lambda data: data.__setitem__((..., slice(20, None)), 65535)
    )
    rate = check(exposure, path)["rate"].fields
    saturated = np.s_[4:-4, 20:-4]  # reference pixels are not checked
    assert np.all(np.isnan(rate["data"][saturated]))
    assert np.all(rate["dq"][saturated] & SATURATED)
    assert np.isfinite(rate["data"][:, :20]).mean() > 0.8


# The steps' own tests compare each of their parameters with jwst's.
@pytest.mark.parametrize(
    "parameters",
    [
        {"ramp_fit": {"firstgroup": 1, "lastgroup": 5}},
        {"jump": {"flag_4_neighbors": False, "rejection_threshold": 6.0}},
        {"saturation": {"n_pix_grow_sat": 0, "use_readpatt": False}},
        {"refpix": {"odd_even_columns": False, "use_side_ref_pixels": False}},
        long({"ramp_fit": {"suppress_one_group": False}}),
        long({"jump": {"after_jump_flag_dn1": 10.0, "after_jump_flag_time1": 30.0}}),
        long({"jump": {"min_diffs_single_pass": 3}}),
        long({"saturation": {"n_pix_grow_sat": 2}}),
        long({"refpix": {"odd_even_rows": False}}),
    ],
    ids=str,
)
def test_parameters(parameters, saturating):
    exposure, path, usual = saturating
    found = check(exposure, path, **parameters)
    changed = [
        step
        for step, arrays in usual.items()
        if any(
            not np.array_equal(found[step].fields[name], array, equal_nan=array.dtype.kind == "f")
            for name, array in arrays.fields.items()
        )
    ]
    (step,) = parameters
    without_effect = {"refpix": {"odd_even_rows": False}}  # for MIRI only
    assert changed[:1] == ([] if parameters == without_effect else [FIRST_AFTER.get(step, step)])


@pytest.mark.parametrize(
    ("detector", "options", "suppress"),
    [
        ("NRCA1", {"readpatt": "BRIGHT2", "nints": 2}, True),
        ("NRCA1", {"readpatt": "BRIGHT2", "nints": 2}, False),
        ("NIS", {"nints": 1}, False),
        ("NRS1", {"nints": 2, "noutputs": 4}, False),
        ("GUIDER1", {"ngroups": 1}, False),
        long("NIS", {"nints": 1}, True),
        long("NRS1", {"nints": 2, "noutputs": 4}, True),
        long("GUIDER1", {"ngroups": 1}, True),
    ],
    ids=str,
)
def test_zero_frames(detector, options, suppress, tmp_path):
    exposure = small_exposure(detector, noise=ROUGH, zero_frame=True, **options)

    def saturate(hdus):
        hdus["SCI"].data[:, :, 20:24, 20:24] = 65535
        hdus["SCI"].data[:, 1:, 10:12, 10:12] = 65535
        hdus["ZEROFRAME"].data[:, 21, 21] = 65535
        hdus["ZEROFRAME"].data[:, 23, 23] = 0

    path = copy_with_changes(exposure.path, tmp_path, saturate)
    found = check(exposure, path, ramp_fit={"suppress_one_group": suppress})
    zero = found["jump"].fields["zeroframe"]
    assert (zero != 0).mean() > 0.8
    assert not zero[:, 21, 21].any()  # the superbias is not subtracted from unusable values
    with_rate = np.isfinite(found["rate"].fields["data"][20:24, 20:24])
    assert with_rate.any() == (not suppress or options.get("ngroups") == 1)


def test_a_zero_frame_that_the_header_denies_is_not_corrected(tmp_path):
    exposure = small_exposure("NRCA1", noise=ROUGH, zero_frame=True, readpatt="BRIGHT2", nints=2)
    path = copy_with_changes(
        exposure.path, tmp_path, lambda hdus: hdus[0].header.set("ZEROFRAM", False)
    )
    zero = check(exposure, path, ramp_fit={"suppress_one_group": False})["jump"].fields["zeroframe"]
    np.testing.assert_array_equal(zero, fits.getdata(path, "ZEROFRAME"))


@pytest.mark.parametrize("readpatt", [long("RAPID"), "BRIGHT2"])
def test_likelihood(readpatt):
    zero = readpatt == "BRIGHT2"
    exposure = small_exposure(  # jwst fits one row of pixels after another
        "NRCA1", shape=(12, 96), noise=ROUGH, readpatt=readpatt, zero_frame=zero, nints=2
    )
    rate = check(exposure, ramp_fit={"algorithm": "LIKELY"})["rate"].fields
    # It has left out differences in which jump found nothing.
    assert np.any(rate["dq"] & JUMP_DET)


def test_read_times_that_only_the_asdf_extension_has(tmp_path):
    """As in jwst, reads are not linearized one by one, and the fit is by likelihood."""
    exposure = small_exposure("NRCA1", shape=(12, 48), noise=ROUGH, readpatt="BRIGHT2", ngroups=6)
    path = tmp_path / exposure.path.name
    with jwst_models.Level1bModel(str(exposure.path)) as raw:
        raw.meta.exposure.read_times = [[20.0 * n + 1, 20.0 * n + 12] for n in range(6)]
        raw.save(path)
    plain, found = (check(exposure, each) for each in (exposure.path, path))
    assert not np.array_equal(
        plain["linearity"].fields["data"], found["linearity"].fields["data"], equal_nan=True
    )
    assert not np.array_equal(
        plain["rate"].fields["data"], found["rate"].fields["data"], equal_nan=True
    )


def test_steps_that_are_off_by_default(saturating):
    exposure, path, usual = saturating
    found = check(
        exposure,
        path,
        charge_migration={"skip": False, "signal_threshold": 20000.0},
        persistence={"skip": False, "persistence_time": 6, "dn_threshold": 30000.0},
    )
    flags = found["persistence"].fields["groupdq"]
    for flag in (CHARGELOSS, PERSISTENCE):
        assert np.any(flags & flag)
        assert not np.any(usual["jump"].fields["groupdq"] & flag)


FIRST_AFTER = {"ramp_fit": "rate"}
"""The arrays that show a step's effect first, if not those of its name."""


@pytest.fixture(scope="module")
def saturating(tmp_path_factory):
    """Return an exposure, its file with saturated pixels, and its arrays after each step."""
    exposure = small_exposure("NRCA1", ngroups=8, nints=2, noise=ROUGH)

    def saturate(data):
        data[:, 1:, 20:22, 20:22] = 65535  # one group is left
        data[:, 5:, 30:32, 30:32] = 65535

    path = copy_with_counts(exposure.path, tmp_path_factory.mktemp("saturating"), saturate)
    with offline(exposure.set):
        return exposure, path, {arrays.step: arrays for arrays in our_steps(path)}


@pytest.mark.ci  # the tests above compare the same steps on subarrays
@pytest.mark.parametrize(
    ("detector", "ngroups"),
    [("NRCA1", 3), *((name, 2) for name in ("NRCB1", "NIS", "NRS1", "NRS2", "GUIDER1", "GUIDER2"))],
)
def test_full_frame(detector, ngroups):
    exposure = small_exposure(detector, subarray="FULL", ngroups=ngroups)
    found = check(exposure)
    assert found["rate"].fields["data"].shape == (2048, 2048)
    assert np.isfinite(found["rate"].fields["data"]).mean() > 0.8


def copy_with_changes(path: Path, folder: Path, change) -> Path:
    """Return a copy of a file whose HDUs have been changed."""
    with fits.open(path, memmap=False) as hdus:
        change(hdus)
        copy = folder / path.name
        hdus.writeto(copy)
    return copy


def copy_with_counts(path: Path, folder: Path, change) -> Path:
    """Return a copy of a file whose raw counts have been changed."""
    copy = copy_with_changes(path, folder, lambda hdus: change(hdus["SCI"].data))
    assert np.any(fits.getdata(copy, "SCI") != fits.getdata(path, "SCI"))
    return copy
