"""Blocks of flagged ramps: copy them from a stretch of pixels, apply rules on flags, start rates.

This is the general path of the ramp fit; `unflagged` fits ramps without flags many at a time.
Equations are numbered in docs/steps/ramp_fit.md. Source: stcal 1.20 ``ramp_fitting``
(``slope_fitter.c``).

Functions called for each ramp take few arguments: passing an array costs seven numbers or more,
which would take longer than the arithmetic.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.ramp_fit.plan import Plan
from calbatch.models import dq
from calbatch.models.jit import inner_kernel

# Flags of samples, also used for pixels; numba compiles them in as constants.
DO_NOT_USE = dq.DO_NOT_USE
SATURATED = dq.SATURATED
JUMP_DET = dq.JUMP_DET
PERSISTENCE = dq.PERSISTENCE
CHARGELOSS = dq.CHARGELOSS
UNUSABLE = DO_NOT_USE | SATURATED
BAD_GAIN = DO_NOT_USE | dq.NO_GAIN_VALUE
FIRST_GROUP, ZERO_FRAME = 1, 2

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Flags = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]
Words = npt.NDArray[np.uint32]


class Block(NamedTuple):
    """Flagged ramps of a stretch of pixels in one integration, one ramp per row.

    Attributes
    ----------
    where : ndarray of intp, (ramps,)
        The pixels' positions in the stretch.
    ramps : ndarray of float32, (ramps, groups)
        Samples of the groups in use, DN; NaN where saturated.
    flags : ndarray of uint8, (ramps, groups)
        Their flags.
    seen : ndarray of uint8, (ramps,)
        The combined flags of all groups.
    added : ndarray of uint32, (ramps,)
        Flags that they add to the integration's flags, except partial saturation.
    alone : ndarray of uint8, (ramps,)
        `FIRST_GROUP` if the first group is the only good one, `ZERO_FRAME` if there is none and the
        zero frame has replaced the first; their times count from the reset. Otherwise 0.
    differences : ndarray of float64, (groups,)
        Scratch.
    starts, stops : ndarray of intp, (groups + 1,)
        Scratch: the segments of one ramp.
    """

    where: Places
    ramps: Singles
    flags: Flags
    seen: Flags
    added: Words
    alone: Flags
    differences: Floats
    starts: Places
    stops: Places


def make_block(ramps: int, plan: Plan) -> Block:
    """Return work space for a number of ramps."""
    size = plan.stop - plan.start
    return Block(
        where=np.empty(ramps, np.intp),
        ramps=np.empty((ramps, size), np.float32),
        flags=np.empty((ramps, size), np.uint8),
        seen=np.empty(ramps, np.uint8),
        added=np.empty(ramps, np.uint32),
        alone=np.empty(ramps, np.uint8),
        differences=np.empty(size),
        starts=np.empty(size + 1, np.intp),
        stops=np.empty(size + 1, np.intp),
    )


# -- reading -----------------------------------------------------------------------------------


@inner_kernel
def gather(
    samples: Singles,
    groupdq: Flags,
    zero: Singles,
    low: int,
    odd: Flags,
    plan: Plan,
    block: Block,
) -> int:
    """Copy the ramps where ``odd`` is not 0 into ``block``.

    Parameters
    ----------
    samples, groupdq : ndarray, (groups, pixels)
        One integration.
    zero : ndarray, (pixels,)
        Its zero frame; without elements if there is none.
    low : int
        Start of the stretch.
    odd : ndarray of uint8, (stretch,)
        Not 0 for the ramps to copy.

    Returns
    -------
    int
        Number of ramps copied.
    """
    count = 0
    for c in range(odd.size):
        block.where[count] = c
        count += odd[c] != 0
    for group in range(plan.start, plan.stop):
        outside = group < plan.first or group >= plan.last
        added = np.uint8(DO_NOT_USE) if outside else np.uint8(0)
        k = group - plan.start
        for j in range(count):
            at = low + block.where[j]
            block.flags[j, k] = groupdq[group, at] | added
            block.ramps[j, k] = samples[group, at]
    _apply_flag_rules(count, plan, block)
    if zero.size > 0 and not plan.suppress:
        for j in range(count):
            good, value = 0, zero[low + block.where[j]]
            for k in range(block.flags.shape[1]):
                good += block.flags[j, k] == 0
            if good == 0 and value != 0.0:
                _use_zero_frame(value, j, block)
    return count


@inner_kernel
def _use_zero_frame(value: float, j: int, block: Block) -> None:
    """Replace the first group of a ramp without a good group by its zero frame.

    The flags that the ramp adds to the integration remain, except that it is usable.
    """
    seen = block.seen[j]
    block.ramps[j, 0], block.flags[j, 0] = value, 0
    block.alone[j] = ZERO_FRAME
    block.added[j] = seen & (JUMP_DET | PERSISTENCE)
    if block.flags.shape[1] == 1:  # no saturated group is left
        block.seen[j] = seen & ~SATURATED & 0xFF


@inner_kernel
def time_alone(alone: int, plan: Plan) -> float:
    """Return the time (s) of the only sample of a ramp since the reset; see ``Block.alone``."""
    if alone == FIRST_GROUP:
        return plan.one_group_time
    return plan.frame_time if alone == ZERO_FRAME else plan.group_time


@inner_kernel
def _apply_flag_rules(count: int, plan: Plan, block: Block) -> None:
    """Apply the rules that modify a ramp's flags, and combine the flags."""
    size = plan.stop - plan.start
    flags = block.flags
    for j in range(count):
        good = 0
        for k in range(size):
            good += (flags[j, k] & ~PERSISTENCE) == 0
        if plan.suppress and good == 1:
            for k in range(size):
                flags[j, k] |= np.uint8(DO_NOT_USE)
        if plan.start > 0:  # there is no earlier group to jump from
            flags[j, 0] &= np.uint8(~JUMP_DET & 0xFF)
        seen, clear, unusable, saturated = 0, 0, 0, 0
        for k in range(size):
            flag = int(flags[j, k])
            seen |= flag
            clear += flag == 0
            unusable += (flag & UNUSABLE) != 0
            saturated += (flag & SATURATED) != 0
            if flag & SATURATED:
                block.ramps[j, k] = np.float32(math.nan)
        added = seen & (JUMP_DET | PERSISTENCE)
        if flags[j, 0] & SATURATED or saturated == size:
            added |= DO_NOT_USE | SATURATED
        elif unusable == size:
            added |= DO_NOT_USE
        block.seen[j], block.added[j] = seen, added
        block.alone[j] = not plan.suppress and clear == 1 and flags[j, 0] == 0


