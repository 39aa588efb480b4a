"""Reading HDUs with astropy: every exception is an error of the file."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from calbatch.models.errors import FileError
from calbatch.models.fits.astropy_hdu import open_astropy_hdu
from calbatch.models.storage.files import read_stamp


@pytest.mark.parametrize("is_gzipped", [False, True])
def test_an_hdu_is_opened_by_its_index(tmp_path, is_gzipped):
    path = tmp_path / "a.fits"
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.arange(6), name="A"), fits.ImageHDU(name="B")]
    fits.HDUList(hdus).writeto(path)
    if is_gzipped:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with open_astropy_hdu(read_stamp(path), 1, "HDU 1") as hdu:
        assert hdu.name == "A"
        np.testing.assert_array_equal(hdu.data, np.arange(6))


def test_an_exception_becomes_a_file_error(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU().writeto(path)
    stamp = read_stamp(path)
    with (
        pytest.raises(FileError, match=r"a\.fits: HDU 3 cannot be decoded: IndexError"),
        open_astropy_hdu(stamp, 3, "HDU 3"),
    ):
        pass
    with (
        pytest.raises(FileError, match="cannot be decoded: ZeroDivisionError"),
        open_astropy_hdu(stamp, 0, "HDU 0"),
    ):
        _ = 1 / 0


def test_a_changed_file_is_refused(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU().writeto(path)
    stamp = read_stamp(path)
    path.write_bytes(path.read_bytes() * 2)
    with (
        pytest.raises(FileError, match="was replaced or changed"),
        open_astropy_hdu(stamp, 0, "HDU 0"),
    ):
        pass
