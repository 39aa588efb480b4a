"""Superbias agrees with jwst's step, for random ramps and for a real bias."""

import numpy as np
import pytest
from astropy.io import fits
from support.detector_steps import (
    FIELDS,
    PERMUTED,
    assert_same,
    flags,
    jwst_result,
    ramp,
    reference_file,
)
from support.step_contract import StepContract

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.steps.superbias import SuperBiasStep, subtract_bias
from calbatch.models import datamodels

SHAPE = (12, 20)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def bias_file(path, rng, shape=SHAPE, **options):
    bias = rng.normal(12000, 200, shape).astype("f4")
    bias[rng.random(shape) < 0.05] = np.nan
    return reference_file(path, {"SCI": bias, "DQ": flags(rng, shape)}, **options)


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize("ints", [1, 3])
    @pytest.mark.parametrize("bits", [None, PERMUTED], ids=["standard", "permuted"])
    def test_full_reference(self, tmp_path, rng, ints, bits):
        from jwst.superbias import SuperBiasStep as JwstStep

        bias = bias_file(tmp_path / "bias.fits", rng, bits=bits)
        exposure = ramp(rng, ints=ints, shape=SHAPE)
        ours = SuperBiasStep(override_superbias=bias).run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), override_superbias=bias)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.superbias == theirs.meta.cal_step.superbias == "COMPLETE"

    def test_subarray_of_a_larger_bias(self, tmp_path, rng):
        from jwst.superbias import SuperBiasStep as JwstStep

        bias = bias_file(tmp_path / "bias.fits", rng, (40, 50), origin=(11, 21))
        exposure = ramp(rng, shape=SHAPE, origin=(15, 30))
        ours = SuperBiasStep(override_superbias=bias).run(exposure.ours())
        assert_same(ours, jwst_result(JwstStep, exposure.theirs(), override_superbias=bias))


class TestStep:
    def test_without_bias_the_ramp_is_unchanged(self, rng):
        exposure = ramp(rng)
        result = SuperBiasStep(override_superbias="N/A").run(exposure.ours())
        assert result.meta.cal_step.superbias == "SKIPPED"
        np.testing.assert_array_equal(np.asarray(result.data), exposure.data)

    def test_a_bias_elsewhere_on_the_detector_is_rejected(self, tmp_path, rng):
        bias = bias_file(tmp_path / "bias.fits", rng, (40, 50), origin=(101, 101))
        with pytest.raises(ReferenceFileError, match=r"bias\.fits: does not cover"):
            SuperBiasStep(override_superbias=bias).run(ramp(rng, shape=SHAPE).ours())


def test_kernel_does_not_modify_its_inputs(rng):
    exposure = ramp(rng, shape=SHAPE)
    bias, bias_dq = np.full(SHAPE, np.nan, "f4"), flags(rng, SHAPE)
    for array in (exposure.data, exposure.pixeldq, bias, bias_dq):
        array.flags.writeable = False
    data, pixeldq = subtract_bias(exposure.data, exposure.pixeldq, bias=bias, bias_dq=bias_dq)
    np.testing.assert_array_equal(data, exposure.data)
    assert (data.dtype, pixeldq.dtype) == (np.float32, np.uint32)


@pytest.mark.parametrize(
    ("counts", "bias", "kind"),
    [("f4", "f4", "f4"), ("u2", "f4", "f4"), ("f8", "f4", "f8"), ("f4", "f8", "f8")],
)
@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (3, 1), (4,)])
def test_kernel_follows_the_rules_of_arithmetic(rng, counts, bias, kind, shape):
    data = rng.integers(0, 100, (2, 5, 3, 4)).astype(counts)
    level, none = rng.normal(size=shape).astype(bias), np.zeros((3, 4), np.uint32)
    result, _ = subtract_bias(data, none, bias=level, bias_dq=none)
    assert result.dtype == kind
    np.testing.assert_array_equal(result, data - level)


def test_kernel_rejects_a_bias_of_another_shape():
    none = np.zeros((3, 4), np.uint32)
    with pytest.raises(ValueError, match="broadcast"):
        subtract_bias(np.zeros((1, 2, 3, 4), "f4"), none, bias=np.zeros((3, 3)), bias_dq=none)


def test_real_product(real_data):
    folder = real_data / "nirspec_sub512"
    model = datamodels.open(folder / "nrs1_sub512_syn_saturation.fits")
    step = SuperBiasStep(override_superbias=folder / "jwst_nirspec_superbias_0075.fits")
    result = step.run(model)
    with fits.open(folder / "nrs1_sub512_syn_superbias.fits") as wanted:
        for name, hdu in zip(FIELDS, ("SCI", "GROUPDQ", "PIXELDQ"), strict=True):
            np.testing.assert_array_equal(np.asarray(getattr(result, name)), wanted[hdu].data)


class TestContract(StepContract):
    name = "superbias"
