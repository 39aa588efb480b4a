"""HDUs of other files, which a writer copies byte by byte."""

import gzip
import os

import numpy as np
import pytest
from astropy.io import fits
from support.written_files import PRIMARY, image_part, random_array

from calbatch.models.errors import FileError, ModelError
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.fits.writer import CopiedHdu, FitsWriter, write_fits


def source_with_a_foreign_hdu(path):
    """Return a file with an HDU to be copied, which has an unusual header."""
    table = fits.BinTableHDU(np.zeros(3, [("x", "f4")]), name="FOREIGN")
    table.header["ODD"] = (1.50, "kept as it is")
    images = [fits.ImageHDU(np.arange(5000, dtype="i2"), name=name) for name in ("A", "B")]
    fits.HDUList([fits.PrimaryHDU(), images[0], table, images[1]]).writeto(path, checksum=True)


@pytest.mark.parametrize("gzipped", [False, True])
def test_foreign_hdus_are_copied_byte_by_byte(tmp_path, gzipped):
    path = tmp_path / "source.fits"
    source_with_a_foreign_hdu(path)
    content = path.read_bytes()
    if gzipped:
        path.write_bytes(gzip.compress(content))
    layout = read_layout(path)
    data = random_array((3, 3), "f4")
    parts = [PRIMARY, *map(CopiedHdu, layout.hdus[2:]), image_part("sci", data)]
    write_fits(tmp_path / "a.fits", parts, {"sci": data})
    found = read_layout(tmp_path / "a.fits")
    assert found.names == ("PRIMARY", "FOREIGN", "B", "SCI")
    copied = (tmp_path / "a.fits").read_bytes()[found.hdus[1].header_offset : found.hdus[2].end]
    assert copied == content[layout.hdus[2].header_offset :]
    assert verify_checksums(found) == 4


def test_a_foreign_header_that_is_not_ascii_is_made_valid(tmp_path):
    path = tmp_path / "source.fits"
    foreign = fits.ImageHDU(np.arange(9000.0), name="FOREIGN")
    foreign.header["NOTE"] = ("Jose", "20 deg C")
    fits.HDUList([fits.PrimaryHDU(), foreign]).writeto(path, checksum=True)
    path.write_bytes(path.read_bytes().replace(b"Jose", b"Jos\xe9").replace(b"deg", b"\xc2\xb0 "))
    write_fits(tmp_path / "a.fits", [PRIMARY, CopiedHdu(read_layout(path).hdus[1])], {})
    made = read_layout(tmp_path / "a.fits")
    assert made.hdus[1].raw_header.isascii()
    assert verify_checksums(made) == 2
    with fits.open(tmp_path / "a.fits", checksum=True) as hdus:  # a mismatch is a warning
        assert hdus[1].header.cards["NOTE"][1:] == ("Jos?", "20 ??  C")
        np.testing.assert_array_equal(hdus[1].data, foreign.data)


def test_a_foreign_hdu_of_a_file_that_changed_is_refused(tmp_path):
    path = tmp_path / "source.fits"
    source_with_a_foreign_hdu(path)
    part = CopiedHdu(read_layout(path).hdus[2])
    os.utime(path, ns=(0, 0))
    with pytest.raises(FileError, match=r"source\.fits: was replaced or changed"):
        write_fits(tmp_path / "a.fits", [PRIMARY, part], {})
    assert list(tmp_path.iterdir()) == [path]


def test_a_foreign_hdu_is_not_updated(tmp_path):
    path = tmp_path / "source.fits"
    source_with_a_foreign_hdu(path)
    writer = FitsWriter(tmp_path / "a.fits", [PRIMARY, CopiedHdu(read_layout(path).hdus[2])])
    writer.prepare()
    with pytest.raises(ModelError, match=r"FOREIGN is copied from .* and cannot be updated"):
        writer.finish([], {"FOREIGN": {"ODD": 2}})