# -- starting rates ----------------------------------------------------------------------------


@inner_kernel
def starting_rate(
    ramps: Singles,
    flags: Flags,
    j: int,
    alone: int,
    plan: Plan,
    differences: Floats,
) -> float:
    """Return the median of a ramp's differences, in DN/s: a term of the mean of (F5).

    A ramp without a usable difference uses its first sample instead, or 0 if that is unusable too.
    An exposure of one group always uses its first samples.
    """
    size = ramps.shape[1]
    first = np.float64(ramps[j, 0])
    if size == 1:
        return first / plan.one_group_time
    if alone != 0:
        return 0.0 if math.isnan(first) else first / time_alone(alone, plan)
    count = 0
    before, bad = first, (flags[j, 0] & DO_NOT_USE) != 0
    for k in range(1, size):
        sample, flag = np.float64(ramps[j, k]), flags[j, k]
        step = sample - before
        differences[count] = step
        count += not (bad or (flag & (JUMP_DET | DO_NOT_USE)) != 0 or math.isnan(step))
        before, bad = sample, (flag & DO_NOT_USE) != 0
    if count == 0:
        start = math.nan if flags[j, 0] & DO_NOT_USE else first
    else:
        start = median_of(differences, count)
    return 0.0 if math.isnan(start) else start / plan.group_time


@inner_kernel
def median_of(values: Floats, count: int) -> float:
    """Return the median of the first ``count`` values, and reorder them."""
    middle = count // 2
    low, high = 0, count - 1
    while low < high:  # quickselect: afterwards, values before the middle are not larger
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            break
    upper = values[middle]
    if count % 2 == 1:
        return upper
    lower = values[0]
    for k in range(1, middle):
        lower = max(lower, values[k])
    return (lower + upper) / 2.0
