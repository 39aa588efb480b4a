"""Jumps: agreement with stcal's functions and jwst's step, and individual rules."""

import pickle
from dataclasses import replace
from typing import ClassVar

import dask
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from support.detector_steps import (
    Exposure,
    assert_tiling_is_invisible,
    jwst_result,
    reference_file,
)
from support.jumps import DEFAULTS, Ramps, assert_agrees, calm, stormy
from support.step_contract import StepContract

from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.calibrate.step import log_once
from calbatch.calibrate.steps import jump
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.calibrate.steps.jump.rules import (
    ALL_AT_ONCE,
    CLIPPING,
    NOT_SEARCHED,
    ONE_BY_ONE,
    choose_method,
    median_gain,
)
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, NO_GAIN_VALUE, SATURATED

SHAPE = (12, 20)
FLAGS = ("groupdq", "pixeldq")


def rules(**changes):
    return DEFAULTS._replace(**changes)


def one(*steps, flags=None, gain=1.0, noise=1.0, ints=1):
    """Return a frame of one pixel with differences ``steps`` (DN)."""
    ramp = np.concatenate([[0], np.cumsum(steps)])
    data = np.broadcast_to(ramp[None, :, None, None], (ints, ramp.size, 1, 1)).astype("f4")
    groupdq = np.zeros(data.shape, "u1")
    if flags is not None:
        groupdq[...] = np.array(flags, "u1")[None, :, None, None]
    frame = np.ones((1, 1), "f4")
    return Ramps(data, groupdq, np.zeros((1, 1), "u4"), gain * frame, noise * frame)


def where(ramps, used=DEFAULTS):
    """Return the flagged groups in the first integration of a frame of one pixel."""
    return np.flatnonzero(ramps.found(used)[0][0, :, 0, 0] & JUMP_DET).tolist()


class TestAgreementWithStcal:
    @pytest.mark.parametrize("ints", [1, 3])
    @pytest.mark.parametrize("groups", [3, 4, 5, 10, 11, 12])
    @pytest.mark.parametrize("frames", [1.0, 4.0])
    def test_default_parameters(self, ints, groups, frames):
        assert_agrees(stormy(ints, groups, (24, 40), seed=groups), rules(frames=frames))

    @pytest.mark.parametrize(("ints", "groups"), [(1, 120), (40, 5), (40, 10), (3, 120)])
    def test_many_samples(self, ints, groups):
        assert_agrees(stormy(ints, groups, (9, 70), seed=ints), DEFAULTS)

    @settings(max_examples=80, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        ints=st.sampled_from([1, 2, 3, 5, 12]),
        groups=st.sampled_from([3, 4, 5, 6, 10, 11, 12, 25]),
        shape=st.tuples(st.integers(1, 14), st.integers(1, 40)),
        used=st.builds(
            rules,
            threshold=st.sampled_from([4.0, 3.0, 6.0]),
            frames=st.sampled_from([1.0, 2.0, 4.0]),
            neighbours=st.booleans(),
            min_neighbours=st.sampled_from([10.0, 5.0]),
            max_neighbours=st.sampled_from([1000.0, 30.0]),
            after=st.tuples(
                st.tuples(st.sampled_from([0.0, 100.0, 500.0]), st.integers(0, 5)),
                st.tuples(st.sampled_from([0.0, 1000.0]), st.integers(0, 99)),
            ),
            single_pass=st.sampled_from([10, 3, 100]),
            clip_groups=st.sampled_from([100, 20, 5, 3]),
            clip_integrations=st.booleans(),
        ),
    )
    def test_all_parameters(self, seed, ints, groups, shape, used):
        assert_agrees(stormy(ints, groups, shape, seed), used)

    def test_a_ramp_without_jumps_has_no_flags(self):
        ramps = calm(1, 12, (24, 40))
        assert_agrees(ramps, rules(threshold=9.0))
        assert not np.any(ramps.found(rules(threshold=9.0))[0])


