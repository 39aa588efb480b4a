"""Blocks of flagged ramps: copy them from a stretch of pixels, and apply rules on flags.

This is the general path of the ramp fit; `unflagged` fits ramps without flags. Source: stcal 1.20
``ramp_fitting`` (``slope_fitter.c``).

Blocks are (groups, ramps), and loops run along ramps. The compiler vectorizes a loop only if it has
few arrays, since it must test whether they overlap; therefore, each loop does little. Making a view
of a row takes longer than a short loop, so that functions receive whole blocks.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.ramp_fit.plan import POWERS, Plan
from calbatch.models import dq
from calbatch.models.jit import inner_view_kernel

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
Integers = npt.NDArray[np.int32]


class Block(NamedTuple):
    """Flagged ramps of a stretch of pixels in one integration, one ramp per column.

    Attributes
    ----------
    where : ndarray of uint32, (ramps,)
        The pixels' positions in the stretch. They are unsigned, since signed indices are tested.
    ramps : ndarray of float32, (groups, ramps)
        Samples of the groups in use, DN; NaN where saturated.
    flags : ndarray of uint8, (groups, ramps)
        Their flags.
    seen : ndarray of uint8, (ramps,)
        The combined flags of all groups.
    added : ndarray of uint32, (ramps,)
        Flags that they add to the integration's flags, except partial saturation.
    alone : ndarray of uint8, (ramps,)
        `FIRST_GROUP` if the first group is the only good one, `ZERO_FRAME` if there is none and the
        zero frame has replaced the first; their times count from the reset. Otherwise 0.
    once, twice : ndarray of uint8, (ramps,)
        Scratch: 1 if something was found once, or twice, among the groups.
    every, bad : ndarray of uint8, (ramps,)
        Scratch: flags of all groups; 1 if all groups are unusable.
    weights : ndarray of float64, (6,)
        Scratch: coefficients of one pair of groups.
    starts, stops : ndarray of intp, (groups + 1,)
        Scratch: the segments of one ramp.
    """

    where: Words
    ramps: Singles
    flags: Flags
    seen: Flags
    added: Words
    alone: Flags
    once: Flags
    twice: Flags
    every: Flags
    bad: Flags
    weights: Floats
    starts: Places
    stops: Places


def make_block(ramps: int, plan: Plan) -> Block:
    """Return work space for a number of ramps."""
    size = plan.stop - plan.start
    seen, alone, once, twice, every, bad = (np.empty(ramps, np.uint8) for _ in range(6))
    return Block(
        where=np.empty(ramps, np.uint32),
        ramps=np.empty((size, ramps), np.float32),
        flags=np.empty((size, ramps), np.uint8),
        seen=seen,
        added=np.empty(ramps, np.uint32),
        alone=alone,
        once=once,
        twice=twice,
        every=every,
        bad=bad,
        weights=np.empty(len(POWERS)),
        starts=np.empty(size + 1, np.intp),
        stops=np.empty(size + 1, np.intp),
    )


# -- reading -----------------------------------------------------------------------------------


@inner_view_kernel
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
    count, high = 0, low + odd.size
    for c in range(odd.size):
        block.where[count] = c
        count += odd[c] != 0
    if count == 0:
        return 0
    for group in range(plan.start, plan.stop):
        k = group - plan.start
        if count == odd.size:
            _copy_group(samples[group, low:high], groupdq[group, low:high], k, block)
        else:
            _pick_ramps(samples, groupdq, (low, group, k), count, block)
        if group < plan.first or group >= plan.last:
            for j in range(count):
                block.flags[k, j] |= np.uint8(DO_NOT_USE)
    _apply_flag_rules(count, plan, block)
    if zero.size > 0 and not plan.suppress:
        _use_zero_frames(zero, low, count, block)
    return count


@inner_view_kernel
def _copy_group(samples: Singles, groupdq: Flags, k: int, block: Block) -> None:
    """Copy a group of all ramps of the stretch."""
    ramps, flags = block.ramps, block.flags
    for j in range(samples.size):
        ramps[k, j] = samples[j]
    for j in range(samples.size):
        flags[k, j] = groupdq[j]


@inner_view_kernel
def _pick_ramps(
    samples: Singles, groupdq: Flags, place: tuple[int, int, int], count: int, block: Block
) -> None:
    """Copy a group of some ramps; ``place``: start of the stretch, group, group of the block."""
    low, group, k = place
    for j in range(count):
        at = low + block.where[j]
        block.ramps[k, j], block.flags[k, j] = samples[group, at], groupdq[group, at]


@inner_view_kernel
def _use_zero_frames(zero: Singles, low: int, count: int, block: Block) -> None:
    """Replace the first groups of ramps without a good group by their zero frames.

    The flags that a ramp adds to the integration remain, except that it is usable.
    """
    for j in range(count):
        seen, value = block.seen[j], zero[low + block.where[j]]
        if block.once[j] != 0 or value == 0.0:
            continue
        block.ramps[0, j], block.flags[0, j] = value, 0
        block.alone[j] = ZERO_FRAME
        block.added[j] = seen & (JUMP_DET | PERSISTENCE)
        if block.flags.shape[0] == 1:  # no saturated group is left
            block.seen[j] = seen & ~SATURATED & 0xFF


@inner_view_kernel
def time_alone(alone: int, plan: Plan) -> float:
    """Return the time (s) of the only sample of a ramp since the reset; see ``Block.alone``."""
    if alone == FIRST_GROUP:
        return plan.one_group_time
    return plan.frame_time if alone == ZERO_FRAME else plan.group_time


# -- rules on flags ----------------------------------------------------------------------------


@inner_view_kernel
def _apply_flag_rules(count: int, plan: Plan, block: Block) -> None:
    """Apply the rules that modify a ramp's flags, and combine the flags.

    Afterwards, ``once`` and ``twice`` are about groups without a flag, if one group may be fitted.
    """
    flags, once, twice = block.flags, block.once, block.twice
    if plan.suppress:
        _count_clear(count, flags, np.uint8(~PERSISTENCE & 0xFF), once, twice)
        _drop_single(count, flags, once, twice)
    if plan.start > 0:  # there is no earlier group to jump from
        for j in range(count):
            flags[0, j] &= np.uint8(~JUMP_DET & 0xFF)
    _combine_flags(count, flags, block.seen, block.every, block.bad)
    _drop_saturated(count, flags, block.seen, block.ramps)
    _find_added_flags(count, flags, block.seen, block.every, block.bad, block.added)
    for j in range(count):
        block.alone[j] = 0
    if not plan.suppress:
        _count_clear(count, flags, np.uint8(0xFF), once, twice)
        for j in range(count):
            block.alone[j] = np.uint8(flags[0, j] == 0) & (once[j] ^ twice[j])


@inner_view_kernel
def _count_clear(count: int, flags: Flags, mask: int, once: Flags, twice: Flags) -> None:
    """Note whether any groups have no flag of ``mask``, and whether more than one."""
    for j in range(count):
        once[j], twice[j] = 0, 0
    for k in range(flags.shape[0]):
        for j in range(count):
            clear = np.uint8((flags[k, j] & mask) == 0)
            twice[j] |= once[j] & clear
            once[j] |= clear


@inner_view_kernel
def _drop_single(count: int, flags: Flags, once: Flags, twice: Flags) -> None:
    """Flag all groups of ramps with a single good one."""
    found = 0
    for j in range(count):
        once[j] = (once[j] ^ twice[j]) * np.uint8(DO_NOT_USE)
        found |= once[j]
    if found != 0:
        for k in range(flags.shape[0]):
            for j in range(count):
                flags[k, j] |= once[j]


@inner_view_kernel
def _combine_flags(count: int, flags: Flags, seen: Flags, every: Flags, bad: Flags) -> None:
    for j in range(count):
        seen[j], every[j], bad[j] = 0, 255, 1
    for k in range(flags.shape[0]):
        for j in range(count):
            flag = flags[k, j]
            seen[j] |= flag
            every[j] &= flag
            bad[j] &= np.uint8((flag & np.uint8(UNUSABLE)) != 0)


@inner_view_kernel
def _drop_saturated(count: int, flags: Flags, seen: Flags, ramps: Singles) -> None:
    """Set saturated samples to NaN."""
    found = 0
    for j in range(count):
        found |= seen[j]
    if found & SATURATED:
        for k in range(flags.shape[0]):
            for j in range(count):
                sample = ramps[k, j]
                ramps[k, j] = np.float32(math.nan) if flags[k, j] & SATURATED else sample


@inner_view_kernel
def _find_added_flags(
    count: int, flags: Flags, seen: Flags, every: Flags, bad: Flags, added: Words
) -> None:
    """Find the flags that each ramp adds to its integration's flags."""
    for j in range(count):
        passed = np.uint32(seen[j] & np.uint8(JUMP_DET | PERSISTENCE))
        unusable = np.uint32(DO_NOT_USE) if bad[j] != 0 else np.uint32(0)
        saturated = (flags[0, j] | every[j]) & np.uint8(SATURATED)
        added[j] = passed | (np.uint32(UNUSABLE) if saturated != 0 else unusable)
