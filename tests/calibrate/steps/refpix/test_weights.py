"""The weights of IRS2 are read from their reference."""

import numpy as np
import pytest
from astropy.io import fits
from support.interleaved import write_weights

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.steps.refpix.transform import PRIME, SAMPLES
from calbatch.calibrate.steps.refpix.weights import read_weights, require_weights
from calbatch.models.storage.files import read_stamp

LISTED = ((2, 1, 77), (4, 2, 1 << 31))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "w.fits", listed=LISTED)


def test_weights_are_hermitian_and_in_the_order_of_spectra(path):
    found = read_weights(str(path), read_stamp(path))
    table = fits.getdata(path, "IRS2")
    for name, weights in (("alpha", found.output), ("beta", found.interleaved)):
        for k in range(4):
            values = table[f"{name}_{k}"][::2] + 1j * table[f"{name}_{k}"][1::2]
            for row, column in ((0, 0), (3, 0), (44, 16383), (20, 9000)):
                f = row + PRIME * column
                wanted = (values[f] + values[-f % SAMPLES].conj()) / 2
                assert weights[k, row, column] == pytest.approx(wanted, rel=1e-6)
    assert found.bad == LISTED


def test_a_reference_without_a_list_has_no_bad_pixels(path, tmp_path):
    with fits.open(path) as hdus:
        fits.HDUList([hdus[0], hdus["IRS2"]]).writeto(tmp_path / "w.fits")
    assert read_weights(str(tmp_path / "w.fits"), read_stamp(tmp_path / "w.fits")).bad == ()


def test_a_table_without_a_column_is_rejected(tmp_path):
    table = fits.BinTableHDU(np.zeros(2 * SAMPLES, [("alpha_0", "f4")]), name="IRS2")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "w.fits")
    with pytest.raises(
        ReferenceFileError, match=r"w\.fits: .* lacks the columns alpha_1, .*beta_3"
    ):
        read_weights(str(tmp_path / "w.fits"), read_stamp(tmp_path / "w.fits"))


def test_other_files_are_rejected(tmp_path):
    fits.PrimaryHDU(np.zeros((3, 4))).writeto(tmp_path / "image.fits")
    with pytest.raises(ReferenceFileError, match=r"image\.fits: has no IRS2 table"):
        require_weights(str(tmp_path / "image.fits"))
    (tmp_path / "text.fits").write_text("text")
    with pytest.raises(ReferenceFileError, match=r"text\.fits"):
        require_weights(str(tmp_path / "text.fits"))


@pytest.mark.parametrize("row", [(5, 1, 77), (1, 0, 77), (1, 3, 77)])
def test_a_listed_pixel_that_does_not_exist_is_rejected(tmp_path, row):
    path = write_weights(tmp_path / "w.fits", listed=(LISTED[0], row))
    with pytest.raises(
        ReferenceFileError, match=rf"w\.fits: row 2 of DQ has output {row[0]} and odd_even {row[1]}"
    ):
        read_weights(str(path), read_stamp(path))


def test_columns_that_are_not_numbers_are_rejected(path, tmp_path):
    table = np.array([("a", "b", "c")], [(name, "S1") for name in ("output", "odd_even", "mask")])
    with fits.open(path) as hdus:
        listed = fits.BinTableHDU(table, name="DQ")
        fits.HDUList([hdus[0], hdus["IRS2"], listed]).writeto(tmp_path / "w.fits")
    with pytest.raises(ReferenceFileError, match=r"w\.fits: its tables of IRS2 cannot be read"):
        read_weights(str(tmp_path / "w.fits"), read_stamp(tmp_path / "w.fits"))