class TestMethods:
    @pytest.mark.parametrize(
        ("ints", "groups", "dropped", "changes", "method"),
        [
            (1, 10, [], {}, ONE_BY_ONE),
            (1, 11, [], {}, ALL_AT_ONCE),
            (1, 11, [3], {}, ONE_BY_ONE),
            (1, 3, [], {}, ONE_BY_ONE),
            (1, 3, [0], {}, NOT_SEARCHED),
            (1, 5, [0, 1, 4], {}, NOT_SEARCHED),
            (1, 6, [], {"single_pass": 5}, ALL_AT_ONCE),
            (100, 5, [], {}, CLIPPING),
            (100, 2, [], {}, CLIPPING),
            (99, 5, [], {}, ONE_BY_ONE),
            (10, 10, [], {"clip_integrations": False}, CLIPPING),
            (10, 10, [0], {"clip_integrations": False}, ONE_BY_ONE),
        ],
    )
    def test_the_frame_decides(self, ints, groups, dropped, changes, method):
        unusable = np.zeros((ints, groups), bool)
        unusable[0, dropped] = True
        assert choose_method(unusable, rules(**changes)) == method

    def test_the_integration_with_the_fewest_groups_decides(self):
        unusable = np.zeros((2, 11), bool)
        unusable[1, 0] = True
        assert choose_method(unusable, DEFAULTS) == ONE_BY_ONE

    def test_single_pass_misses_jumps_hidden_by_larger_ones(self):
        # 60 and 50 increase sigma; one by one, the second is found after the first is removed
        ramps = one(*[10] * 8, 60, 10, 50)
        assert_agrees(ramps, DEFAULTS)
        assert where(ramps, rules(single_pass=50)) == [9, 11]

    @pytest.mark.parametrize(
        ("steps", "found"),
        [
            ([0, 5.5], []),
            ([0, 6.5], [2]),
            ([0, 0, 4.5], []),
            ([0, 0, 5.5], [3]),
            ([0, 0, 0, 3.5], []),
            ([0, 0, 0, 4.5], [4]),
        ],
    )
    def test_thresholds_depend_on_the_number_of_usable_differences(self, steps, found):
        assert where(one(*steps)) == found

    @pytest.mark.parametrize("flag", [SATURATED, DO_NOT_USE])
    def test_flagged_groups_have_no_differences(self, flag):
        # four groups and a flagged one make two usable differences, whose threshold is 6 sigma
        steps, flags = [0, 5.5, 0, 1000], [0, 0, 0, flag, 0]
        assert where(one(*steps, flags=flags)) == []
        assert where(one(*[0, 6.5, 0, 1000], flags=flags)) == [2]

    def test_noise_is_that_of_a_difference_of_groups(self):
        assert where(one(0, 0, 0, 3.0), rules(frames=4.0)) == [4]
        assert where(one(0, 0, 0, 3.0), rules(frames=1.0)) == []

    def test_gain_scales_samples_and_noise(self):
        # background 100 DN: noise of 10 electrons at gain 1, and 20 at gain 4
        ramps = one(100, 100, 100, 100, 125, noise=0.0)
        assert where(ramps) == []
        assert where(replace(ramps, gain=np.full((1, 1), 4, "f4"))) == [5]

    @pytest.mark.parametrize(("noise", "level"), [(np.nan, 0), (0.0, 0)])
    def test_without_noise_there_are_no_jumps(self, noise, level):
        assert where(one(level, level, level, level, 1000, noise=noise)) == []

    def test_negative_differences_are_jumps(self):
        assert where(one(0, 0, 0, -50, 0)) == [4]

    @pytest.mark.parametrize("clip_integrations", [True, False])
    def test_clipping_compares_integrations(self, clip_integrations):
        ramps = calm(12, 5, (6, 7))
        ramps.data[7, 3:] += 5000
        ramps.data[2, 1:, 0] += 5000  # the lower half of the first row and below
        used = rules(clip_groups=5, clip_integrations=clip_integrations, threshold=3.0)
        assert_agrees(ramps, used)
        assert np.all(ramps.found(used)[0][2, 1, 0] & JUMP_DET)

    def test_a_fully_flagged_group_is_cleared_after_clipping(self):
        ramps = calm(12, 5, (6, 7))
        ramps.data[7, 3:] += 5000
        ramps.groupdq[7, 3, 0, 0] = DO_NOT_USE
        ramps.groupdq[7, 3, 2, 2:4] = JUMP_DET, JUMP_DET | 64
        used = rules(clip_groups=5, threshold=3.0)
        assert_agrees(ramps, used)
        flags, _, counts = ramps.found(used)
        assert flags[7, 3, 5, 5] == 0
        assert flags[7, 3, 2, 3] == JUMP_DET | 64
        assert counts[:, 0].sum() < flags[0, 0].size


