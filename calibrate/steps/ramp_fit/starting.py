"""Starting rates of flagged ramps: the medians of their usable differences.

The differences of all ramps of a block are sorted by one network. Differences that are not usable
become infinite, half of them positive and half of them negative, so that the median of the others
stays in the middle. Equations are numbered in docs/steps/ramp_fit.md. Source: stcal 1.20
``ramp_fitting`` (``slope_fitter.c``).
"""

import math
from typing import NamedTuple

import numpy as np

from calbatch.calibrate.steps.ramp_fit.block import (
    DO_NOT_USE,
    JUMP_DET,
    Block,
    Flags,
    Floats,
    Singles,
    time_alone,
)
from calbatch.calibrate.steps.ramp_fit.plan import Plan
from calbatch.calibrate.steps.ramp_fit.unflagged import sort_to_middle
from calbatch.models.jit import inner_view_kernel


class Steps(NamedTuple):
    """Scratch for the differences of a block.

    Attributes
    ----------
    differences : ndarray of float64, (groups - 1, ramps)
        Differences of the fitted groups, DN.
    fill : ndarray of float64, (ramps,)
        Value of the next difference that is not usable.
    skip : ndarray of uint8, (ramps,)
        Not 0 if a difference is not usable.
    none : ndarray of uint8, (ramps,)
        Not 0 if no difference is usable.
    """

    differences: Floats
    fill: Floats
    skip: Flags
    none: Flags


def make_steps(ramps: int, plan: Plan) -> Steps:
    """Return scratch for a number of ramps."""
    return Steps(
        differences=np.empty((max(plan.last - plan.first - 1, 1), ramps)),
        fill=np.empty(ramps),
        skip=np.empty(ramps, np.uint8),
        none=np.empty(ramps, np.uint8),
    )


@inner_view_kernel
def add_block_rates(count: int, plan: Plan, block: Block, steps: Steps, total: Floats) -> None:
    """Add the starting rates (DN/s) of a block's ramps: terms of the mean of (F5).

    A ramp without a usable difference uses its first sample instead, or 0 if that is unusable too.
    An exposure of one group always uses its first samples.

    Parameters
    ----------
    count : int
        Number of ramps in the block.
    total : ndarray of float64, (stretch,)
        Receives the rates.
    """
    first = block.ramps[0]
    if block.ramps.shape[0] == 1:
        for j in range(count):
            total[block.where[j]] += np.float64(first[j]) / plan.one_group_time
        return
    size = max(plan.last - plan.first - 1, 0)
    _fill_differences(count, size, plan, block, steps)
    if size > 1:
        sort_to_middle(count, steps.differences, plan.uneven_network)
    lower, upper = steps.differences[max(size // 2 - 1, 0)], steps.differences[size // 2]
    for j in range(count):
        time = plan.group_time
        start: float = np.float64(first[j])
        if block.alone[j] != 0:
            time = time_alone(block.alone[j], plan)
        elif steps.none[j] != 0:
            start = math.nan if block.flags[0, j] & DO_NOT_USE else start
        elif (steps.fill[j] > 0.0) == (size % 2 == 0):
            start = (lower[j] + upper[j]) / 2.0
        else:
            start = upper[j] if size % 2 == 1 else lower[j]
        total[block.where[j]] += 0.0 if math.isnan(start) else start / time


@inner_view_kernel
def _fill_differences(count: int, size: int, plan: Plan, block: Block, steps: Steps) -> None:
    """Subtract successive groups, and note which differences are usable."""
    skip, none, fill = steps.skip, steps.none, steps.fill
    for j in range(count):
        fill[j], none[j] = math.inf, 1
    for k in range(size):
        at = plan.first - plan.start + k
        _find_unusable(count, at, block.ramps, block.flags, skip)
        for j in range(count):
            none[j] &= skip[j]
        _subtract(count, at, block.ramps, skip, fill, steps.differences[k])


@inner_view_kernel
def _find_unusable(count: int, at: int, ramps: Singles, flags: Flags, skip: Flags) -> None:
    for j in range(count):
        old, new = flags[at, j] & np.uint8(DO_NOT_USE), flags[at + 1, j]
        flag = old | (new & np.uint8(JUMP_DET | DO_NOT_USE))
        step = ramps[at + 1, j] - ramps[at, j]
        skip[j] = np.uint8(flag != 0) | np.uint8(step != step)  # NaN


@inner_view_kernel
def _subtract(
    count: int, at: int, ramps: Singles, skip: Flags, fill: Floats, differences: Floats
) -> None:
    for j in range(count):
        step, other = np.float64(ramps[at + 1, j]) - np.float64(ramps[at, j]), fill[j]
        differences[j] = step if skip[j] == 0 else other
        fill[j] = other if skip[j] == 0 else -other
