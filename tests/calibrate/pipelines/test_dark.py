"""Pipeline dark agrees with jwst's, and makes its product."""

import numpy as np
import pytest
from astropy.io import fits
from jwst.pipeline import DarkPipeline as JwstDark
from support.agreement import OF_RAMPS, assert_close
from support.headers import differences
from support.simulated import offline, small_exposure

from calbatch.calibrate.pipelines.dark import DarkPipeline
from calbatch.calibrate.simulate import Noise
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
        ("MIRIMAGE", {"nints": 2}),
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


def test_the_order_is_that_of_the_observatory():
    pipeline = DarkPipeline()
    orders = {name: [s.name for s in pipeline.steps_for(name)] for name in ("NIRCAM", "MIRI")}
    assert orders == {
        "NIRCAM": [
            "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity",
        ],
        "MIRI": [
            "group_scale", "dq_init", "emicorr", "saturation", "ipc", "firstframe", "lastframe",
            "reset", "linearity", "rscd",
        ],
    }  # fmt: skip
    assert list(DarkPipeline.step_defs) == list(JwstDark.step_defs)


@pytest.mark.agreement
@pytest.mark.filterwarnings("ignore")  # warnings of jwst, stcal and crds
def test_steps_of_miri_that_are_off_by_default(tmp_path):
    noise = Noise(interference=20.0, cosmic_rays=1000.0, hot=0.01, rscd=0.01)
    exposure = small_exposure("MIRIMAGE", shape=(32, 64), ngroups=8, nints=2, noise=noise)
    steps = {"emicorr": {"skip": False}, "firstframe": {"skip": False}}
    with offline(exposure.set):
        wanted = JwstDark.call(str(exposure.path), steps=steps)
        ours = DarkPipeline.call(exposure.path, steps=steps)
    for name in ("emicorr", "firstframe", "lastframe", "reset", "linearity", "rscd"):
        found = ours[f"meta.cal_step.{name}"]
        assert found == getattr(wanted.meta.cal_step, name) == "COMPLETE", name
    for name in OF_RAMPS:
        assert_close(np.asarray(getattr(ours, name)), getattr(wanted, name), 4.0, name)
