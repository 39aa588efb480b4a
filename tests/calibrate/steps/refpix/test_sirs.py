"""SIRS smooths the side columns as jwst does."""

import re
import warnings

import asdf
import numpy as np
import pytest
from jwst.refpix import optimized_convolution
from jwst.refpix.refpix_step import RefPixStep as JwstRefPixStep
from stdatamodels.jwst import datamodels as jwst_models
from support.placed_ramps import PlacedRamp, flagged_border

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.calibrate.steps.refpix import RefPixStep
from calbatch.calibrate.steps.refpix.sirs import make_kernels, predict_drift, read_coefficients
from calbatch.models.dq import DO_NOT_USE
from calbatch.models.storage.files import read_stamp

READ_NOISE = 10.0


def coefficients(seed=0, amplifiers=4, frequencies=1025):
    """Return smooth complex coefficients of both sides."""
    rng = np.random.default_rng(seed)
    low_pass = 1 / (1 + (np.arange(frequencies) / 100) ** 2)
    noise = rng.normal(0, 0.02, (2, 2, amplifiers, frequencies))
    gamma, zeta = (0.5 * low_pass + noise[:, 0] + 1j * noise[:, 1]) * rng.random((2, 4, 1))[
        :, :amplifiers
    ]
    return gamma, zeta


def write_reference(path, **detectors):
    """Write a sirskernel reference with the coefficients of some detectors."""
    tree = {name: {"gamma": gamma, "zeta": zeta} for name, (gamma, zeta) in detectors.items()}
    meta = {"reftype": "sirskernel", "telescope": "JWST"}
    asdf.AsdfFile({"meta": meta, **tree}).write_to(path)
    return path


def ramp(detector, *, nints=1, ngroups=2, seed=1):
    """Return a full frame whose rows drift, with outliers and bad pixels at the sides."""
    rng = np.random.default_rng(seed)
    data = rng.normal(100, READ_NOISE, (nints, ngroups, 2048, 2048))
    data += 15 * np.sin(np.arange(2048) / 20) + 20 * np.sin(np.arange(2048)[:, None] / 30)
    data[rng.random(data.shape) < 0.002] += 3000
    pixeldq = flagged_border((2048, 2048))
    pixeldq[rng.random(pixeldq.shape) < 0.01] |= DO_NOT_USE
    return PlacedRamp(data.astype(np.float32), pixeldq, detector=detector, subarray="FULL")


def correct(placed, **parameters):
    step = RefPixStep(refpix_algorithm="sirs", **parameters)
    return step.run(placed.ours()).data.compute(scheduler="synchronous")


def correct_by_jwst(placed, **parameters):
    step = JwstRefPixStep(refpix_algorithm="sirs", **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return step.process(placed.theirs()).data


# -- kernels and drift ----------------------------------------------------------------------------


@pytest.mark.parametrize(("gaussmooth", "halfwidth"), [(1.0, 30), (2.5, 7), (0.3, 1), (4.0, 1024)])
def test_kernels_agree_with_jwst(gaussmooth, halfwidth):
    gamma, zeta = coefficients()
    model = jwst_models.SIRSKernelModel({"nrs1": {"gamma": gamma, "zeta": zeta}})
    left, right = optimized_convolution.make_kernels(model, "NRS1", gaussmooth, halfwidth)
    found = make_kernels(gamma, zeta, gaussmooth, halfwidth)
    np.testing.assert_allclose(found.left, left, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found.right, right, rtol=1e-12, atol=1e-15)


def test_kernels_are_as_wide_as_possible():
    # In jwst, the negative start of the slice selects other rows.
    found = make_kernels(*coefficients(), 1.0, 5000)
    widest = make_kernels(*coefficients(), 1.0, 1024)
    middle = slice(5000 - 1024, 5000 + 1024)
    np.testing.assert_allclose(found.left[:, middle], widest.left[:, :-1], atol=1e-12)


def test_without_smoothing_kernels_are_those_of_the_coefficients():
    # jwst divides by zero, and all pixels become NaN.
    gamma, zeta = coefficients()
    plain = make_kernels(gamma, zeta, 0.0, 20)
    nearly = make_kernels(gamma, zeta, 0.05, 20)
    np.testing.assert_allclose(plain.left, nearly.left)


@pytest.mark.parametrize("sigreject", [4.0, 1.0, 0.1])
@pytest.mark.parametrize("spoiled", [False, True])
def test_drift_agrees_with_jwst(sigreject, spoiled):
    rng = np.random.default_rng(2)
    frame = rng.normal(100, 10, (200, 200))
    frame[rng.random(frame.shape) < 0.05] += 500
    if spoiled:
        frame[100, 2] = np.nan
    kernels = make_kernels(*coefficients(), 1.0, 30)
    found = predict_drift(frame[None, :, :4], frame[None, :, -4:], kernels, sigreject)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        wanted = optimized_convolution.apply_conv_kernel(
            frame, [list(kernels.left), list(kernels.right)], sigreject
        )
    by_pixel = np.repeat(found[0].T, 50, axis=1)
    np.testing.assert_allclose(frame - by_pixel, wanted, rtol=1e-9)
    assert np.isnan(found).all() == spoiled


# -- the step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("detector", ["NRS1", pytest.param("NRCA1", marks=pytest.mark.slow)])
def test_a_full_frame_agrees_with_jwst(tmp_path, detector):
    kernel = write_reference(tmp_path / "k.asdf", **{detector.lower(): coefficients()})
    placed = ramp(detector, ngroups=2 if detector == "NRCA1" else 1)
    parameters = {"override_sirskernel": str(kernel), "sigreject": 3.0, "halfwidth": 20}
    found, wanted = correct(placed, **parameters), correct_by_jwst(placed, **parameters)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3 * READ_NOISE)
    median = RefPixStep().run(placed.ours()).data.compute(scheduler="synchronous")
    assert np.mean(np.abs(found - median) > READ_NOISE / 100) > 0.9


