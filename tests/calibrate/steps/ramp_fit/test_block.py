"""Flagged ramps are copied and get their flags by the rules of the ramp fit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.few_ramps import (
    few_groups,
    few_ramps,
)

from calbatch.calibrate.steps.ramp_fit import block as blocks
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, PERSISTENCE, SATURATED
from calbatch.models.jit import kernel

BAD = DO_NOT_USE | SATURATED
GROUPS = 4
FLAGS = [0, 0, DO_NOT_USE, SATURATED, JUMP_DET, PERSISTENCE, BAD]

flags = st.lists(st.sampled_from(FLAGS), min_size=GROUPS, max_size=GROUPS)


@kernel
def gather(samples, groupdq, zero, low, odd, plan, block):
    return blocks.gather(samples, groupdq, zero, low, odd, plan, block)


def gather_ramps(groupdq, plan, *, low=0, odd=None, zero=None):
    """Return the number of ramps, and the block; samples are 10 * group + pixel."""
    pixels = np.shape(groupdq)[1]
    data = 10 * np.arange(len(groupdq))[:, None] + np.arange(pixels)
    exposure = few_ramps([data], [groupdq], zero=zero)
    odd = np.ones(pixels, "u1") if odd is None else odd
    block = blocks.make_block(odd.size + 1, plan)
    arrays = exposure.data[0], exposure.groupdq[0], exposure.zero[0]
    count = gather(*arrays, low, odd, plan, block)
    return count, block


def of_one(flags, **options):
    """Return the flags, the sum of flags, the added flags and `alone` of one ramp."""
    _, block = gather_ramps(np.array(flags)[:, None], few_groups(len(flags), **options))
    return block.flags[:, 0].tolist(), block.seen[0], block.added[0], block.alone[0]


class TestGather:
    def test_only_odd_ramps_are_copied(self):
        groupdq = np.zeros((3, 5), "u1")
        groupdq[1] = [0, 4, 4, 1, 0]
        count, block = gather_ramps(groupdq, few_groups(3), low=1, odd=np.array([1, 0, 255], "u1"))
        assert (count, block.where[:2].tolist()) == (2, [0, 2])
        assert block.ramps[:, :2].T.tolist() == [[1, 11, 21], [3, 13, 23]]
        assert block.flags[:, :2].T.tolist() == [[0, 4, 0], [0, 1, 0]]

    def test_groups_outside_the_window_are_not_used(self):
        found, *_ = of_one([0, 0, JUMP_DET, 0, 0], window=(1, 4))
        assert found == [DO_NOT_USE, 0, JUMP_DET, 0, DO_NOT_USE]

    def test_groups_outside_the_range_are_absent(self):
        plan = few_groups(5, group_range=(1, 4))
        _, block = gather_ramps(np.zeros((5, 1), "u1"), plan)
        assert block.ramps[:, 0].tolist() == [10, 20, 30]

    def test_the_first_group_of_a_later_range_is_not_a_jump(self):
        assert of_one([0, JUMP_DET, 0, 0], group_range=(1, 4))[0] == [0, 0, 0]
        assert of_one([JUMP_DET, 0, 0, 0])[0] == [JUMP_DET, 0, 0, 0]

    def test_saturated_samples_become_nan(self):
        _, block = gather_ramps(np.array([[0], [0], [JUMP_DET], [BAD]]), few_groups(4))
        np.testing.assert_array_equal(block.ramps[:, 0], [0, 10, 20, np.nan])

    @given(flags)
    def test_flags_are_combined(self, flags):
        _, seen, added, _ = of_one(flags, suppress=False)
        assert seen == np.bitwise_or.reduce(flags)
        expected = seen & (JUMP_DET | PERSISTENCE)
        if flags[0] & SATURATED or all(flag & SATURATED for flag in flags):
            expected |= BAD
        elif all(flag & BAD for flag in flags):
            expected |= DO_NOT_USE
        assert added == expected

    @given(flags)
    def test_a_single_good_group_is_suppressed(self, flags):
        good = sum(flag in (0, PERSISTENCE) for flag in flags)
        expected = [flag | (DO_NOT_USE if good == 1 else 0) for flag in flags]
        assert of_one(flags)[0] == expected
        assert of_one(flags, suppress=False)[0] == flags

    @given(flags)
    def test_the_first_group_may_be_the_only_good_one(self, flags):
        *_, alone = of_one(flags, suppress=False)
        assert alone == (flags[0] == 0 and flags.count(0) == 1)
        *_, alone = of_one(flags)
        assert alone == 0

    @given(st.lists(flags, min_size=1, max_size=9))
    def test_ramps_do_not_affect_each_other(self, ramps):
        _, block = gather_ramps(np.transpose(ramps), few_groups(GROUPS))
        for j, flags in enumerate(ramps):
            alone = of_one(flags)
            found = block.flags[:, j].tolist(), block.seen[j], block.added[j], block.alone[j]
            assert found == alone


class TestZeroFrame:
    @staticmethod
    def ramp(flags, zero=7.5, **options):
        """Return the block of one ramp with a zero frame."""
        plan = few_groups(len(flags), **{"suppress": False, **options})
        return gather_ramps(np.array(flags)[:, None], plan, zero=zero)[1]

    @given(flags)
    def test_it_replaces_the_first_group_if_there_is_no_good_one(self, flags):
        block = self.ramp(flags)
        used = 0 not in flags
        assert (block.alone[0] == blocks.ZERO_FRAME) == used
        if used:
            assert (block.ramps[0, 0], block.flags[:, 0].tolist()) == (7.5, [0, *flags[1:]])
            seen = np.bitwise_or.reduce(flags)
            assert block.seen[0] == seen
            assert block.added[0] == seen & (JUMP_DET | PERSISTENCE)
        else:
            assert block.ramps[0, 0] == 0 or flags[0] & SATURATED
            assert block.flags[:, 0].tolist() == flags

    def test_it_is_not_used_if_zero_or_suppressed(self):
        assert self.ramp([BAD, BAD], zero=0.0).flags[:, 0].tolist() == [BAD, BAD]
        assert self.ramp([BAD, BAD], suppress=True).flags[:, 0].tolist() == [BAD, BAD]

    def test_without_further_groups_nothing_is_saturated(self):
        block = self.ramp([SATURATED])
        assert (block.seen[0], block.added[0]) == (0, 0)
