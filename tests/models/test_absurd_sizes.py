"""Implausible sizes are refused before memory is allocated for them."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from support.fits_bytes import blocks, header, image, primary

from calbatch.models.errors import FileError
from calbatch.models.fits import layout
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.readers import RowReader

GIGABYTES_3 = 3 << 30

READ_ALL = """
import resource, sys, warnings
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
from calbatch.models import datamodels
from calbatch.models.errors import ModelError
try:
    for path in sys.argv[1:]:
        try:
            model = datamodels.open(path)
            model.save(path + ".out", fsync=False)
        except ModelError as error:
            print(error)
        else:
            print("read", path)
finally:
    peak = next(s for s in open("/proc/self/status") if s.startswith("VmHWM"))
    print(int(peak.split()[1]) // 1024)
"""


def refusal(path):
    with pytest.raises(FileError) as caught:
        read_layout(path)
    return caught.value.message


def table(*cards, size=80):
    head = header("XTENSION= 'BINTABLE'", "BITPIX = 8", "NAXIS = 2", *cards, "EXTNAME = 'T'")
    return head + blocks(bytes(size))


@pytest.mark.parametrize("columns", [-1, 1000, 2**31, 2**63 - 1, 10**60])
def test_more_columns_than_the_standard_allows(tmp_path, columns):
    path = tmp_path / "a.fits"
    path.write_bytes(primary() + table("NAXIS1 = 8", "NAXIS2 = 10", f"TFIELDS = {columns}"))
    assert refusal(path) == f"HDU 1 (T): TFIELDS = {columns} is not between 0 and 999"


def test_a_stream_shorter_than_its_header_says_is_not_decompressed(tmp_path):
    path = tmp_path / "a.fits.gz"
    claim = primary() + image("SCI", -32, (2**31, 2**20), b"")
    path.write_bytes(gzip.compress(claim))
    assert "truncated" in refusal(path)


def test_a_header_without_end_in_a_small_stream(tmp_path):
    path = tmp_path / "a.fits.gz"
    cards = header("SIMPLE = T", "BITPIX = 8", "NAXIS = 0", end=False)
    path.write_bytes(gzip.compress(cards + b" " * (32 << 20)))
    assert "no END card" in refusal(path)


def test_extensions_without_end_in_a_small_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "_MOST_HDUS", 50)
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(primary() + image("A", 8, (), b"") * 51, 1))
    assert "has 50 HDUs" in refusal(path)


def test_a_compressed_image_with_other_axes_than_its_tiles(tmp_path):
    path = tmp_path / "a.fits"
    hdu = fits.CompImageHDU(np.zeros((40, 50), "i2"), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    assert RowReader(read_layout(path).find("SCI")).whole().shape == (40, 50)
    octets = path.read_bytes()
    wider = octets.replace(b"ZNAXIS2 =                   40", b"ZNAXIS2 =                 9999")
    assert wider != octets
    path.write_bytes(wider)
    assert "make 9999 tiles of [1, 50], but there are 40" in refusal(path)


def sparse(path, shape, name="SCI"):
    """Write a ramp whose pixels are a hole in the file."""
    head = image(name, 16, shape[::-1], b"", "BZERO = 32768")
    cards = ["TELESCOP= 'JWST'", "INSTRUME= 'NIRISS'", "DETECTOR= 'NIS'"]
    start = primary(*cards) + head
    with path.open("wb") as file:
        file.write(start)
        file.truncate(len(start) + -(-2 * int(np.prod(shape, dtype=object)) // 2880) * 2880)


def test_data_larger_than_memory_are_refused_within_little_memory(tmp_path):
    """In a process limited to 3 GB, with files that have taken far more."""
    groups = tmp_path / "groups_uncal.fits"
    sparse(groups, (1, 2**24, 8, 100))
    packed = tmp_path / "packed_uncal.fits.gz"
    with gzip.open(packed, "wb", 1) as file:
        start = primary() + image("SCI", 16, (2048, 2048, 200, 5), b"")
        file.write(start)
    program = READ_ALL.format(limit=GIGABYTES_3)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(groups), str(packed)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    refused, short, peak = ended.stdout.splitlines()
    assert "one row of its frame, with all data derived from it, takes" in refused
    assert "truncated" in short
    assert int(peak) < 400
