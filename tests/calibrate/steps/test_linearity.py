"""Linearity: agreement with stcal's function and jwst's step, and individual rules."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from support.detector_steps import (
    FIELDS,
    PERMUTED,
    assert_same,
    assert_tiling_is_invisible,
    flags,
    jwst_result,
    ramp,
    reference_file,
)
from support.step_contract import StepContract

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.calibrate.steps.linearity import LinearityStep, linearize
from calbatch.models import datamodels
from calbatch.models.dq import NO_LIN_CORR, SATURATED
from calbatch.models.tiling.plan import OperationNode, apply_operations
from calbatch.models.tiling.tile import Region

SHAPE = (12, 20)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def polynomials(rng, terms, shape=SHAPE, inverse=False):
    """Draw a mild nonlinearity with some NaN coefficients and some linear terms of zero."""
    coeffs = np.zeros((terms, *shape))
    coeffs[0] = rng.normal(0, 5, shape)
    coeffs[1] = rng.normal(1, 0.02, shape)
    for power in range(2, terms):
        coeffs[power] = rng.normal(0, 0.1, shape) * 10.0 ** (-5 * (power - 1))
    if inverse:
        coeffs *= -1
        coeffs[1] += 2
    coeffs[rng.integers(terms), rng.random(shape) < 0.04] = np.nan
    coeffs[1, rng.random(shape) < 0.04] = 0
    return coeffs.astype("f4")


def reference_flags(rng, shape=SHAPE):
    return flags(rng, shape) | np.where(rng.random(shape) < 0.05, NO_LIN_CORR, 0).astype("u4")


def lin_file(path, rng, shape=SHAPE, *, terms=5, inverse=None, **options):
    arrays = {"COEFFS": polynomials(rng, terms, shape), "DQ": reference_flags(rng, shape)}
    if inverse is not None:
        arrays["INV_COEFFS"] = polynomials(rng, inverse, shape, inverse=True)
    return reference_file(path, arrays, **options)


def correct_pixel(data, coeffs, *, groupdq=0, reference_dq=None):
    """Return one pixel's counts and flags."""
    data = np.array(data, "f4").reshape(1, -1, 1, 1)
    linear, pixeldq = linearize(
        data,
        np.full(data.shape, groupdq, "u1"),
        np.zeros((1, 1), "u4"),
        coeffs=np.array(coeffs, "f4").reshape(-1, 1, 1),
        reference_dq=reference_dq,
        inverse=None,
        frames=1,
    )
    return linear.ravel(), int(pixeldq[0, 0])


@pytest.mark.agreement
class TestAgreementWithJwst:
    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        ints=st.sampled_from([1, 3]),
        groups=st.sampled_from([1, 2, 3, 5, 10]),
        terms=st.integers(2, 7),
        inverse=st.sampled_from([None, 2, 5]),
        frames=st.sampled_from([2, 4, 8]),
    )
    def test_kernel(self, seed, ints, groups, terms, inverse, frames):
        from stcal.linearity.linearity import linearity_correction
        from stdatamodels.jwst.datamodels import dqflags

        rng = np.random.default_rng(seed)
        shape = tuple(rng.integers(1, 24, 2))
        exposure = ramp(rng, ints=ints, groups=groups, shape=shape)
        coeffs, reference_dq = polynomials(rng, terms, shape), reference_flags(rng, shape)
        back = inverse and groups > 1 and polynomials(rng, inverse, shape, inverse=True)
        back = None if back is None or isinstance(back, bool) else back
        found = linearize(
            exposure.data,
            exposure.groupdq,
            exposure.pixeldq,
            coeffs=coeffs,
            reference_dq=reference_dq,
            inverse=back,
            frames=frames,
        )
        reads = [[g * frames + f + 1 for f in range(frames)] for g in range(groups)]
        wanted = linearity_correction(
            exposure.data.copy(),
            exposure.groupdq,
            exposure.pixeldq,
            coeffs.copy(),
            reference_dq.copy(),
            dqflags.pixel,
            ilin_coeffs=None if back is None else back.copy(),
            read_pattern=None if back is None else reads,
        )
        # same operations, order and precision: equal to the last bit
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])
        assert (found[0].dtype, found[1].dtype) == (np.float32, np.uint32)

    @pytest.mark.parametrize("inverse", [None, 4], ids=["plain", "with inverse"])
    @pytest.mark.parametrize("nframes", [1, 4])
    def test_step(self, tmp_path, rng, nframes, inverse):
        from jwst.linearity import LinearityStep as JwstStep

        reference = lin_file(tmp_path / "lin.fits", rng, inverse=inverse, bits=PERMUTED)
        facts = {"nframes": nframes, "groupgap": 1}
        exposure = ramp(rng, ints=2, groups=6, shape=SHAPE, exposure=facts)
        ours = LinearityStep(override_linearity=reference).run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), override_linearity=reference)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.linearity == theirs.meta.cal_step.linearity == "COMPLETE"

    def test_subarray_of_a_larger_reference(self, tmp_path, rng):
        from jwst.linearity import LinearityStep as JwstStep

        reference = lin_file(tmp_path / "lin.fits", rng, (40, 50), inverse=3, origin=(11, 21))
        exposure = ramp(rng, shape=SHAPE, origin=(15, 30), exposure={"nframes": 4})
        ours = LinearityStep(override_linearity=reference).run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), override_linearity=reference)
        assert_same(ours, theirs)


