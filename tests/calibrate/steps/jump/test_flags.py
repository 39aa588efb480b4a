"""Flags of jumps, of their neighbours and of the groups after them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.calibrate.steps.jump.flags import Ramps, Search, flag_after, flag_jumps
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED

THRESHOLDS = np.array([np.inf, np.inf, 6.0, 5.0, 4.0])
GROUPS = 6


def frame(steps, columns=1, groupdq=0):
    """Return ramps of one row whose first pixel has the differences ``steps`` (DN).

    Other pixels have none. Gain is 2 electron/DN, and read noise 1 DN.
    """
    data = np.zeros((1, GROUPS, 1, columns), "f4")
    data[0, 1:, 0, 0] = np.cumsum(steps)
    flags = np.zeros(data.shape, "u1")
    flags[0, :, 0, 0] = groupdq
    ones = np.ones((1, columns), "f4")
    return Ramps(data, flags, 2 * ones, ones)


def number(groups=GROUPS):
    """Return the index of each group's difference in one integration."""
    return np.arange(-1, groups - 1)[None]


def search(*, one_by_one=True, clipping=False, nearest=10.0, clear=()):
    """Return a search among all groups of one integration."""
    cleared = np.isin(np.arange(GROUPS), clear)[None]
    population = np.zeros(GROUPS - 1, int)
    return Search(
        clipping, one_by_one, number(), population, cleared, 1.0, THRESHOLDS, nearest, 1000.0
    )


def find(ramps, used=None, width=64):
    """Return the flags, (groups, columns), and the number of jumps."""
    used = used or search()
    flags = ramps.groupdq.copy()
    low, high = np.empty((2, 1, width))
    counts = np.full(1, -1)
    flag_jumps(ramps, used, low, high, flags, counts)
    return flags[0, :, 0], int(counts[0])


def groups_with_jumps(flags, column=0):
    """Return the groups with jumps of a pixel."""
    return np.flatnonzero(flags[:, column] & JUMP_DET).tolist()


class TestJumps:
    @given(st.lists(st.integers(-4, 4) | st.sampled_from([30, -70]), min_size=5, max_size=5))
    def test_a_single_pass_flags_the_differences_beyond_the_threshold(self, steps):
        electrons = 2 * np.array(steps, "f8")
        median = np.median(electrons)
        sigma = np.sqrt(abs(median) + 2**2)  # read noise of 1 DN is 2 electrons
        expected = 1 + np.flatnonzero(np.abs(electrons - median) / sigma > 4)
        flags, count = find(frame(steps), search(one_by_one=False))
        assert (groups_with_jumps(flags), count) == (expected.tolist(), expected.size)

    def test_jumps_are_found_one_by_one(self):
        flags, count = find(frame([0, 30, 0, 900, 0]))
        assert (groups_with_jumps(flags), count) == ([2, 4], 2)

    def test_clipping_flags_outliers_of_all_differences(self):
        # Of n values the farthest is sqrt(n - 1) deviations from the mean: here 2.
        used = search(one_by_one=False, clipping=True)
        used = used._replace(thresholds=np.full(5, 1.5))
        flags, count = find(frame([0, 0, 50, 0, 0]), used)
        assert (groups_with_jumps(flags), count) == ([3], 1)

    @pytest.mark.parametrize("flag", [SATURATED, DO_NOT_USE])
    def test_flagged_samples_have_no_differences(self, flag):
        groupdq = [0, 0, flag, 0, 0, 0]
        flags, count = find(frame([0, 0, 900, 0, 0], groupdq=groupdq))
        assert (flags[:, 0].tolist(), count) == (groupdq, 0)

    @pytest.mark.parametrize(("flag", "kept"), [(0, JUMP_DET), (SATURATED, 0), (DO_NOT_USE, 0)])
    def test_jumps_of_the_input_are_kept_where_samples_are_usable(self, flag, kept):
        flags, count = find(frame([0] * 5, groupdq=[0, 0, 0, JUMP_DET | flag, 0, 0]))
        assert flags[3, 0] == kept | flag
        assert count == 1

    def test_groups_to_clear_get_no_new_jumps(self):
        ramps = frame([0, 30, 0, 900, 0])
        flags, count = find(ramps, search(clear=[4]))
        assert (groups_with_jumps(flags), count) == ([2], 1)

    @given(st.integers(0, 2**32 - 1))
    def test_results_do_not_depend_on_the_number_of_columns_at_a_time(self, seed):
        rng = np.random.default_rng(seed)
        ramps = frame([0] * 5, columns=7)
        ramps.data[0, :, 0] = np.cumsum(rng.normal(0, 8, (GROUPS, 7)), axis=0)
        ramps.data[0, 3:, 0, rng.integers(7)] += 500
        whole, parts = find(ramps), find(ramps, width=3)
        assert whole[1] == parts[1] > 0
        np.testing.assert_array_equal(whole[0], parts[0])


