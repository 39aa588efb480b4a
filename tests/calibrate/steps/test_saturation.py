"""Saturation: agreement with stcal's function and jwst's step, and individual rules."""

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

from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.calibrate.steps.saturation import SaturationStep, flag_saturation, flag_stack
from calbatch.models import datamodels
from calbatch.models.dq import AD_FLOOR, DO_NOT_USE, NO_SAT_CHECK, SATURATED
from calbatch.models.tiling.tile import Region

SHAPE = (12, 20)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def thresholds(rng, shape=SHAPE):
    threshold = rng.uniform(30000, 60000, shape).astype("f4")
    threshold[rng.random(shape) < 0.05] = np.nan
    return threshold


def references(folder, rng, shape=SHAPE, bits=None, **options):
    """Write a saturation and a superbias reference."""
    arrays = {"SCI": thresholds(rng, shape), "DQ": flags(rng, shape)}
    saturation = reference_file(folder / "saturation.fits", arrays, bits=bits, **options)
    bias = rng.normal(12000, 300, shape).astype("f4")
    bias[rng.random(shape) < 0.03] = np.nan
    superbias = reference_file(folder / "superbias.fits", {"SCI": bias}, **options)
    return {"override_saturation": saturation, "override_superbias": superbias}


def group_flags(data, *, threshold=50000.0, frames=None, reach=0, bias=None, groupdq=None):
    """Return the group flags of one integration, (groups, rows, columns)."""
    data = np.asarray(data, "f4")[None]
    frame = data.shape[-2:]
    found, _ = flag_saturation(
        data,
        np.zeros(data.shape, "u1") if groupdq is None else groupdq[None],
        np.zeros(frame, "u4"),
        threshold=np.full(frame, threshold, "f4"),
        threshold_dq=np.zeros(frame, "u4"),
        bias=bias,
        reach=reach,
        frames=frames,
    )
    return found[0]


def one_pixel(*groups):
    return np.array(groups, "f4").reshape(-1, 1, 1)


@pytest.mark.agreement
class TestAgreementWithJwst:
    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        ints=st.sampled_from([1, 3]),
        groups=st.sampled_from([1, 2, 3, 5, 10]),
        frames=st.sampled_from([None, 1, 2, 4, 8]),
        reach=st.sampled_from([0, 1, 2, 3]),
        with_bias=st.booleans(),
    )
    def test_kernel(self, seed, ints, groups, frames, reach, with_bias):
        from stcal.saturation.saturation import flag_saturated_pixels
        from stdatamodels.jwst.datamodels import dqflags

        rng = np.random.default_rng(seed)
        shape = tuple(rng.integers(2 * reach + 2, 24, 2))  # stcal fails on smaller frames
        exposure = ramp(rng, ints=ints, groups=groups, shape=shape)
        threshold, threshold_dq = thresholds(rng, shape), flags(rng, shape)
        bias = rng.normal(12000, 300, shape).astype("f4") if with_bias else None
        found = flag_saturation(
            exposure.data,
            exposure.groupdq,
            exposure.pixeldq,
            threshold=threshold,
            threshold_dq=threshold_dq,
            bias=bias,
            reach=reach,
            frames=frames,
        )
        reads = frames and [[g * frames + f + 1 for f in range(frames)] for g in range(groups)]
        wanted = flag_saturated_pixels(
            exposure.data,
            exposure.groupdq.copy(),
            exposure.pixeldq,
            threshold.copy(),
            threshold_dq.copy(),
            65535.0,
            dqflags.pixel,
            n_pix_grow_sat=reach,
            read_pattern=reads,
            bias=bias,
        )
        for ours, theirs in zip(found, wanted, strict=False):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype

    @pytest.mark.parametrize("nframes", [1, 4])
    @pytest.mark.parametrize("use_readpatt", [True, False])
    def test_step(self, tmp_path, rng, nframes, use_readpatt):
        from jwst.saturation import SaturationStep as JwstStep

        parameters = references(tmp_path, rng, bits=PERMUTED)
        parameters |= {"n_pix_grow_sat": 2, "use_readpatt": use_readpatt}
        exposure = ramp(rng, ints=2, groups=6, shape=SHAPE, exposure={"nframes": nframes})
        ours = SaturationStep(**parameters).run(exposure.ours())
        theirs = jwst_result(JwstStep, exposure.theirs(), **parameters)
        assert_same(ours, theirs)
        assert ours.meta.cal_step.saturation == theirs.meta.cal_step.saturation == "COMPLETE"

    def test_subarray_of_larger_references(self, tmp_path, rng):
        from jwst.saturation import SaturationStep as JwstStep

        parameters = references(tmp_path, rng, (40, 50), origin=(11, 21))
        exposure = ramp(rng, groups=4, shape=SHAPE, origin=(15, 30))
        ours = SaturationStep(**parameters).run(exposure.ours())
        assert_same(ours, jwst_result(JwstStep, exposure.theirs(), **parameters))


