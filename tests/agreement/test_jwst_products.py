"""Products of jwst's own steps open with the class that made them, without a warning."""

import json
import warnings

import numpy as np
import pytest
from astropy.io import fits
from jwst.extract_1d import Extract1dStep
from jwst.pipeline import Detector1Pipeline
from support.simulated import offline, small_exposure

from calbatch.models import datamodels

# Deprecation warnings of jwst and its dependencies.
pytestmark = [pytest.mark.agreement, pytest.mark.ci, pytest.mark.filterwarnings("ignore")]

SAVED = ("dq_init", "saturation", "linearity", "dark_current", "jump")
"""Steps of jwst's pipeline whose products are saved, too."""
EXTRACTION = {
    "reftype": "EXTRACT1D", "instrument": "MIRI", "telescope": "JWST",
    "exp_type": "MIR_LRS-SLITLESS",
    "apertures": [{
        "id": "ANY", "spectral_order": 1, "region_type": "target", "bkg_order": 0, "dispaxis": 2,
        "xstart": 30, "xstop": 41, "ystart": 7, "ystop": 300,
    }],
}  # fmt: skip


def check_product(path):
    """Open a product, and save it again without a warning or a loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = datamodels.open(path)
        again = model.save(path.with_name(f"again_{path.name}"), fsync=False)
    with fits.open(path) as theirs, fits.open(again) as ours:
        assert type(model).__name__ == theirs[0].header["DATAMODL"]
        names = [hdu.name for hdu in theirs if hdu.name != "ASDF"]
        assert [hdu.name for hdu in ours if hdu.name != "ASDF"] == names
        for name in names[1:]:
            if theirs[name].is_image:
                np.testing.assert_array_equal(ours[name].data, theirs[name].data)
                continue
            units = [[(c.name, c.unit) for c in file[name].columns] for file in (ours, theirs)]
            assert units[0] == units[1]
            for column in theirs[name].columns.names:
                found, wanted = ours[name].data[column], theirs[name].data[column]
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("detector", ["NIRCAM", "MIRI", "NIRSPEC"])
def test_products_of_detector1(tmp_path, detector):
    exposure = small_exposure(detector, shape=(64, 64), nints=2, ngroups=5)
    pipeline = Detector1Pipeline(save_results=True, output_dir=str(tmp_path))
    pipeline.save_calibrated_ramp = pipeline.ramp_fit.save_opt = True
    for name in SAVED:
        getattr(pipeline, name).save_results = True
    with offline(exposure.set):
        pipeline.run(str(exposure.path))
    paths = list(tmp_path.glob("*.fits"))
    assert len(paths) > len(SAVED) + 3  # with ramp, rate, rateints and fitopt
    for path in paths:
        check_product(path)


def test_spectra_of_a_real_time_series(tmp_path, real_data):
    (tmp_path / "extract1d.json").write_text(json.dumps(EXTRACTION))
    step = Extract1dStep(apply_apcorr=False, save_results=True, output_dir=str(tmp_path))
    step.override_extract1d = str(tmp_path / "extract1d.json")
    step.override_apcorr = "N/A"
    with offline(small_exposure("MIRI", shape=(64, 64), nints=2, ngroups=5).set):
        step.run(str(real_data / "miri_lrs" / "ERS_NGTS10_2022_new_drift_041_calints.fits"))
    (path,) = tmp_path.glob("*.fits")
    assert type(datamodels.open(path)) is datamodels.TSOMultiSpecModel
    check_product(path)
