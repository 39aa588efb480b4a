"""Headers and tables of exposures as jwst's data models read them."""

import numpy as np
import pytest
from astropy.io import fits
from support.simulated import small_exposure

DETECTORS = ["NRCA1", "NRCBLONG", "NIS", "NRS1", "NRS2", "GUIDER1", "GUIDER2", "MIRIMAGE"]


@pytest.fixture
def strict(monkeypatch):
    """Turn warnings of jwst's data models into errors."""
    monkeypatch.setenv("STRICT_VALIDATION", "true")


@pytest.mark.parametrize("detector", DETECTORS)
def test_exposures_are_valid_raw_models(strict, detector):
    from jwst import datamodels

    exposure = small_exposure(detector, nints=2, ngroups=3)
    with datamodels.open(exposure.path) as model:
        model.validate()
        assert type(model) is datamodels.Level1bModel
        assert model.data.dtype == np.uint16
        np.testing.assert_array_equal(model.data, exposure.data)
        assert model.meta.exposure.nints == 2
        assert model.meta.subarray.ysize == 32
        assert model.meta.instrument.detector == detector


def test_tables_have_the_columns_of_the_schema(strict):
    from jwst import datamodels

    exposure = small_exposure("NIS", nints=3, ngroups=4)
    layouts = {name: datamodels.Level1bModel().get_dtype(name) for name in ("int_times", "group")}
    with fits.open(exposure.path, memmap=False) as hdus:
        for name, layout in layouts.items():
            assert hdus[name].columns.dtype.newbyteorder("=") == layout.newbyteorder("=")
        times = hdus["INT_TIMES"].data
        assert times["integration_number"].tolist() == [1, 2, 3]
        seconds = (times["int_end_MJD_UTC"] - times["int_start_MJD_UTC"]) * 86400
        # double precision keeps a modified Julian date to a microsecond
        np.testing.assert_allclose(seconds, 4 * exposure.header["TFRAME"], atol=2e-6)
        groups = hdus["GROUP"].data
        assert groups["group_number"].tolist() == [1, 2, 3, 4] * 3
        assert groups["number_of_rows"].tolist() == [32] * 12