class TestRules:
    def test_the_threshold_saturates_and_all_later_groups(self):
        found = group_flags(one_pixel(100, 50000, 100))
        assert found.ravel().tolist() == [0, SATURATED, SATURATED]

    @pytest.mark.parametrize("value", [0.0, -5.0])
    def test_ad_floor_is_for_its_own_group_only(self, value):
        found = group_flags(one_pixel(100, value, 300))
        assert found.ravel().tolist() == [0, AD_FLOOR | DO_NOT_USE, 0]

    def test_nan_is_neither(self):
        assert not group_flags(one_pixel(np.nan, 100)).any()

    @pytest.mark.parametrize("reach", [0, 1, 2])
    def test_growth_is_a_square_cut_at_the_frame(self, reach):
        data = np.full((2, 7, 9), 100.0)
        data[1, 0, 8] = data[1, 4, 4] = 60000
        saturated = group_flags(data, reach=reach) == SATURATED
        wanted = np.zeros((7, 9), bool)
        wanted[: reach + 1, 8 - reach :] = True
        wanted[4 - reach : 5 + reach, 4 - reach : 5 + reach] = True
        np.testing.assert_array_equal(saturated, [np.zeros_like(wanted), wanted])

    def test_flags_of_the_input_grow_in_their_group_only(self):
        groupdq = np.zeros((2, 1, 3), "u1")
        groupdq[0, 0, 1] = SATURATED
        found = group_flags(np.full((2, 1, 3), 100.0), reach=1, groupdq=groupdq)
        assert (found[0] == SATURATED).all()
        assert not found[1].any()

    def test_an_average_may_hide_saturation(self):
        # 4 frames per group: a steady ramp that reaches 50000 at frame 8 averages 6.5/8 of that
        first, hidden = 50000 * 2.5 / 8, 50000 * 6.5 / 8
        assert group_flags(one_pixel(first, hidden, 55000), frames=4)[1] == DO_NOT_USE
        assert group_flags(one_pixel(first, hidden - 10, 55000), frames=4)[1] == 0
        assert group_flags(one_pixel(first, hidden, 55000), frames=None)[1] == 0
        assert group_flags(one_pixel(first, hidden, 49000), frames=4)[1] == 0

    def test_sudden_jump_in_the_second_group(self):
        # one of 4 frames is saturated: the average rises by more than a quarter of the range left
        jumped = one_pixel(1000, 1000 + 49000 / 4 + 1, 55000)
        assert group_flags(jumped, frames=4)[1] == DO_NOT_USE
        assert group_flags(jumped - one_pixel(0, 2, 0), frames=4)[1] == 0

    def test_no_flag_if_the_first_group_predicts_saturation(self):
        bias = np.full((1, 1), 1000, "f4")
        steady = one_pixel(1000 + 2.5 * 5000, 1000 + 6.5 * 5000, 55000)
        # if the bias is known, the slope reaches 50000 within three groups
        assert group_flags(steady, frames=4, bias=bias, threshold=60000)[1] == 0

    @pytest.mark.parametrize("unknown", ["nan", "flag"])
    def test_pixels_without_a_threshold_are_not_checked(self, unknown):
        threshold, threshold_dq = np.full((1, 1), 50000, "f4"), np.zeros((1, 1), "u4")
        if unknown == "nan":
            threshold[:] = np.nan
        else:
            threshold_dq[:] = NO_SAT_CHECK
        groupdq, pixeldq = flag_saturation(
            np.full((1, 3, 1, 1), 65535, "f4"),
            np.zeros((1, 3, 1, 1), "u1"),
            np.zeros((1, 1), "u4"),
            threshold=threshold,
            threshold_dq=threshold_dq,
            bias=None,
            reach=1,
            frames=4,
        )
        assert not groupdq.any()
        assert pixeldq == NO_SAT_CHECK


