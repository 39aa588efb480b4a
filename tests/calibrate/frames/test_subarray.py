"""Cut references to subarrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.frames.subarray import cut_to_exposure
from calbatch.models import datamodels

DETECTOR = np.arange(64 * 48, dtype="f4").reshape(64, 48)


def make_placed(cls, row, rows, col, columns, **changes):
    model = cls(np.broadcast_to(DETECTOR[row : row + rows, col : col + columns], (rows, columns)))
    model.meta.instrument.name = "NIRCAM"
    values = {"xstart": col + 1, "ystart": row + 1, "xsize": columns, "ysize": rows} | changes
    for name, value in values.items():
        setattr(model.meta.subarray, name, value)
    return model


@given(st.integers(0, 30), st.integers(17, 34), st.integers(0, 20), st.integers(17, 28))
@settings(max_examples=30, deadline=None)
def test_reference_is_cut_to_the_exposure(row, rows, col, columns):
    reference = make_placed(datamodels.GainModel, 0, 64, 0, 48)
    exposure = make_placed(datamodels.ImageModel, row, rows, col, columns)
    np.testing.assert_array_equal(cut_to_exposure(exposure, reference).data, exposure.data)


def test_cut_of_a_cut():
    reference = make_placed(datamodels.GainModel, 10, 40, 5, 40)
    exposure = make_placed(datamodels.ImageModel, 12, 20, 9, 30)
    np.testing.assert_array_equal(cut_to_exposure(exposure, reference).data, exposure.data)


@pytest.mark.parametrize("place", [(0, 20, 9, 30), (40, 20, 9, 30), (12, 20, 0, 30)])
def test_reference_that_does_not_cover_the_exposure_is_rejected(place):
    reference = make_placed(datamodels.GainModel, 10, 40, 5, 40)
    exposure = make_placed(datamodels.ImageModel, *place)
    with pytest.raises(ReferenceFileError, match="does not cover the exposure: it has columns 6"):
        cut_to_exposure(exposure, reference)


def test_unknown_position_is_rejected():
    reference = make_placed(datamodels.GainModel, 0, 64, 0, 48, xstart=None)
    exposure = make_placed(datamodels.ImageModel, 0, 20, 0, 20)
    with pytest.raises(ReferenceFileError, match="SUBSTRT1, SUBSTRT2, SUBSIZE1 and SUBSIZE2"):
        cut_to_exposure(exposure, reference)


@pytest.mark.parametrize(
    ("name", "detector", "warning"),
    [
        ("NIRCAM", "NRCA1", ""),
        ("NIRCAM", "ANY", ""),
        ("NIRCAM", "NRCA2", "its DETECTOR is NRCA2, but the exposure's is NRCA1"),
        ("NIRISS", "NRCA1", "its INSTRUME is NIRISS, but the exposure's is NIRCAM"),
    ],
)
def test_a_reference_of_another_detector_gives_a_warning(caplog, name, detector, warning):
    reference = make_placed(datamodels.GainModel, 0, 20, 0, 20)
    exposure = make_placed(datamodels.ImageModel, 0, 20, 0, 20)
    exposure["meta.instrument.name"], exposure["meta.instrument.detector"] = "NIRCAM", "NRCA1"
    reference["meta.instrument.name"] = name
    reference["meta.instrument.detector"] = detector
    cut_to_exposure(exposure, reference)
    assert [warning in r.message for r in caplog.records] == ([True] if warning else [])


def test_array_shapes_override_wrong_keywords(caplog):
    reference = make_placed(datamodels.GainModel, 0, 64, 0, 48, ysize=2048)
    exposure = make_placed(datamodels.ImageModel, 5, 20, 5, 20)
    np.testing.assert_array_equal(cut_to_exposure(exposure, reference).data, exposure.data)
    assert "using those" in caplog.text