@pytest.mark.parametrize(
    "reference", ["N/A", pytest.param("another detector", marks=pytest.mark.slow)]
)
def test_without_kernels_the_median_is_used_as_in_jwst(tmp_path, reference, caplog):
    if reference != "N/A":
        reference = str(write_reference(tmp_path / "k.asdf", nrs1=coefficients()))
    placed = ramp("NRCB1", ngroups=1)
    with caplog.at_level("WARNING"):
        found = correct(placed, override_sirskernel=reference)
    assert "using the median" in caplog.text
    median = RefPixStep().run(placed.ours()).data.compute(scheduler="synchronous")
    assert np.array_equal(found, median)
    if reference != "N/A":
        wanted = correct_by_jwst(placed, override_sirskernel=reference)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3 * READ_NOISE)


def test_the_reference_is_needed_only_for_sirs():
    assert "sirskernel" not in RefPixStep().wanted_references()
    assert "sirskernel" in RefPixStep(refpix_algorithm="sirs").wanted_references()
    without = RefPixStep(refpix_algorithm="sirs", use_side_ref_pixels=False)
    assert "sirskernel" not in without.wanted_references()


def test_the_reference_is_recorded(tmp_path):
    kernel = write_reference(tmp_path / "k.asdf", nrs1=coefficients())
    placed = PlacedRamp(
        np.zeros((1, 1, 2048, 2048), "f4"), flagged_border((2048, 2048)),
        detector="NRS1", subarray="FULL",
    )  # fmt: skip
    step = RefPixStep(refpix_algorithm="sirs", override_sirskernel=str(kernel))
    assert step.run(placed.ours()).meta.ref_file.sirskernel.name == str(kernel)


def test_an_array_that_is_not_a_full_frame_is_rejected():
    placed = PlacedRamp(np.zeros((1, 1, 16, 16), "f4"), np.zeros((16, 16), "u4"), subarray="FULL")
    with pytest.raises(StepError, match="needs 2048 rows and columns"):
        RefPixStep(refpix_algorithm="sirs").run(placed.ours())


# -- the reference --------------------------------------------------------------------------------


def read(path, detector="NRS1"):
    return read_coefficients(str(path), read_stamp(path), detector)


def test_coefficients_in_the_tree_are_read(tmp_path):
    gamma, zeta = coefficients(frequencies=4)
    path = tmp_path / "k.asdf"
    asdf.AsdfFile({"NRS1": {"gamma": gamma, "zeta": zeta.tolist()}}).write_to(
        path, all_array_storage="inline"
    )
    text = path.read_text()
    assert "(" in text  # complex numbers
    found = read(path)
    np.testing.assert_array_equal(found[1], zeta)


BAD = {
    "shapes": (np.ones((4, 5)), np.ones((4, 6))),
    "dimensions": (np.ones(5), np.ones(5)),
    "amplifiers": (np.ones((3, 5)), np.ones((3, 5))),
    "no frequencies": (np.ones((4, 1)), np.ones((4, 1))),
}


@pytest.mark.parametrize("why", BAD)
def test_unusable_coefficients_are_rejected(tmp_path, why):
    path = write_reference(tmp_path / "k.asdf", nrs1=BAD[why])
    with pytest.raises(
        ReferenceFileError, match=rf"{re.escape(str(path))}: gamma and zeta of NRS1"
    ):
        read(path)


def test_another_kind_of_file_is_rejected(tmp_path):
    path = tmp_path / "k.asdf"
    path.write_text("SIMPLE")
    with pytest.raises(ReferenceFileError, match="not an ASDF file"):
        read(path)