class TestStep:
    @pytest.mark.parametrize("nframes", [1, 4])
    @pytest.mark.parametrize("reach", [0, 1, 2])
    def test_results_do_not_depend_on_tiles(self, tmp_path, rng, nframes, reach):
        step = SaturationStep(n_pix_grow_sat=reach, **references(tmp_path, rng))
        exposure = ramp(rng, groups=6, shape=SHAPE, exposure={"nframes": nframes})
        assert_tiling_is_invisible(step, exposure.ours())

    def test_without_superbias_the_second_group_is_still_checked(self, tmp_path, rng):
        from jwst.saturation import SaturationStep as JwstStep

        parameters = references(tmp_path, rng) | {"override_superbias": "N/A"}
        exposure = ramp(rng, groups=4, shape=SHAPE, exposure={"nframes": 4})
        ours = SaturationStep(**parameters).run(exposure.ours())
        assert_same(ours, jwst_result(JwstStep, exposure.theirs(), **parameters))
        assert ours.meta.ref_file.superbias.name == "N/A"

    def test_no_thresholds_skips(self, rng):
        exposure = ramp(rng)
        result = SaturationStep(override_saturation="N/A").run(exposure.ours())
        assert result.meta.cal_step.saturation == "SKIPPED"

    def test_missing_nframes_is_reported(self, tmp_path, rng):
        exposure = ramp(rng, shape=SHAPE, exposure={"nframes": None})
        with pytest.raises(StepError, match="the header lacks NFRAMES"):
            SaturationStep(**references(tmp_path, rng)).run(exposure.ours())

    def test_negative_growth_is_rejected(self):
        with pytest.raises(ParameterError, match=r"n_pix_grow_sat = -1: must be .* at least 0"):
            SaturationStep(n_pix_grow_sat=-1)


def test_kernel_does_not_modify_its_inputs(rng):
    exposure = ramp(rng, shape=SHAPE)
    arguments = {"threshold": thresholds(rng), "threshold_dq": flags(rng, SHAPE)}
    inputs = [exposure.data, exposure.groupdq, exposure.pixeldq]
    before = [array.copy() for array in (*inputs, *arguments.values())]
    for array in (*inputs, *arguments.values()):
        array.flags.writeable = False
    flag_saturation(*inputs, bias=None, reach=1, frames=4, **arguments)
    for array, copy in zip((*inputs, *arguments.values()), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_real_product(real_data):
    folder = real_data / "nirspec_sub512"
    step = SaturationStep(
        override_saturation=folder / "saturation_syn.fits",
        override_superbias=folder / "jwst_nirspec_superbias_0075.fits",
    )
    result = step.run(datamodels.open(folder / "nrs1_sub512_syn_dq_init.fits"))
    with fits.open(folder / "nrs1_sub512_syn_saturation.fits") as wanted:
        for name, hdu in zip(FIELDS, ("SCI", "GROUPDQ", "PIXELDQ"), strict=True):
            np.testing.assert_array_equal(np.asarray(getattr(result, name)), wanted[hdu].data)


class TestContract(StepContract):
    name = "saturation"


@pytest.mark.parametrize("rows", [(0, 12), (3, 10), (5, 6)])
def test_stripes_of_a_stack_are_not_neighbours(rows):
    rng = np.random.default_rng(5)
    data = rng.uniform(1000, 60000, (1, 4, 12, 9)).astype("f4")
    flags, pixel_flags = np.zeros(data.shape, "u1"), np.zeros((12, 9), "u4")
    references = {
        "threshold": np.full((12, 9), 50000, "f4"),
        "threshold_dq": np.zeros((12, 9), "u4"),
        "bias": np.zeros((12, 9), "f4"),
    }
    cut = slice(*rows)
    found, _ = flag_stack(
        data[..., cut, :], flags[..., cut, :], pixel_flags[cut],
        **{name: array[cut] for name, array in references.items()},
        reach=1, frames=2, height=4, region=Region(rows, (0, 9)),
    )  # fmt: skip
    for first in range(0, 12, 4):
        start, stop = max(first, rows[0]), min(first + 4, rows[1])
        if start < stop:
            own = slice(start, stop)
            wanted, _ = flag_saturation(
                data[..., own, :], flags[..., own, :], pixel_flags[own],
                **{name: array[own] for name, array in references.items()}, reach=1, frames=2,
            )  # fmt: skip
            assert np.array_equal(found[..., start - rows[0] : stop - rows[0], :], wanted)