class TestRules:
    def test_polynomial_starts_with_the_constant(self):
        linear, dq = correct_pixel([10, 20], [1, 2, 0.5])
        assert linear.tolist() == [1 + 20 + 50, 1 + 40 + 200]
        assert dq == 0

    @pytest.mark.parametrize("terms", range(2, 11))
    def test_double_precision_is_kept(self, rng, terms):
        data = rng.uniform(0, 2, (1, 3, *SHAPE))
        coeffs = rng.uniform(0.5, 1, (terms, *SHAPE)).astype("f4")
        flags = np.zeros((1, 3, *SHAPE), np.uint8), np.zeros(SHAPE, np.uint32)
        linear, _ = linearize(
            data, *flags, coeffs=coeffs, reference_dq=None, inverse=None, frames=1
        )
        exact = sum(c.astype("f8") * data**k for k, c in enumerate(coeffs))
        np.testing.assert_allclose(linear, exact, rtol=1e-14)

    def test_saturated_groups_keep_their_counts(self):
        assert correct_pixel([10, 20], [1, 2], groupdq=SATURATED)[0].tolist() == [10, 20]

    @pytest.mark.parametrize("coeffs", [[1, 0, 0.5], [1, np.nan, 0.5], [1, 2, np.nan]])
    def test_unusable_coefficients_change_nothing_and_are_flagged(self, coeffs):
        linear, dq = correct_pixel([10, 20], coeffs)
        assert linear.tolist() == [10, 20]
        assert dq == NO_LIN_CORR

    def test_flagged_coefficients_change_nothing(self):
        reference_dq = np.full((1, 1), NO_LIN_CORR | 8, "u4")
        linear, dq = correct_pixel([10, 20], [1, 2], reference_dq=reference_dq)
        assert linear.tolist() == [10, 20]
        assert dq == NO_LIN_CORR | 8

    def test_reads_of_a_steady_ramp_become_linear(self):
        # counts = linear - 1e-6 linear^2; coefficients and inverse to second order
        frames, groups = 4, 6
        reads = 1000.0 * np.arange(1, groups * frames + 1)
        averages = (reads - 1e-6 * reads**2).reshape(groups, frames).mean(axis=1)
        arguments = {
            "coeffs": np.array([0, 1, 1e-6, 2e-12, 5e-18], "f4").reshape(-1, 1, 1),
            "reference_dq": None,
            "frames": frames,
        }
        data = averages.astype("f4").reshape(1, -1, 1, 1)
        flat = np.zeros(data.shape, "u1"), np.zeros((1, 1), "u4")
        back = np.array([0, 1, -1e-6], "f4").reshape(-1, 1, 1)
        truth = reads.reshape(groups, frames).mean(axis=1)
        plain = linearize(data, *flat, inverse=None, **arguments)[0].ravel()
        split = linearize(data, *flat, inverse=back, **arguments)[0].ravel()
        # error of averaging nonlinear reads: 1e-6 times the variance of 4 reads, 1.25e6
        np.testing.assert_allclose(plain - truth, -1.25, atol=0.15)
        np.testing.assert_allclose(split - truth, 0, atol=0.1)

    def test_a_single_group_is_not_split_into_reads(self):
        # jwst 3.0.0 fails here with an IndexError
        data = np.full((1, 1, 1, 1), 100, "f4")
        coeffs = np.array([0, 2], "f4").reshape(-1, 1, 1)
        linear, _ = linearize(
            data,
            np.zeros(data.shape, "u1"),
            np.zeros((1, 1), "u4"),
            coeffs=coeffs,
            reference_dq=None,
            inverse=coeffs / 4,
            frames=4,
        )
        assert linear == 200