class TestNeighbours:
    @pytest.mark.parametrize(
        ("step", "expected"), [(9, []), (11, [3]), (999, [3]), (1001, [])]
    )  # a step of 1 DN is one sigma
    def test_only_those_of_jumps_in_a_range(self, step, expected):
        flags, count = find(frame([0, 0, step, 0, 0], columns=3))
        found = [groups_with_jumps(flags, column) for column in range(3)]
        assert found == [[3], expected, []]
        assert count == 1

    def test_the_median_of_all_differences_decides_after_clipping(self):
        rng = np.random.default_rng(5)
        ints, groups, columns = 120, 5, 90
        steps = rng.normal(7, 1.5, (ints, groups - 1, columns)) + np.arange(4)[:, np.newaxis]
        steps[rng.random(steps.shape) < 0.01] += rng.uniform(35, 65)
        ones = np.ones((1, columns), "f4")
        data = np.zeros((ints, groups, 1, columns), "f4")
        data[:, 1:, 0] = np.cumsum(steps, axis=1)
        ramps = Ramps(data, np.zeros(data.shape, "u1"), ones, ones)
        numbers = np.arange(ints * groups).reshape(ints, groups) - 1 - np.arange(ints)[:, None]
        numbers[:, 0] = -1
        population = np.tile(np.arange(groups - 1), ints)
        clear = np.zeros(numbers.shape, bool)
        flags = {}
        for nearest in (np.inf, 14.0):
            used = Search(
                True, False, numbers, population, clear, 1.0, THRESHOLDS, nearest, 17.0
            )  # fmt: skip
            flags[nearest] = ramps.groupdq.copy()
            low, high = np.empty((2, groups - 1, columns))
            flag_jumps(ramps, used, low, high, flags[nearest], np.zeros(1, int))
        diffs = np.diff(data[:, :, 0], axis=1)
        median = np.median(diffs.astype("f8"), axis=(0, 1))
        ratio = np.abs(diffs - median) / np.sqrt(np.abs(median) + 1)
        jumps = flags[np.inf][:, :, 0] == JUMP_DET
        near = jumps & (np.pad(ratio, ((0, 0), (1, 0), (0, 0))) > 14)
        near &= np.pad(ratio, ((0, 0), (1, 0), (0, 0))) < 17
        assert 0 < near.sum() < jumps.sum()
        expected = jumps.copy()
        expected[..., 1:] |= near[..., :-1]
        expected[..., :-1] |= near[..., 1:]
        np.testing.assert_array_equal(flags[14.0][:, :, 0] == JUMP_DET, expected)

    @pytest.mark.parametrize("flag", [SATURATED, DO_NOT_USE])
    def test_unusable_neighbours_are_not_flagged(self, flag):
        ramps = frame([0, 0, 50, 0, 0], columns=2)
        ramps.groupdq[0, 3, 0, 1] = flag
        flags, _ = find(ramps)
        assert flags[3].tolist() == [JUMP_DET, flag]


class TestAfter:
    @staticmethod
    def extend(ramps, jumps, limits=(40.0,), reach=(2,)):
        """Return the flagged groups of the first pixel, with jumps in some groups before."""
        flags = ramps.groupdq.copy()
        flags[0, jumps, 0, 0] |= np.uint8(JUMP_DET)
        flag_after(ramps, number(), np.array(limits), np.array(reach), flags)
        return groups_with_jumps(flags[0, :, 0])

    @pytest.mark.parametrize(("step", "expected"), [(19, [2]), (20, [2, 3, 4])])
    def test_groups_after_a_jump_of_at_least_the_limit(self, step, expected):
        # 40 electrons are 20 DN.
        assert self.extend(frame([0, step, 0, 0, 0]), [2]) == expected

    def test_the_largest_limit_that_is_reached_counts(self):
        ramps = frame([0, 90, 0, 0, 0])
        assert self.extend(ramps, [2], (40.0, 100.0), (1, 3)) == [2, 3, 4, 5]
        assert self.extend(ramps, [2], (40.0, 200.0), (1, 3)) == [2, 3]

    def test_the_end_of_the_ramp_ends_the_flags(self):
        assert self.extend(frame([0, 0, 0, 0, 90]), [5], reach=(9,)) == [5]

    def test_a_large_difference_without_a_jump_has_no_groups_after_it(self):
        assert self.extend(frame([0, 90, 0, 0, 9]), [5]) == [5]

    @pytest.mark.parametrize("flag", [SATURATED, DO_NOT_USE])
    def test_unusable_groups_are_not_flagged(self, flag):
        ramps = frame([0, 90, 0, 0, 0], groupdq=[0, 0, 0, flag, 0, 0])
        assert self.extend(ramps, [2]) == [2, 4]
