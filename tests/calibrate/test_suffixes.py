"""Names of products: the input's name with its known suffix replaced."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwst.lib.suffix import KNOW_SUFFIXES, replace_suffix

from calbatch.calibrate.suffixes import KNOWN_SUFFIXES, product_name

pytestmark = pytest.mark.agreement


def test_every_suffix_of_jwst_is_known():
    assert set(KNOW_SUFFIXES) <= KNOWN_SUFFIXES


@pytest.mark.parametrize("separator", ["_", "-"])
def test_a_known_suffix_is_replaced_as_in_jwst(separator):
    for suffix in KNOW_SUFFIXES:
        name = f"jw01_0{separator}{suffix}"
        assert product_name(f"{name}.fits", "rate") == f"{replace_suffix(name, 'rate')}.fits"


@given(st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True), st.sampled_from(sorted(KNOW_SUFFIXES)))
def test_any_name_is_split_as_in_jwst(stem, suffix):
    for name in (stem, f"{stem}_{suffix}", f"{stem}-{suffix}", f"{stem}{suffix}"):
        assert product_name(f"{name}.fits", "x") == f"{replace_suffix(name, 'x')}.fits"


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("a_uncal.fits", "a_rate.fits"),
        ("a_uncal.FITS", "a_rate.fits"),
        ("A_UNCAL.FITS", "A_rate.fits"),
        ("a_uncal.fits.gz", "a_rate.fits"),
        ("a_uncal.Fits.GZ", "a_rate.fits"),
        ("a_uncal.fits.fz", "a_rate.fits"),
        ("a-uncal.fits.fz", "a-rate.fits"),
        ("a.b_uncal.fits", "a.b_rate.fits"),
        ("a.fits_uncal.fits", "a.fits_rate.fits"),
        ("a_uncal", "a_rate.fits"),
        ("uncal.fits", "uncal_rate.fits"),
        ("_uncal.fits", "_uncal_rate.fits"),
        ("a\nb_uncal.fits", "a\nb_rate.fits"),
    ],
)
def test_extensions_and_unusual_names(source, wanted):
    assert product_name(source, "rate") == wanted