class TestNeighbours:
    def centre(self, size, y=2, x=3, shape=(5, 7), **changes):
        ramps = calm(1, 6, shape)
        ramps.data[...] = 0
        ramps.gain[...] = ramps.readnoise[...] = 1
        ramps.data[0, 4:, y, x] = size
        return replace(ramps, **changes)

    @pytest.mark.parametrize(("size", "count"), [(9.5, 1), (10.5, 5), (999, 5), (1001, 1)])
    def test_only_in_a_range_of_sizes(self, size, count):
        found = self.centre(size).found(DEFAULTS)[0]
        assert np.sum(found & JUMP_DET != 0) == count
        assert np.sum(found[0, 4] & JUMP_DET != 0) == count

    def test_switched_off(self):
        assert np.sum(self.centre(50).found(rules(neighbours=False))[0] != 0) == 1

    @pytest.mark.parametrize(("y", "x", "count"), [(0, 0, 3), (4, 6, 3), (0, 3, 4), (2, 6, 4)])
    def test_at_the_frames_edge(self, y, x, count):
        ramps = self.centre(50, y, x)
        assert np.sum(ramps.found(DEFAULTS)[0] & JUMP_DET != 0) == count
        assert_agrees(ramps, DEFAULTS)

    @pytest.mark.parametrize("flag", [SATURATED, DO_NOT_USE])
    def test_not_where_flagged(self, flag):
        ramps = self.centre(50)
        ramps.groupdq[0, 4, 2, 4] = flag
        assert ramps.found(DEFAULTS)[0][0, 4, 2, 4] == flag

    def test_jumps_of_the_input_have_neighbours(self):
        ramps = self.centre(0)
        ramps.data[0, 4:, 2, 3] = 15
        ramps.groupdq[0, 4, 2, 3] = JUMP_DET
        used = rules(threshold=20.0)
        assert np.sum(ramps.found(used)[0][0, 4] & JUMP_DET != 0) == 5
        assert_agrees(ramps, used)

    def test_counts_exclude_neighbours(self):
        assert self.centre(50).found(DEFAULTS)[2][:, 0].tolist() == [0, 0, 1, 0, 0]


