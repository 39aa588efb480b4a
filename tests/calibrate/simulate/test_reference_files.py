"""Reference files as jwst's data models read them."""

import numpy as np
import pytest
from astropy.io import fits
from support.simulated import small_exposure, without_noise

from calbatch.calibrate.simulate import Noise, Sky

DETECTORS = ["NRCA1", "NRCBLONG", "NIS", "NRS1", "NRS2", "GUIDER1", "GUIDER2", "MIRIMAGE"]


@pytest.fixture
def strict(monkeypatch):
    """Turn warnings of jwst's data models into errors."""
    monkeypatch.setenv("STRICT_VALIDATION", "true")


@pytest.mark.parametrize("detector", DETECTORS)
def test_references_are_valid_models(strict, detector):
    from jwst import datamodels

    exposure = small_exposure(detector, nints=2, ngroups=3, nframes=4)
    kinds = set()
    for path in exposure.set.crds.glob("references/jwst/*/*.fits"):
        header = fits.getheader(path)
        with getattr(datamodels, header["DATAMODL"])(path) as model:
            model.validate()
            kinds.add(header["REFTYPE"])
            assert model.meta.instrument.detector == detector
    needed = {"MASK", "SATURATION", "LINEARITY", "GAIN", "READNOISE", "DARK"}
    needed |= {"RESET", "RSCD"} if detector == "MIRIMAGE" else {"SUPERBIAS"}
    imaging = {"FLAT", "PHOTOM", "AREA"}
    assert kinds == (needed if detector.startswith("NRS") else needed | imaging)


def test_read_noise_reference_is_of_two_reads():
    exposure = small_exposure(
        "NRCA1",
        noise=without_noise(read=True, read_noise=10.0),
        sky=Sky(background=0.0, stars=0),
        shape=(64, 64),
        ngroups=20,
    )
    pairs = exposure.data[0].astype(float)
    difference = (pairs[1::2] - pairs[::2]) / fits.getdata(exposure.reference("readnoise"))
    assert difference.std() == pytest.approx(1, rel=0.02)  # 41,000 differences


def test_dark_reference_has_every_frame_or_the_groups():
    spec = {"nframes": 4, "groupgap": 1, "ngroups": 3}
    frames = small_exposure("NRCA1", **spec)
    grouped = small_exposure("NRCA1", **spec, dark_grouped=True)
    dark = fits.getdata(frames.reference("dark"))
    means = np.stack([dark[start : start + 4].mean(axis=0) for start in (0, 5, 10)])
    assert len(dark) == 14
    np.testing.assert_allclose(fits.getdata(grouped.reference("dark")), means, rtol=1e-6)
    assert fits.getheader(grouped.reference("dark"))["NFRAMES"] == 4
    short = small_exposure("NRCA1", **spec, dark_frames=6)
    np.testing.assert_array_equal(fits.getdata(short.reference("dark")), dark[:6])


def test_dq_bits_are_numbered_by_their_definition():
    from jwst import datamodels
    from jwst.datamodels import dqflags

    exposure = small_exposure("NIS", shape=(64, 64))
    with datamodels.MaskModel(exposure.reference("mask")) as model:
        edge = (model.dq & dqflags.pixel["REFERENCE_PIXEL"]) != 0
    assert edge.sum() == 64 * 64 - 60 * 60
    stored = fits.getdata(exposure.reference("mask"))
    assert ((stored & 1) != 0).sum() == edge.sum()


def test_references_can_have_bad_pixels():
    exposure = small_exposure("NIS", shape=(64, 64), noise=Noise(bad_references=0.05))
    bad = [~np.isfinite(fits.getdata(exposure.reference(kind))) for kind in ("gain", "readnoise")]
    assert all(mask.sum() > 50 for mask in bad)
    assert (bad[0] != bad[1]).any()
    assert not exposure.truth.good[bad[0] | bad[1]].any()
    with fits.open(exposure.reference("linearity")) as hdus:
        assert np.isnan(hdus["COEFFS"].data).any()
        flagged = (hdus["DQ"].data != 0).sum()
    assert flagged > 64 * 64 - 60 * 60


def test_inverse_coefficients_are_written_where_frames_are_averaged():
    for spec, there in (
        ({}, False),
        ({"nframes": 4}, True),
        ({"inverse_linearity": True}, True),
        ({"nframes": 4, "inverse_linearity": False}, False),
    ):
        exposure = small_exposure("NRCA1", ngroups=2, **spec)
        with fits.open(exposure.reference("linearity")) as hdus:
            assert ("INV_COEFFS" in hdus) == there


def test_full_references_contain_the_subarray():
    full = small_exposure("GUIDER1", shape=(16, 24), corner=(101, 201), full_references=True)
    with fits.open(full.reference("superbias")) as hdus:
        bias = hdus["SCI"].data
        assert bias.shape == (2048, 2048)
    raw = full.data[0, 0].astype(float) - bias[100:116, 200:224]
    # without the bias, the first read is reset noise, drift and faint light
    assert abs(np.median(raw)) < 20
    assert fits.getdata(full.reference("dark")).shape[1:] == (16, 24)
