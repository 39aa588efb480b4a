"""Products in the JWST ecosystem: jwst opens, reads and further calibrates them."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from jwst.flatfield import FlatFieldStep
from jwst.photom import PhotomStep
from jwst.pipeline import Detector1Pipeline as JwstDetector1
from stdatamodels.jwst import datamodels as jwst_models
from support.agreement import assert_close
from support.headers import differences
from support.simulated import SmallExposure, offline, small_exposure

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.simulate import Noise
from calbatch.models import datamodels

# Deprecation warnings of jwst and its dependencies; tests that check warnings make them errors.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

ALLOWED = {
    "DATE": "when the file was written",
    "CALBATCH": "calbatch's version; CAL_VER is the jwst release whose numbers it gives",
    "CAL_VCS": "jwst's own revision",
    "CRDS_VER": "the version of the CRDS client, which is calbatch's own",
    "CHECKSUM": "jwst writes none",
    "DATASUM": "jwst writes none",
    "XPOSURE": "in the raw header and in no schema: jwst drops such cards from rates",
    "TELAPSE": "in the raw header and in no schema: jwst drops such cards from rates",
}
"""Keywords in which our headers differ from jwst's, and why."""

EXPOSURES = {
    "NIRCam": {"detector": "NRCA1", "nframes": 2, "groupgap": 1},
    "NIRISS": {"detector": "NIS"},
    "FGS": {"detector": "GUIDER1"},
    "NIRSpec IFU": {"detector": "NRS1", "exposure_type": "NRS_IFU"},
}


@dataclass(frozen=True)
class Products:
    """One exposure's rate and rateints, ours and jwst's."""

    exposure: SmallExposure
    ours: dict[str, Path]
    theirs: dict[str, Path]


_made: dict[str, Products] = {}


@pytest.fixture
def products(request, tmp_path_factory):
    """Return an instrument's products, calibrated once by both pipelines."""
    name = request.param
    if name not in _made:
        exposure = small_exposure(
            nints=2,
            ngroups=5,
            noise=Noise(cosmic_rays=500.0, bad_references=0.02),
            **EXPOSURES[name],
        )
        with offline(exposure.set):
            found = [
                _calibrate(pipeline, exposure.path, tmp_path_factory.mktemp("products"))
                for pipeline in (Detector1Pipeline, JwstDetector1)
            ]
        _made[name] = Products(exposure, *found)
    return _made[name]


def _calibrate(pipeline, raw, folder):
    pipeline.call(str(raw), save_results=True, output_dir=str(folder))
    return {suffix: next(folder.glob(f"*_{suffix}.fits")) for suffix in ("rate", "rateints")}


FGS = pytest.param("FGS", marks=pytest.mark.slow)  # its products differ least from NIRISS's
every_instrument = pytest.mark.parametrize(
    "products", [FGS if name == "FGS" else name for name in EXPOSURES], indirect=True
)
each_product = pytest.mark.parametrize("suffix", ["rate", "rateints"])


@each_product
@every_instrument
def test_jwst_opens_products_without_warnings(products, suffix, monkeypatch):
    monkeypatch.setenv("STRICT_VALIDATION", "true")
    with jwst_models.open(products.theirs[suffix]) as theirs, warnings.catch_warnings():
        warnings.simplefilter("error")
        with jwst_models.open(products.ours[suffix]) as ours:
            ours.validate()
            assert type(ours) is type(theirs)
            for name in ("data", "err", "dq", "var_poisson", "var_rnoise"):
                found, wanted = getattr(ours, name), getattr(theirs, name)
                assert found.dtype == wanted.dtype
                error = np.nan_to_num(theirs.err)
                noise = error**2 if name.startswith("var") else error
                assert_close(found, wanted, noise, f"{suffix} {name}")


@every_instrument
def test_an_ifu_rate_is_an_ifu_image(products):
    ifu = products.exposure.header["EXP_TYPE"] == "NRS_IFU"
    expected = datamodels.IFUImageModel if ifu else datamodels.ImageModel
    assert type(datamodels.open(products.ours["rate"])) is expected


@each_product
@every_instrument
def test_headers_agree_with_jwst(products, suffix):
    with fits.open(products.ours[suffix]) as ours, fits.open(products.theirs[suffix]) as theirs:
        assert [(h.name, h.ver) for h in ours] == [(h.name, h.ver) for h in theirs]
        assert {d[1] for d in differences(ours, theirs)} <= set(ALLOWED)
        header = ours[0].header
        assert header["CAL_VER"] == theirs[0].header["CAL_VER"] == "3.0.0"
        assert header["CRDS_CTX"] == products.exposure.set.context
        references = header["R_*"]
        assert len(references) == 8
        assert all(v == "N/A" or v.startswith("crds://jwst_") for v in references.values())
        assert header["S_RAMP"] == "COMPLETE"


@every_instrument
def test_every_allowed_difference_occurs(products):
    with fits.open(products.ours["rate"]) as ours, fits.open(products.theirs["rate"]) as theirs:
        assert {d[1] for d in differences(ours, theirs)} == set(ALLOWED)


@every_instrument
def test_integration_times_are_copied(products):
    ours = fits.getdata(products.ours["rateints"], "INT_TIMES")
    raw = fits.getdata(products.exposure.path, "INT_TIMES")
    assert len(ours) == 2
    assert ours.tolist() == raw.tolist()


@pytest.mark.parametrize(
    ("products", "given"),
    [
        *(("NIRCam", "path"), ("NIRCam", "model"), ("NIRISS", "path")),
        pytest.param("FGS", "model", marks=pytest.mark.slow),
    ],
    indirect=["products"],
)
def test_jwst_continues_from_a_rate(products, given):
    check_calibrated(products, "rate", given)


@pytest.mark.parametrize("products", ["NIRCam"], indirect=True)
def test_jwst_continues_from_rateints(products):
    check_calibrated(products, "rateints", "path")


def check_calibrated(products, suffix, given):
    """Compare the results of jwst's steps for our file and for jwst's."""
    ours, theirs = str(products.ours[suffix]), str(products.theirs[suffix])
    with offline(products.exposure.set):
        for step, status in ((FlatFieldStep, "flat_field"), (PhotomStep, "photom")):
            found = step.call(ours if given == "path" else jwst_models.open(ours))
            wanted = step.call(theirs)
            assert found.meta.cal_step.instance[status] == "COMPLETE"
            unit = {"flat_field": "DN/s", "photom": "MJy/sr"}[status]
            assert found.meta.bunit_data == wanted.meta.bunit_data == unit
            assert found.meta.photometry.instance == wanted.meta.photometry.instance
            check_arrays(found, wanted)


def check_arrays(found, wanted):
    error = np.nan_to_num(wanted.err)
    for name in ("data", "err", "dq", "var_poisson", "var_rnoise", "var_flat", "area"):
        array = getattr(wanted, name)
        if array is None:
            assert getattr(found, name) is None, name
            continue
        noise = error**2 if name.startswith("var") else error
        assert_close(getattr(found, name), array, noise, name)