class TestAfterJumps:
    def test_groups_after_large_jumps(self):
        ramps = one(0, 0, 0, 0, 500, 0, 0, 0, 0, 0, 0, 0)
        assert where(ramps, rules(after=((400.0, 3), (9000.0, 6)))) == [5, 6, 7, 8]
        assert where(ramps, rules(after=((400.0, 3), (400.0, 5)))) == [5, 6, 7, 8, 9, 10]
        assert where(ramps, rules(after=((600.0, 3), (0.0, 0)))) == [5]

    def test_not_where_saturated(self):
        flags = np.zeros(13, "u1")
        flags[7:] = SATURATED
        ramps = one(0, 0, 0, 0, 500, 0, 0, 0, 0, 0, 0, 0, flags=flags)
        assert where(ramps, rules(after=((400.0, 3), (0.0, 0)))) == [5, 6]

    def test_limits_scale_with_the_median_gain(self):
        ramps = one(0, 0, 0, 0, 500, 0, 0, gain=2.0)
        ramps = replace(ramps, **{n: np.repeat(getattr(ramps, n), 3, axis=-1) for n in (
            "data", "groupdq", "pixeldq", "gain", "readnoise")})  # fmt: skip
        used = rules(after=((400.0, 2), (0.0, 0)), neighbours=False)
        assert where(ramps, used) == [5, 6, 7]
        ramps.gain[0, 1:] = 3.0  # 1000 electrons in the first pixel are less than 400 DN now
        assert where(ramps, used) == [5]
        assert_agrees(ramps, used)

    def test_median_gain_ignores_nan(self):
        assert median_gain([np.array([[1, np.nan]], "f4"), np.array([[3, 5.0]], "f4")]) == 3
        assert np.isnan(median_gain([np.full((2, 2), np.nan, "f4")]))


class TestFlags:
    @pytest.mark.parametrize("flag", [SATURATED, DO_NOT_USE])
    @pytest.mark.parametrize("groups", [2, 4])
    def test_jumps_are_removed_from_excluded_samples(self, flag, groups):
        ramps = calm(1, groups, (2, 2))
        ramps.groupdq[0, 1, 0, 0] = JUMP_DET | flag
        ramps.groupdq[0, 0, 1, 1] = JUMP_DET
        found = ramps.found(rules(threshold=1e9))[0]
        assert found[0, 1, 0, 0] == flag
        assert found[0, 0, 1, 1] == JUMP_DET

    @pytest.mark.parametrize(("gain", "bad"), [(np.nan, True), (0, True), (-1, True), (2, False)])
    def test_pixels_without_gain(self, gain, bad):
        ramps = calm(1, 5, (2, 3))
        ramps.gain[1, 2] = gain
        found = ramps.found(DEFAULTS)[1]
        assert found[1, 2] == (NO_GAIN_VALUE | DO_NOT_USE) * bad
        assert not found[0].any()

    def test_inputs_are_unchanged(self):
        ramps = stormy(2, 12, SHAPE)
        copy = pickle.loads(pickle.dumps(ramps))
        for name in vars(ramps):
            getattr(ramps, name).flags.writeable = False
        ramps.found(rules(after=((0.0, 3), (0.0, 0))))
        for name in vars(ramps):
            np.testing.assert_array_equal(getattr(ramps, name), getattr(copy, name))

    @pytest.mark.parametrize(
        "used",
        [DEFAULTS, rules(single_pass=3), rules(clip_groups=3), rules(after=((10.0, 2), (0.0, 0)))],
    )
    def test_bands_with_halo_equal_the_whole(self, used):
        ramps = stormy(3, 8, (24, 40), seed=5)
        whole, wholes, counts = ramps.found(used)
        unusable = jump.unusable_groups(ramps.groupdq)
        settled = {"rules": used, "unusable": unusable, "median_gain": None}
        settled["fully_flagged"] = jump.fully_flagged_groups(
            *(ramps.data, ramps.groupdq), gain=ramps.gain, readnoise=ramps.readnoise,
            rules=used, unusable=unusable,
        )  # fmt: skip
        if used.after[0][1]:
            settled["median_gain"] = median_gain([ramps.gain])
        for top, bottom in [(0, 7), (7, 8), (8, 24)]:
            first, last = max(0, top - 1), min(24, bottom + 1)
            arrays = [getattr(ramps, n)[..., first:last, :] for n in vars(ramps)]
            data, groupdq, pixeldq, gain, noise = arrays
            found, pixels, counted = jump.find_jumps(
                data, groupdq, pixeldq, gain=gain, readnoise=noise, **settled
            )
            own = slice(top - first, bottom - first)
            np.testing.assert_array_equal(found[..., own, :], whole[..., top:bottom, :])
            np.testing.assert_array_equal(pixels[own], wholes[top:bottom])
            np.testing.assert_array_equal(counted[own], counts[top:bottom])