class TestStep:
    @pytest.mark.parametrize("inverse", [None, 4], ids=["plain", "with inverse"])
    def test_results_do_not_depend_on_tiles(self, tmp_path, rng, inverse):
        reference = lin_file(tmp_path / "lin.fits", rng, inverse=inverse)
        exposure = ramp(rng, shape=SHAPE, exposure={"nframes": 4})
        step = LinearityStep(override_linearity=reference)
        assert_tiling_is_invisible(step, exposure.ours())

    @pytest.mark.parametrize(("nframes", "overwrites"), [(1, True), (4, False)])
    def test_only_groups_that_are_single_reads_are_overwritten(
        self, tmp_path, rng, nframes, overwrites
    ):
        """The budget of memory counts on it."""
        reference = lin_file(tmp_path / "lin.fits", rng, inverse=4)
        exposure = ramp(rng, groups=6, shape=SHAPE, exposure={"nframes": nframes})
        result = LinearityStep(override_linearity=reference).run(exposure.ours())
        nodes = [n for n in result._content.node.ancestry() if isinstance(n, OperationNode)]
        *others, call = (node.op for node in nodes[::-1])
        assert call.overwrites is overwrites
        tile = result._content.node.source.pixels.tile(Region((0, SHAPE[0]), (0, SHAPE[1])), 0)
        tile = apply_operations(others, tile, {})
        own = replace(tile, arrays={n: tile.load(n).copy() for n in tile.arrays}, is_own=True)
        before = own.load("data").ctypes.data
        assert (call.apply(own, {}).load("data").ctypes.data == before) is overwrites

    def test_reference_without_flags(self, tmp_path, rng):
        coeffs = polynomials(rng, 4)
        reference = reference_file(tmp_path / "lin.fits", {"COEFFS": coeffs})
        exposure = ramp(rng, shape=SHAPE)
        result = LinearityStep(override_linearity=reference).run(exposure.ours())
        bad = np.isnan(coeffs).any(axis=0) | (coeffs[1] == 0)
        wanted = exposure.pixeldq | np.where(bad, NO_LIN_CORR, 0)
        np.testing.assert_array_equal(np.asarray(result.pixeldq), wanted)

    def test_missing_linear_term_is_rejected(self, tmp_path, rng):
        reference = reference_file(tmp_path / "lin.fits", {"COEFFS": np.ones((1, *SHAPE), "f4")})
        with pytest.raises(ReferenceFileError, match=r"lin\.fits: COEFFS has no linear term"):
            LinearityStep(override_linearity=reference).run(ramp(rng, shape=SHAPE).ours())

    def test_no_reference_skips(self, rng):
        result = LinearityStep(override_linearity="N/A").run(ramp(rng).ours())
        assert result.meta.cal_step.linearity == "SKIPPED"

    def test_an_image_is_rejected(self, rng):
        image = datamodels.ImageModel(np.ones(SHAPE, "f4"))
        with pytest.raises(StepError, match="must be a ramp"):
            LinearityStep(override_linearity="N/A").run(image)


def test_kernel_does_not_modify_its_inputs(rng):
    exposure, coeffs = ramp(rng, shape=SHAPE), polynomials(rng, 5)
    inputs = [exposure.data, exposure.groupdq, exposure.pixeldq, coeffs]
    before = [array.copy() for array in inputs]
    for array in inputs:
        array.flags.writeable = False
    for back in (None, coeffs):
        linearize(*inputs[:3], coeffs=coeffs, reference_dq=None, inverse=back, frames=4)
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_real_product(real_data):
    folder = real_data / "nirspec_sub512"
    step = LinearityStep(override_linearity=folder / "linearity_syn.fits")
    result = step.run(datamodels.open(folder / "nrs1_sub512_syn_superbias.fits"))
    with fits.open(folder / "nrs1_sub512_syn_linearity.fits") as wanted:
        for name, hdu in zip(FIELDS, ("SCI", "GROUPDQ", "PIXELDQ"), strict=True):
            np.testing.assert_array_equal(np.asarray(getattr(result, name)), wanted[hdu].data)


class TestContract(StepContract):
    name = "linearity"
