"""Starting rates of flagged ramps are the medians of their usable differences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.few_ramps import (
    FRAME_TIME,
    GROUP_TIME,
    ONE_GROUP_TIME,
    few_groups,
)

from calbatch.calibrate.steps.ramp_fit import block as blocks
from calbatch.calibrate.steps.ramp_fit import starting
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED
from calbatch.models.jit import kernel

BAD = DO_NOT_USE | SATURATED


@kernel
def add_block_rates(count, plan, block, steps, total):
    starting.add_block_rates(count, plan, block, steps, total)


def rates(samples, flags, alone=0, **options):
    """Return the starting rates of ramps, (ramps, groups)."""
    samples, flags = np.array(samples, "f4"), np.array(flags, "u1")
    count, groups = samples.shape
    plan = few_groups(groups, **options)
    block, steps = blocks.make_block(count, plan), starting.make_steps(count, plan)
    block.ramps[:], block.flags[:] = samples.T, flags.T
    block.where[:], block.alone[:] = np.arange(count), alone
    total = np.zeros(count)
    add_block_rates(count, plan, block, steps, total)
    return total.tolist()


def median_rate(samples, flags):
    """Return the median of one ramp's usable differences, or its first sample, per second."""
    steps = [
        after - before
        for before, after, old, new in zip(
            samples[:-1], samples[1:], flags[:-1], flags[1:], strict=True
        )
        if not (old & DO_NOT_USE or new & (DO_NOT_USE | JUMP_DET) or np.isnan(after - before))
    ]
    first = 0.0 if flags[0] & DO_NOT_USE else np.nan_to_num(samples[0])
    return (np.median(steps) if steps else first) / GROUP_TIME


def ramps(groups):
    """Return a strategy for the samples and flags of a ramp."""
    sample = st.integers(-99, 99) | st.just(np.nan)
    flag = st.sampled_from([0, 0, DO_NOT_USE, JUMP_DET])
    return st.tuples(
        st.lists(sample, min_size=groups, max_size=groups),
        st.lists(flag, min_size=groups, max_size=groups),
    )


@pytest.mark.parametrize("groups", [2, 3, 7, 8])
def test_they_are_the_medians_of_the_usable_differences(groups):
    @given(st.lists(ramps(groups), min_size=1, max_size=9))
    def compare_medians(drawn):
        samples, flags = zip(*drawn, strict=True)
        assert rates(samples, flags) == [median_rate(*ramp) for ramp in drawn]

    compare_medians()


def test_infinite_differences_are_usable():
    samples = [[0, 8, 16, 24, np.inf], [0, np.inf, 16, 24, 40], [-np.inf, 0, 8, 24, 32]]
    good = [0] * 5
    assert rates(samples, [good] * 3) == [median_rate(ramp, good) for ramp in samples]


def test_a_median_that_is_nan_counts_as_zero():
    assert rates([[0, np.inf, 0]], [[0, 0, 0]]) == [0.0]


def test_groups_outside_the_window_do_not_count():
    found = rates([[0, 800, 808, 816, 1]], [[1, 0, 0, 0, 1]], window=(1, 4))
    assert found == [8 / GROUP_TIME]


def test_an_exposure_of_one_group_uses_its_sample():
    assert rates([[6.0]], [[0]]) == [6.0 / ONE_GROUP_TIME]


@pytest.mark.parametrize(("first", "expected"), [(6.0, 6.0 / ONE_GROUP_TIME), (np.nan, 0.0)])
def test_a_first_group_alone_counts_from_the_reset(first, expected):
    found = rates([[first, 50.0, 90.0]], [[0, BAD, BAD]], alone=blocks.FIRST_GROUP)
    assert found == [expected]


def test_a_zero_frame_took_the_time_of_a_frame():
    found = rates([[6.0, 50.0, 90.0]], [[0, BAD, BAD]], alone=blocks.ZERO_FRAME)
    assert found == [6.0 / FRAME_TIME]
