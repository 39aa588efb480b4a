"""Pipeline dark agrees with jwst's, and makes its product."""

import numpy as np
import pytest
from astropy.io import fits
from jwst.pipeline import DarkPipeline as JwstDark
from support.agreement import OF_RAMPS, assert_close
from support.headers import differences
from support.simulated import offline, small_exposure

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.pipelines.dark import DarkPipeline
from calbatch.models.datamodels import RampModel

ALLOWED = {
    "DATE": "when the file was written",
    "FILENAME": "jwst's own suffix is not the one that it documents",
    "CALBATCH": "calbatch's version",
    "CAL_VCS": "jwst's own revision",
    "CRDS_VER": "the version of the CRDS client",
    "CHECKSUM": "jwst writes none",
    "DATASUM": "jwst writes none",
}


@pytest.mark.agreement
@pytest.mark.filterwarnings("ignore")  # warnings of jwst, stcal and crds
@pytest.mark.parametrize(
    ("detector", "readout"),
    [
        ("NRCA1", {"nints": 2, "readpatt": "BRIGHT2", "zero_frame": True}),
        pytest.param("NIS", {}, marks=pytest.mark.slow),
        pytest.param("NRS1", {"zero_frame": True}, marks=pytest.mark.slow),
        pytest.param("GUIDER1", {}, marks=pytest.mark.slow),
    ],
)
def test_the_ramp_and_its_header_are_those_of_jwst(tmp_path, detector, readout):
    exposure = small_exposure(detector, **readout)
    with offline(exposure.set):
        wanted = JwstDark.call(str(exposure.path), save_results=True, output_dir=str(tmp_path))
        DarkPipeline.call(exposure.path, save_results=True, output_dir=str(tmp_path))
    stem = exposure.path.name.removesuffix("_uncal.fits")
    ours = RampModel(tmp_path / f"{stem}_dark.fits")
    noise = float(np.nanmedian(fits.getdata(exposure.reference("readnoise"))))
    for name in (*OF_RAMPS, *(["zeroframe"] if wanted.hasattr("zeroframe") else [])):
        assert_close(np.asarray(getattr(ours, name)), getattr(wanted, name), noise, name)
    with (
        fits.open(ours.path) as found,
        fits.open(tmp_path / f"{stem}_darkpipeline.fits") as theirs,
    ):
        differing = {key for _, key, *_ in differences(found, theirs)}
        assert differing <= ALLOWED.keys()


def test_the_order_is_that_of_the_observatory_for_the_near_infrared():
    assert list(DarkPipeline.step_defs) == [
        "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity",
    ]  # fmt: skip
    assert set(DarkPipeline.step_defs) <= set(JwstDark.step_defs)


def test_miri_is_not_calibrated_yet():
    model = RampModel((1, 2, 3, 4))
    model.meta.instrument.name = "MIRI"
    with pytest.raises(StepError, match="dark does not support MIRI yet"):
        DarkPipeline().run(model)