# -- the step ----------------------------------------------------------------------------------


def exposure(ramps, **described):
    facts = {"group_time": 10.7, "nframes": 4, "groupgap": 1} | described.pop("exposure", {})
    return Exposure(ramps.data, ramps.groupdq, ramps.pixeldq, exposure=facts, **described)


def references(folder, ramps, **options):
    """Write a gain and a read-noise reference of a frame."""
    gain = reference_file(folder / "gain.fits", {"SCI": ramps.gain}, **options)
    noise = reference_file(folder / "readnoise.fits", {"SCI": ramps.readnoise}, **options)
    return {"override_gain": gain, "override_readnoise": noise}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # stcal computes with NaN and infinities
class TestAgreementWithJwst:
    def compare(self, folder, observed, found, **parameters):
        from jwst.jump import JumpStep as JwstStep

        ours = JumpStep(**found, **parameters).run(observed.ours())
        theirs = jwst_result(JwstStep, observed.theirs(), **found, **parameters)
        for name in FLAGS:
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
        np.testing.assert_array_equal(ours.data, observed.data)
        assert ours.meta.cal_step.jump == theirs.meta.cal_step.jump
        facts = theirs.meta.exposure
        with fits.open(ours.save(folder / "ours.fits")) as saved:
            header = saved[0].header
            assert header.get("PRIMECRS") == facts.primary_cosmic_rays
            assert header.get("EXTNCRS") == facts.extended_emission_events
        return ours

    @pytest.mark.parametrize(
        ("ints", "groups", "parameters"),
        [
            (1, 3, {}),
            (1, 5, {}),
            (1, 12, {}),
            (3, 4, {}),
            (3, 10, {"flag_4_neighbors": False}),
            (1, 10, {"min_diffs_single_pass": 4, "rejection_threshold": 5.0}),
            (2, 5, {"after_jump_flag_dn1": 20.0, "after_jump_flag_time1": 25.0}),
            (1, 12, {"after_jump_flag_dn2": 300.0, "after_jump_flag_time2": 80.0}),
            (12, 5, {"minimum_sigclip_groups": 10}),
            (12, 5, {"minimum_sigclip_groups": 30, "only_use_ints": False}),
            (1, 4, {"minimum_groups": 9}),
            (
                *(1, 4),
                {
                    "three_group_rejection_threshold": 3.0,
                    "four_group_rejection_threshold": 3.5,
                    "max_jump_to_flag_neighbors": 50.0,
                    "min_jump_to_flag_neighbors": 4.0,
                },
            ),
        ],
    )
    def test_step(self, tmp_path, ints, groups, parameters):
        ramps = stormy(ints, groups, SHAPE, seed=groups)
        found = references(tmp_path, ramps)
        result = self.compare(tmp_path, exposure(ramps), found, **parameters)
        assert result.meta.cal_step.jump == "COMPLETE"

    @pytest.mark.parametrize("dropped", [[], [0], [0, 4], [0, 1, 4]])
    def test_groups_unusable_over_the_frame(self, tmp_path, dropped):
        ramps = stormy(2, 5, SHAPE, seed=8)
        ramps.groupdq[...] &= 0xFF - DO_NOT_USE
        ramps.groupdq[1, dropped] |= np.uint8(DO_NOT_USE)
        found = self.compare(tmp_path, exposure(ramps), references(tmp_path, ramps))
        assert not np.any(np.asarray(found.groupdq)[1, dropped] & JUMP_DET)
        new = np.asarray(found.groupdq) & ~ramps.groupdq & JUMP_DET
        assert np.any(new) == (len(dropped) < 3)  # one difference is too few to search

    def test_listed_read_times_do_not_matter(self, tmp_path):
        from jwst.jump import JumpStep as JwstStep

        ramps = stormy(1, 5, SHAPE, seed=11)
        times = [[40.0 * n**2 + 2.7 * k for k in range(4)] for n in range(5)]
        parameters = {"after_jump_flag_dn1": 20.0, "after_jump_flag_time1": 25.0}
        parameters |= references(tmp_path, ramps)
        listed = exposure(ramps, exposure={"read_times": times})
        wanted = jwst_result(JwstStep, listed.theirs(), **parameters).groupdq
        for observed in (listed, exposure(ramps)):
            found = JumpStep(**parameters).run(observed.ours()).groupdq
            np.testing.assert_array_equal(found, wanted)
        assert np.any(wanted & JUMP_DET)

    def test_all_groups_unusable(self, tmp_path):
        ramps = stormy(1, 4, SHAPE, seed=9)
        ramps.groupdq[...] |= np.uint8(DO_NOT_USE)
        found = self.compare(tmp_path, exposure(ramps), references(tmp_path, ramps))
        np.testing.assert_array_equal(found.groupdq, ramps.groupdq & (0xFF - JUMP_DET))

    def test_subarray_of_larger_references(self, tmp_path):
        ramps = stormy(1, 5, (30, 40))
        cut = Ramps(*(getattr(ramps, n)[..., 8:20, 15:35] for n in vars(ramps)))
        after = {"after_jump_flag_dn1": 50.0, "after_jump_flag_time1": 25.0}
        observed = exposure(cut, origin=(16, 9))
        found = self.compare(tmp_path, observed, references(tmp_path, ramps), **after)
        own = tmp_path / "own"
        own.mkdir()
        same = self.compare(tmp_path, exposure(cut), references(own, cut), **after)
        assert np.any(np.asarray(found.groupdq) & ~cut.groupdq & JUMP_DET)
        np.testing.assert_array_equal(found.pixeldq, same.pixeldq)


