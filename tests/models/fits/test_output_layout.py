"""The extents of HDUs in a file to be written, and writing them."""

import os
from itertools import pairwise

import numpy as np
import pytest
from astropy.io import fits

from calbatch.models.errors import ModelError
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.fits.output_hdus import CopiedHdu, OutputImage, OutputTable
from calbatch.models.fits.output_layout import Receipt, lay_out

PRIMARY = OutputImage(name="", extname="PRIMARY")


def image(name, shape=(8, 6), dtype="f4"):
    return OutputImage(name=name, extname=name.upper(), dtype=np.dtype(dtype), shape=shape)


@pytest.fixture
def descriptor(tmp_path):
    number = os.open(tmp_path / "a.fits", os.O_RDWR | os.O_CREAT)
    yield number
    os.close(number)


def test_extents_follow_each_other_in_blocks():
    table = OutputTable("TAB", np.zeros(3, [("a", "i4")]))
    extents = list(lay_out([PRIMARY, image("sci"), table]))
    assert [extent.extname for extent in extents] == ["PRIMARY", "SCI", "TAB"]
    assert extents[0].offset == 0
    for before, after in pairwise(extents):
        assert after.offset == before.end
    assert all(extent.end % 2880 == 0 for extent in extents)
    assert [extent.data_size for extent in extents] == [0, 8 * 6 * 4, 12]


def test_bands_in_any_order_give_a_file_with_valid_checksums(tmp_path, descriptor):
    pixels = np.random.default_rng(0).normal(size=(2, 8, 6)).astype("f4")
    primary, science = lay_out([PRIMARY, image("sci", pixels.shape)])
    os.ftruncate(descriptor, science.end)
    receipts = [
        science.write_rows(descriptor, rows, pixels[:, slice(*rows)])
        for rows in [(5, 8), (0, 2), (2, 5)]
    ]
    primary.complete(descriptor, [], {})
    science.complete(descriptor, receipts, {})
    layout = read_layout(tmp_path / "a.fits")
    assert verify_checksums(layout) == 2
    np.testing.assert_array_equal(fits.getdata(tmp_path / "a.fits", "SCI"), pixels)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 3), (4, 8)], "rows 3:4 of 'sci' were not written"),
        ([(0, 3)], "rows 3:8 of 'sci' were not written"),
        ([(0, 5), (4, 8)], "rows 4:5 of 'sci' were written twice"),
    ],
)
def test_each_row_must_be_written_once(descriptor, rows, message):
    _, science = lay_out([PRIMARY, image("sci")])
    with pytest.raises(ModelError, match=message):
        science.complete_data(descriptor, [Receipt("sci", pair, 0) for pair in rows])


@pytest.mark.parametrize(
    ("rows", "array", "message"),
    [
        ((7, 9), np.zeros((2, 6), "f4"), r"rows 7:9 of 'sci' are not within 0:8"),
        ((0, 2), np.zeros((2, 5), "f4"), r"must have shape \(2, 6\), not \(2, 5\)"),
        ((0, 2), np.zeros((2, 6), "f8"), "must be float32, not float64"),
    ],
)
def test_bands_that_do_not_fit_are_refused(descriptor, rows, array, message):
    _, science = lay_out([PRIMARY, image("sci")])
    with pytest.raises(ModelError, match=message):
        science.write_rows(descriptor, rows, array)


def test_the_first_hdu_must_be_an_image(tmp_path):
    path = tmp_path / "b.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(3))]).writeto(path)
    with pytest.raises(ModelError, match="the first HDU of a file must be an OutputImage"):
        list(lay_out([CopiedHdu(read_layout(path).hdus[1])]))
