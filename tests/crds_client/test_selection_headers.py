"""Selection keywords of files, compared with astropy."""

import gzip
import shutil

import asdf
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import example, given
from hypothesis import strategies as st

from calbatch.crds_client.errors import HeaderError
from calbatch.crds_client.selection_headers import read_selection_header, read_selection_headers

WANTED = ["INSTRUME", "DETECTOR", "DATE-OBS", "SUBSIZE1", "TSOVISIT", "GAINFACT", "LATE", "NOWHERE"]

values = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    st.integers(-(2**40), 2**40),
    st.booleans(),
    st.floats(-1e30, 1e30).map(lambda value: float(f"{value:.8G}")),
)


def union(path):
    """Return each keyword's value from the first header that has it, by astropy."""
    found = {}
    with fits.open(path) as hdus:
        for hdu in hdus:
            for key in WANTED:
                if key in hdu.header:
                    found.setdefault(key, hdu.header[key])
    return found


@pytest.fixture
def path(tmp_path):
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"INSTRUME": "MIRI", "DETECTOR": "O'Brien's", "DATE-OBS": "2020-01-01", "SUBSIZE1": 1032}
    )
    primary.header["TSOVISIT"] = (True, "a comment / with a slash")
    primary.header["GAINFACT"] = 1.5
    science = fits.ImageHDU(np.zeros((3, 5, 7), np.float32), name="SCI")
    science.header["LATE"] = "here"
    science.header["INSTRUME"] = "NOT"
    table = fits.BinTableHDU(np.zeros(3, [("a", "i4"), ("b", "f8", 3)]), name="T")
    last = fits.CompImageHDU(np.zeros((9, 9), np.int16), name="LAST")
    last.header["LATE"] = "too late"
    name = tmp_path / "file.fits"
    fits.HDUList([primary, table, science, last]).writeto(name)
    return name


def test_the_first_header_that_has_a_keyword_counts(path):
    got = read_selection_header(path, WANTED)
    assert got == union(path)
    assert got["LATE"] == "here"
    assert "NOWHERE" not in got


def test_gzipped_files(path, tmp_path):
    packed = tmp_path / "file.fits.gz"
    with path.open("rb") as source, gzip.open(packed, "wb") as out:
        shutil.copyfileobj(source, out)
    assert read_selection_header(packed, WANTED) == union(path)


@given(st.fixed_dictionaries({"DETECTOR": values, "LATE": values}))
@example({"DETECTOR": "'/", "LATE": "a'/b'"})  # which astropy reads as "'" and "a'"
def test_any_value(tmp_path_factory, header):
    name = tmp_path_factory.mktemp("one") / "x.fits"
    fits.PrimaryHDU(header=fits.Header(header)).writeto(name)
    expected = {k: v.rstrip(" ") if isinstance(v, str) else v for k, v in header.items()}
    assert read_selection_header(name, WANTED) == expected


def test_real_files(real_data):
    paths = [*real_data.glob("*/*_uncal.fits"), *real_data.glob("*/*_rate*.fits")]
    headers, faults = read_selection_headers(paths, WANTED)
    assert (len(headers), faults) == (len(paths), {})
    for path in paths:
        assert headers[str(path)] == union(path)


def test_damaged_files_are_named(real_data, tmp_path):
    (tmp_path / "folder.fits").mkdir()
    (tmp_path / "short.fits").write_bytes(b"SIMPLE  =                    T" + b" " * 50)
    bad = [
        real_data / "bad_inputs" / "lfs-pointer.fits",
        tmp_path / "folder.fits", tmp_path / "short.fits", tmp_path / "absent.fits",
    ]  # fmt: skip
    headers, faults = read_selection_headers(bad, WANTED)
    assert headers == {}
    for path in bad:
        assert faults[str(path)].startswith(f"{path}: ")


def test_asdf_files_give_paths(tmp_path):
    path = tmp_path / "x.asdf"
    meta = {"instrument": {"name": "WFI", "detector": "WFI01"}, "exposure": {"nints": 3}}
    asdf.AsdfFile({"roman": {"meta": meta, "data": np.zeros(500)}}).write_to(path)
    got = read_selection_header(path, [])
    assert got["ROMAN.META.INSTRUMENT.DETECTOR"] == "WFI01"
    assert got["ROMAN.META.EXPOSURE.NINTS"] == 3


def test_absurd_sizes_are_rejected(tmp_path):
    cards = ["SIMPLE  =                    T", "BITPIX  =                   16",
             "NAXIS   =                 9999", "END"]  # fmt: skip
    name = tmp_path / "x.fits"
    name.write_bytes("".join(card.ljust(80) for card in cards).ljust(2880).encode())
    with pytest.raises(HeaderError, match="NAXIS = 9999"):
        read_selection_header(name, WANTED)
