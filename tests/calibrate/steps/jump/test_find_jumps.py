"""Jumps of a whole frame: agreement with stcal's functions, and individual rules."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.jumps import DEFAULTS, Ramps, assert_agrees, calm, stormy

from calbatch.calibrate.steps import jump
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
    return np.flatnonzero(ramps.find_jumps(used)[0][0, :, 0, 0] & JUMP_DET).tolist()


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
        assert not np.any(ramps.find_jumps(rules(threshold=9.0))[0])


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
        assert np.all(ramps.find_jumps(used)[0][2, 1, 0] & JUMP_DET)

    def test_a_fully_flagged_group_is_cleared_after_clipping(self):
        ramps = calm(12, 5, (6, 7))
        ramps.data[7, 3:] += 5000
        ramps.groupdq[7, 3, 0, 0] = DO_NOT_USE
        ramps.groupdq[7, 3, 2, 2:4] = JUMP_DET, JUMP_DET | 64
        used = rules(clip_groups=5, threshold=3.0)
        assert_agrees(ramps, used)
        flags, _, counts = ramps.find_jumps(used)
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
        found = self.centre(size).find_jumps(DEFAULTS)[0]
        assert np.sum(found & JUMP_DET != 0) == count
        assert np.sum(found[0, 4] & JUMP_DET != 0) == count

    def test_switched_off(self):
        assert np.sum(self.centre(50).find_jumps(rules(neighbours=False))[0] != 0) == 1

    @pytest.mark.parametrize(("y", "x", "count"), [(0, 0, 3), (4, 6, 3), (0, 3, 4), (2, 6, 4)])
    def test_at_the_frames_edge(self, y, x, count):
        ramps = self.centre(50, y, x)
        assert np.sum(ramps.find_jumps(DEFAULTS)[0] & JUMP_DET != 0) == count
        assert_agrees(ramps, DEFAULTS)

    @pytest.mark.parametrize("flag", [SATURATED, DO_NOT_USE])
    def test_not_where_flagged(self, flag):
        ramps = self.centre(50)
        ramps.groupdq[0, 4, 2, 4] = flag
        assert ramps.find_jumps(DEFAULTS)[0][0, 4, 2, 4] == flag

    def test_jumps_of_the_input_have_neighbours(self):
        ramps = self.centre(0)
        ramps.data[0, 4:, 2, 3] = 15
        ramps.groupdq[0, 4, 2, 3] = JUMP_DET
        used = rules(threshold=20.0)
        assert np.sum(ramps.find_jumps(used)[0][0, 4] & JUMP_DET != 0) == 5
        assert_agrees(ramps, used)

    def test_counts_exclude_neighbours(self):
        assert self.centre(50).find_jumps(DEFAULTS)[2][:, 0].tolist() == [0, 0, 1, 0, 0]


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
        found = ramps.find_jumps(rules(threshold=1e9))[0]
        assert found[0, 1, 0, 0] == flag
        assert found[0, 0, 1, 1] == JUMP_DET

    @pytest.mark.parametrize(("gain", "bad"), [(np.nan, True), (0, True), (-1, True), (2, False)])
    def test_pixels_without_gain(self, gain, bad):
        ramps = calm(1, 5, (2, 3))
        ramps.gain[1, 2] = gain
        found = ramps.find_jumps(DEFAULTS)[1]
        assert found[1, 2] == (NO_GAIN_VALUE | DO_NOT_USE) * bad
        assert not found[0].any()

    def test_inputs_are_unchanged(self):
        ramps = stormy(2, 12, SHAPE)
        copy = pickle.loads(pickle.dumps(ramps))
        for name in vars(ramps):
            getattr(ramps, name).flags.writeable = False
        ramps.find_jumps(rules(after=((0.0, 3), (0.0, 0))))
        for name in vars(ramps):
            np.testing.assert_array_equal(getattr(ramps, name), getattr(copy, name))

    @pytest.mark.parametrize(
        "used",
        [DEFAULTS, rules(single_pass=3), rules(clip_groups=3), rules(after=((10.0, 2), (0.0, 0)))],
    )
    def test_bands_with_halo_equal_the_whole(self, used):
        ramps = stormy(3, 8, (24, 40), seed=5)
        whole, wholes, counts = ramps.find_jumps(used)
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
