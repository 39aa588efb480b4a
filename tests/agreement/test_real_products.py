"""Real files: jwst's products of each step, a flat, and a raw exposure as archived."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels as jwst_models
from support.agreement import assert_close
from support.headers import differences

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.steps.flat_field import FlatFieldStep
from calbatch.models import datamodels

pytestmark = pytest.mark.agreement

REFERENCES = {
    "dq_init": {"mask": "mask_syn"},
    "saturation": {"saturation": "saturation_syn", "superbias": "jwst_nirspec_superbias_0075"},
    "superbias": {"superbias": "jwst_nirspec_superbias_0075"},
    "linearity": {"linearity": "linearity_syn"},
    "dark_current": {"dark": "dark_0046_repacked"},
    "jump": {"gain": "gain_syn", "readnoise": "readnoise_syn"},
    "ramp_fit": {"gain": "gain_syn", "readnoise": "readnoise_syn"},
}
"""The steps applied to the files of nirspec_sub512, in order, with their references."""

SKIPPED = ("group_scale", "ipc", "refpix", "gain_scale")
RAMPS = [step for step in REFERENCES if step != "ramp_fit"]
RATES = ("rate", "rateints")

ALLOWED = {
    "DATE": "when the file was written",
    "FILENAME": "as it was saved",
    "CALBATCH": "calbatch's version",
    "CAL_VCS": "jwst's own revision",
    "CRDS_VER": "the version of the CRDS client",
    "CRDS_CTX": "every reference is given by its path: no context chose any",
    "CHECKSUM": "jwst writes none",
    "DATASUM": "jwst writes none",
}


@pytest.fixture
def folder(real_data):
    return real_data / "nirspec_sub512"


def overrides(folder, step):
    names = REFERENCES[step].items()
    return {f"override_{kind}": folder / f"{name}.fits" for kind, name in names}


def product(folder, suffix):
    return folder / f"nrs1_sub512_syn_{suffix}.fits"


def check(found: Path, wanted: Path, noise: float):
    """Compare a file of ours with jwst's: every array, and the headers."""
    with fits.open(found) as ours, fits.open(wanted) as theirs:
        arrays = [hdu.name for hdu in theirs[1:]]
        error = np.nan_to_num(theirs["ERR"].data) if "ERR" in theirs else noise
        for name in arrays:
            allowed = error**2 if name.startswith("VAR") else error
            assert_close(native(ours[name]), native(theirs[name]), allowed, f"{wanted.name} {name}")
        check_headers(ours, theirs)


def native(hdu):
    return hdu.data.astype(hdu.data.dtype.newbyteorder("="))


def check_headers(ours, theirs):
    for hdu, key, mine, other in differences(ours, theirs):
        if key.startswith("R_") and other is not None:
            assert Path(mine).name == other, key  # the path of an override
        else:
            assert key in ALLOWED, f"{hdu} {key}: {mine!r} for jwst's {other!r}"


@pytest.fixture
def read_noise(folder):
    return float(np.nanmedian(fits.getdata(folder / "readnoise_syn.fits")))


@pytest.mark.parametrize("step", RAMPS)
def test_each_step_from_the_product_before(folder, read_noise, step):
    before = ["uncal", *RAMPS][RAMPS.index(step)]
    ramp = datamodels.RampModel(product(folder, before))
    result = Detector1Pipeline.step_defs[step].call(ramp, **overrides(folder, step))
    with fits.open(product(folder, step)) as wanted:
        for name, hdu in (("data", "SCI"), ("pixeldq", "PIXELDQ"), ("groupdq", "GROUPDQ")):
            found = np.asarray(getattr(result, name))
            assert_close(found, native(wanted[hdu]), read_noise, f"{step} {name}")


