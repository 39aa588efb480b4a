"""Reproducible FITS files."""

import numpy as np
import pytest
from astropy.io import fits

from calbatch.calibrate.simulate.write import DATE, Extension, write_fits

TABLE = np.array([(1, b"a")], dtype=[("N", "i4"), ("S", "S3")])
EXTENSIONS = [
    Extension("SCI", np.arange(6, dtype=np.float32).reshape(2, 3), [("BUNIT", "DN", "unit")]),
    Extension("TAB", TABLE),
]


def test_images_tables_and_cards_are_written(tmp_path):
    path = tmp_path / "new" / "a.fits"
    write_fits(path, [("TELESCOP", "JWST", "telescope")], EXTENSIONS)
    with fits.open(path) as hdus:
        assert hdus[0].header["TELESCOP"] == "JWST"
        assert (hdus[0].header["DATE"], hdus[0].header["FILENAME"]) == (DATE, "a.fits")
        np.testing.assert_array_equal(hdus["SCI"].data, EXTENSIONS[0].data)
        assert hdus["SCI"].header["BUNIT"] == "DN"
        assert hdus["TAB"].data["N"].tolist() == [1]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    path = tmp_path / "a.fits"
    write_fits(path, [], EXTENSIONS)
    first = path.read_bytes()
    write_fits(path, [], EXTENSIONS)
    assert path.read_bytes() == first


def test_a_failure_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "a.fits"
    write_fits(path, [], EXTENSIONS)
    first = path.read_bytes()
    with pytest.raises(ValueError, match=r"\S"):
        write_fits(path, [("KEY", object(), "")], EXTENSIONS)
    assert path.read_bytes() == first