class TestStep:
    @pytest.fixture
    def ramps(self):
        return stormy(2, 6, SHAPE, seed=3)

    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"min_diffs_single_pass": 3},
            {"minimum_sigclip_groups": 2},
            {"after_jump_flag_dn1": 10.0, "after_jump_flag_time1": 30.0},
        ],
    )
    def test_results_do_not_depend_on_tile_height(self, tmp_path, ramps, parameters):
        step = JumpStep(**references(tmp_path, ramps), **parameters)
        assert_tiling_is_invisible(step, exposure(ramps).ours(), FLAGS)

    def test_neighbours_across_tiles(self, tmp_path):
        ramps = calm(1, 6, SHAPE)
        ramps.data[0, 3:, 4:6, 7] += 500
        step = JumpStep(**references(tmp_path, ramps))
        with dask.config.set({"calbatch.tile-rows": 5}):
            found = np.asarray(step.run(exposure(ramps).ours()).groupdq)
        assert np.all(found[0, 3, [3, 6], 7] & JUMP_DET)
        assert_tiling_is_invisible(step, exposure(ramps).ours(), FLAGS)

    def test_an_unusable_tile_does_not_decide_for_the_frame(self, tmp_path, ramps):
        ramps.groupdq[:, 1:5, :5] |= np.uint8(DO_NOT_USE)
        step = JumpStep(**references(tmp_path, ramps))
        assert_tiling_is_invisible(step, exposure(ramps).ours(), FLAGS)

    @pytest.mark.parametrize("rows", [1, 5, 12])
    def test_rates_do_not_depend_on_tiles(self, tmp_path, ramps, rows):
        with dask.config.set({"calbatch.tile-rows": rows}):
            result = JumpStep(**references(tmp_path, ramps)).run(exposure(ramps).ours())
            header = fits.getheader(result.save(tmp_path / "out.fits"))
        jumps = ramps.found(rules(frames=4.0))[2][:, 0].sum()
        groups = 12 - int(jump.unusable_groups(ramps.groupdq).sum())
        assert header["PRIMECRS"] == pytest.approx(1000 * jumps / (10.7 * (groups - 2) * 240))

    @pytest.mark.parametrize("groups", [1, 2])
    def test_few_groups_are_skipped(self, tmp_path, groups):
        ramps = stormy(2, groups, SHAPE)
        result = JumpStep(**references(tmp_path, ramps)).run(exposure(ramps).ours())
        assert result.meta.cal_step.jump == "SKIPPED"
        np.testing.assert_array_equal(result.groupdq, ramps.groupdq)

    @pytest.mark.parametrize("name", ["nframes", "group_time"])
    def test_missing_keywords_are_named(self, ramps, name):
        observed = exposure(ramps, exposure={name: None})
        keyword = {"nframes": "NFRAMES", "group_time": "TGROUP"}[name]
        with pytest.raises(StepError, match=f"the header lacks {keyword}"):
            JumpStep().run(observed.ours())

    def test_parameters_have_bounds(self):
        with pytest.raises(ParameterError, match="rejection_threshold"):
            JumpStep(rejection_threshold=-1)

    def test_parameters_without_effect_are_reported_once(self, tmp_path, ramps, caplog):
        log_once.cache_clear()
        caplog.set_level("INFO")
        for _ in range(2):
            step = JumpStep(maximum_cores="half", minimum_groups=5, **references(tmp_path, ramps))
            step.run(exposure(ramps).ours())
            (tmp_path / "gain.fits").unlink()
            (tmp_path / "readnoise.fits").unlink()
        assert caplog.text.count("maximum_cores has no effect") == 1
        assert caplog.text.count("minimum_groups has no effect") == 1

    def test_jwsts_parameters_have_jwsts_defaults(self):
        from jwst.jump import JumpStep as JwstStep

        theirs = JwstStep()
        ours = JumpStep.parameters()
        names = [n for n in vars(theirs) if n in ours and n != "suffix"]
        names = [n for n in names if not n.startswith(("override_", "output_", "name"))]
        assert len(names) > 30
        own = JumpStep()
        for name in set(names) - {"skip", "save_results", "pre_hooks", "post_hooks"}:
            assert getattr(own, name) == getattr(theirs, name), name

    def test_objects_sent_to_workers_pickle(self, tmp_path, ramps):
        result = JumpStep(**references(tmp_path, ramps)).run(exposure(ramps).ours())
        (deferred,) = result._content.deferred
        counts = {"jump": np.array([[3, 12, 1], [4, 12, 1]])}
        again = pickle.loads(pickle.dumps(deferred))
        assert again.function(counts) == deferred.function(counts)
        assert pickle.loads(pickle.dumps((DEFAULTS, jump.find_jumps))) == (
            DEFAULTS,
            jump.find_jumps,
        )


def test_real_exposure(real_data, tmp_path):
    folder = real_data / "nirspec_sub512"
    step = JumpStep(
        override_gain=folder / "gain_syn.fits", override_readnoise=folder / "readnoise_syn.fits"
    )
    result = step.run(folder / "nrs1_sub512_syn_dark_current.fits")
    with fits.open(folder / "nrs1_sub512_syn_jump.fits") as wanted:
        for name in FLAGS:
            np.testing.assert_array_equal(getattr(result, name), wanted[name.upper()].data)
        rate = wanted[0].header["PRIMECRS"]
    assert fits.getheader(result.save(tmp_path / "out.fits"))["PRIMECRS"] == rate


class TestContract(StepContract):
    name = "jump"


class TestContractWithLargeEvents(StepContract):
    name = "jump"
    parameters: ClassVar[dict] = {"expand_large_events": True, "find_showers": True}
