"""detector1 recovers the truth behind simulated exposures without correlated noise.

Some 63,000 pixels are compared each time: chance moves the mean by 0.004, the scatter by 0.003.
"""

import numpy as np
import pytest
from support.cases import long
from support.simulated import offline, small_exposure

from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.simulate import Noise, Sky, score_rate, score_rays
from calbatch.models import datamodels

pytestmark = pytest.mark.agreement

# 40 times the usual rate of cosmic rays: enough hits in a small frame.
NOISE = Noise(correlated=False, cosmic_rays=200.0)

EXPOSURES = [
    {"detector": "NRCA1", "ngroups": 10, "seed": 0},
    long({"detector": "NRCA1", "ngroups": 10, "seed": 1}),
    long({"detector": "NRCA1", "ngroups": 40, "seed": 2}),
    {"detector": "NRCB4", "ngroups": 6, "nframes": 4, "groupgap": 1, "seed": 3},
    long({"detector": "NRCALONG", "ngroups": 10, "nframes": 2, "seed": 4}),
    {"detector": "NIS", "ngroups": 5, "nints": 2, "seed": 5},
    {"detector": "NRS1", "ngroups": 8, "corner": (600, 700), "seed": 6},
    long({"detector": "NRS2", "ngroups": 20, "seed": 7}),
    {"detector": "GUIDER1", "ngroups": 6, "seed": 8},
    long({"detector": "GUIDER2", "ngroups": 5, "nints": 3, "seed": 9}),
]


@pytest.mark.parametrize("spec", EXPOSURES, ids=lambda spec: "-".join(map(str, spec.values())))
def test_rates_and_rays_match_the_truth(spec, tmp_path):
    exposure = small_exposure(shape=(256, 256), noise=NOISE, sky=Sky(stars=30), **spec)
    with offline(exposure.set):
        Detector1Pipeline.call(
            exposure.path, save_results=True, save_calibrated_ramp=True, output_dir=str(tmp_path)
        )
    stem = exposure.path.name.removesuffix("_uncal.fits")
    rate = datamodels.open(tmp_path / f"{stem}_rate.fits")
    ramp = datamodels.open(tmp_path / f"{stem}_ramp.fits")
    rates = score_rate(exposure.truth, *map(np.asarray, (rate.data, rate.err, rate.dq)))
    assert rates.pixels > 0.9 * 256**2
    assert abs(rates.mean) <= 0.05
    assert abs(rates.scatter - 1) <= 0.1
    rays = score_rays(exposure.truth, np.asarray(ramp.groupdq))
    assert rays.bright > 100
    assert rays.found >= 0.95
    assert rays.false < 0.005
