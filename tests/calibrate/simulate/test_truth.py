"""jwst's pipeline recovers the truth in simulated exposures, with the simulated references."""

import logging

import numpy as np
import pytest
from astropy.io import fits
from support.simulated import offline, small_exposure

from calbatch.calibrate.simulate import Noise, Sky, read_truth, score_rate, score_rays

pytestmark = [
    pytest.mark.slow,
    # stpipe uses a name that crds has deprecated
    pytest.mark.filterwarnings("ignore:'get_cache_lock' is deprecated:DeprecationWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Keep jwst's log out of the tests' output."""
    logging.getLogger("stpipe").setLevel(logging.ERROR)


def calibrate(exposure, **parameters):
    from jwst.pipeline import Detector1Pipeline

    with offline(exposure.set):
        return Detector1Pipeline.call(str(exposure.path), configure_log=False, **parameters)


def read_flags(folder):
    from jwst import datamodels

    [path] = folder.glob("*_ramp.fits")
    with datamodels.open(path) as model:
        return model.groupdq.copy()


@pytest.mark.parametrize(
    ("detector", "spec"), [("NRCA1", {"ngroups": 10}), ("MIRIMAGE", {"ngroups": 12, "nints": 2})]
)
def test_jwst_recovers_rates_and_rays(tmp_path, detector, spec):
    exposure = small_exposure(
        detector,
        shape=(128, 160),
        sky=Sky(stars=15),
        noise=Noise(correlated=False, cosmic_rays=600.0),
        **spec,
    )
    save = {"save_results": True, "save_calibrated_ramp": True, "output_dir": str(tmp_path)}
    rate = calibrate(exposure, **save)
    score = score_rate(exposure.truth, rate.data, rate.err, rate.dq)
    assert score.pixels > 0.9 * exposure.truth.good.sum()
    # reference pixels' own noise moves whole groups: about a tenth of one pixel's error
    assert abs(score.mean) < 0.15
    assert score.scatter == pytest.approx(1, abs=0.1)
    rays = score_rays(exposure.truth, read_flags(tmp_path))
    assert rays.bright > 20
    assert rays.found >= 0.95
    assert rays.false < 0.005


def test_jwst_flat_fields_and_calibrates_the_rate():
    from jwst.flatfield import FlatFieldStep
    from jwst.photom import PhotomStep

    noise = Noise(correlated=False, cosmic_rays=0.0)
    exposure = small_exposure("NIS", shape=(128, 160), noise=noise, ngroups=6)
    rate = calibrate(exposure)
    with offline(exposure.set):
        flattened = FlatFieldStep.call(rate, configure_log=False)
        calibrated = PhotomStep.call(flattened, configure_log=False)
    assert flattened.meta.cal_step.flat_field == "COMPLETE"
    assert calibrated.meta.cal_step.photom == "COMPLETE"
    unit = calibrated.meta.photometry.conversion_megajanskys
    assert unit == pytest.approx(1.9)
    good = exposure.truth.good & np.isfinite(calibrated.data)
    gain = fits.getdata(exposure.reference("gain"))
    pull = (calibrated.data / unit - exposure.truth.flux / gain) / (calibrated.err / unit)
    assert abs(pull[good].mean()) < 0.15  # see above
    assert pull[good].std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("migration", [0.0, 0.3])
def test_truth_survives_its_file(migration):
    exposure = small_exposure("NRCA1", nints=2, noise=Noise(charge_migration=migration))
    truth = read_truth(exposure.set.truths[0])
    assert (truth.migrated is None) == (migration == 0)
    if truth.migrated is not None:
        assert truth.migrated.shape == exposure.data[:, 0].shape
    np.testing.assert_array_equal(truth.rays, exposure.truth.rays)
    assert truth.rate.dtype == np.float32
    assert truth.good.dtype == bool
