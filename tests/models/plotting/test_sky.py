"""World coordinates from headers."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from support.plots import HOSTILE, SKY, make_image

from calbatch.models import datamodels
from calbatch.models.plotting.sky import find_wcs


def make_model(**changes):
    model = make_image()
    for name, value in (SKY | changes).items():
        setattr(model.meta.wcsinfo, name, value)
    return model


def test_coordinates_are_those_that_astropy_finds_in_the_file(tmp_path):
    path = make_model().save(tmp_path / "image.fits")
    pixels = np.array([[0.0, 0.0], [39.0, 29.0], [7.5, 3.0]])
    with fits.open(path) as hdus:
        expected = WCS(hdus["SCI"].header).wcs_pix2world(pixels, 0)
    found = find_wcs(datamodels.open(path)).wcs_pix2world(pixels, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_keywords_that_no_schema_names_count(tmp_path):
    path = make_model(cdelt1=None, cdelt2=None, pc1_1=None, pc2_2=None).save(tmp_path / "cd.fits")
    with fits.open(path, mode="update") as hdus:
        header = hdus["SCI"].header
        for keyword in [k for k in header if k.startswith(("PC1", "PC2", "CDELT"))]:
            del header[keyword]
        header["CD1_1"], header["CD2_2"] = -2e-5, 2e-5
    wcs = find_wcs(datamodels.open(path))
    np.testing.assert_allclose(np.abs(np.diag(wcs.pixel_scale_matrix)), 2e-5)


def test_the_sky_of_a_spectrograph_is_that_of_its_two_axes():
    wcs = find_wcs(make_model(wcsaxes=3, crpix3=0.0, crval3=5.0, cdelt3=1.0, ctype3="WAVE",
                              cunit3="um"))  # fmt: skip
    assert wcs.naxis == 2
    assert list(wcs.wcs.ctype) == ["RA---TAN", "DEC--TAN"]


@pytest.mark.parametrize(
    "axes", [("WAVE", "RA---TAN", "DEC--TAN"), ("RA---TAN", "WAVE", "DEC--TAN")]
)
def test_coordinates_of_other_axes_than_rows_and_columns_are_left_out(axes):
    values = {"RA---TAN": 80.0, "DEC--TAN": -69.0, "WAVE": 5.0}
    changes = {"wcsaxes": 3, "crpix3": 1.0, "cdelt3": 1e-5}
    for number, axis in enumerate(axes, 1):
        unit = "um" if axis == "WAVE" else "deg"
        changes |= {f"ctype{number}": axis, f"crval{number}": values[axis], f"cunit{number}": unit}
    model = make_model(**changes)
    assert find_wcs(model) is None
    axes = model.plot().axes[0]
    assert axes.get_xlabel() == "column (x)"
    assert axes.get_ylabel() == "row (y)"


def make_distorted(path, **cards):
    """Return a model of a file with a distortion."""
    make_model(ctype1="RA---TAN-SIP", ctype2="DEC--TAN-SIP").save(path)
    with fits.open(path, mode="update") as hdus:
        header = hdus["SCI"].header
        header.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "B_0_2": 1e-6} | cards)
    return datamodels.open(path)


@pytest.mark.parametrize("keyword", ["A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"])
def test_distortions_of_absurd_order_are_left_out(keyword, tmp_path):
    """Astropy looks for all coefficients: of a large order, for longer than one can wait."""
    inverse = {"AP_ORDER": 9, "BP_ORDER": 9}
    orders = {"A_ORDER": 9, "B_ORDER": 9} | (inverse if "P" in keyword else {})
    assert find_wcs(make_distorted(tmp_path / "usual.fits", **orders)) is not None
    orders[keyword] = 10
    assert find_wcs(make_distorted(tmp_path / "absurd.fits", **orders)) is None


def test_an_image_without_coordinates_has_none():
    assert find_wcs(make_image()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"pc1_1": 0.0, "pc2_2": 0.0},
        {"cdelt1": 0.0},
        {"cdelt1": 1e300},
        {"ctype1": HOSTILE},
        {"ctype1": "RA---XYZ"},
        {"ctype1": "LINEAR", "ctype2": "LINEAR"},
        {"cunit1": "furlong"},
        {"crval2": 1e300},
    ],
)
def test_coordinates_that_make_no_sense_are_left_out(changes):
    model = make_model(**changes)
    assert find_wcs(model) is None
    assert not hasattr(model.plot().axes[0], "wcs")