def test_rates_from_the_jump_product(folder):
    cls = Detector1Pipeline.step_defs["ramp_fit"]
    results = cls.call(product(folder, "jump"), **overrides(folder, "ramp_fit"))
    for result, suffix in zip(results, RATES, strict=True):
        with fits.open(product(folder, suffix)) as wanted:
            error = np.nan_to_num(native(wanted["ERR"]))
            for name in ("data", "err", "dq", "var_poisson", "var_rnoise"):
                hdu = wanted["SCI" if name == "data" else name.upper()]
                noise = error**2 if name.startswith("var") else error
                found = np.asarray(getattr(result, name))
                assert_close(found, native(hdu), noise, f"{suffix} {name}")


@pytest.fixture(scope="module")
def calibrated(real_data, tmp_path_factory):
    """Return a folder with all products of one run of the pipeline on the raw exposure."""
    source, output = real_data / "nirspec_sub512", tmp_path_factory.mktemp("calibrated")
    steps = {
        name: {**overrides(source, name), "save_results": name in RAMPS} for name in REFERENCES
    }
    steps |= {name: {"skip": True} for name in SKIPPED}
    Detector1Pipeline.call(
        product(source, "uncal"), steps=steps, save_results=True, output_dir=str(output)
    )
    return output


@pytest.mark.parametrize("suffix", [*RAMPS, *RATES])
def test_one_run_makes_every_product(folder, calibrated, read_noise, suffix):
    check(product(calibrated, suffix), product(folder, suffix), read_noise)


def test_jwst_reads_the_flat_fielded_cube(real_data, tmp_path):
    source = real_data / "miri_lrs"
    before, after = (
        source / f"ERS_NGTS10_2022_new_drift_041_{suffix}.fits"
        for suffix in ("rateints", "calints")
    )
    rates, wanted = fits.getdata(before, "SCI"), fits.getdata(after, "SCI")
    flat = datamodels.FlatModel((rates[0] / wanted[0]).astype("f4"))
    flat.meta.subarray.xstart, flat.meta.subarray.ystart = 1, 529
    flat.meta.subarray.ysize, flat.meta.subarray.xsize = wanted.shape[1:]
    FlatFieldStep.call(before, override_flat=flat, save_results=True, output_dir=str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with jwst_models.open(next(tmp_path.glob("*_flat_field.fits"))) as cube:
            usable = np.isfinite(cube.data)
            assert usable.mean() > 0.9
            # the flat is a quotient in single precision
            np.testing.assert_allclose(cube.data[usable], wanted[usable], rtol=2e-6)
            assert cube.meta.cal_step.flat_field == "COMPLETE"


class TestRawExposure:
    """A raw exposure of the guider, written by the observatory's own software."""

    @pytest.fixture
    def raw(self, real_data):
        return real_data / "fgs_acq1" / "jw01019001001_gs-acq1_2022117003102_uncal.fits"

    def test_metadata_agree_with_jwst(self, raw):
        ours = datamodels.open(raw).to_flat_dict()
        with jwst_models.open(raw) as model:
            theirs = {k: v for k, v in model.to_flat_dict().items() if k.startswith("meta.")}
        assert len(ours) > 100
        for name, value in ours.items():
            # jwst reads more digits from the ASDF extension than a card can hold
            close = isinstance(value, float)
            assert theirs[name] == (pytest.approx(value, rel=1e-13) if close else value), name

    def test_pixels_are_read_in_place(self, raw):
        model = datamodels.open(raw)
        assert type(model) is datamodels.Level1bModel
        assert model.data.dtype == np.uint16
        np.testing.assert_array_equal(model.data, fits.getdata(raw))
        part = model.data[3, 1, 40:50, 7:9].compute()
        np.testing.assert_array_equal(part, fits.getdata(raw)[3, 1, 40:50, 7:9])

    def test_a_copy_has_the_same_content(self, raw, tmp_path):
        copy = datamodels.open(raw).save(tmp_path / raw.name, fsync=False)
        with fits.open(copy) as ours, fits.open(raw) as theirs:
            assert {d[1] for d in differences(ours, theirs)} <= {"DATE", "CHECKSUM", "DATASUM"}
            np.testing.assert_array_equal(ours["SCI"].data, theirs["SCI"].data)
