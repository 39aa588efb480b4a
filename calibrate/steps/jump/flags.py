"""Compiled loops that flag jumps, their neighbours and the groups after them.

They change the flags that they are given. Source: stcal 1.20 ``twopoint_difference``, which works
on whole frames; here some columns of one row stay in the processor's cache from their differences
to their flags. Of most pixels only the extreme differences are looked at.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.bounds import (
    deviation,
    find_suspects,
    set_bounds,
    set_clipped_bounds,
    sort_differences,
)
from calbatch.calibrate.steps.jump.sort import INFINITE, find_medians
from calbatch.models import dq
from calbatch.models.jit import kernel

Array = npt.NDArray[Any]

INVALID = np.float32(np.nan)
NONE = np.uint8(0)
JUMP = np.uint8(dq.JUMP_DET)
NO_JUMP = np.uint8(255 - dq.JUMP_DET)
EXCLUDED = np.uint8(dq.SATURATED | dq.DO_NOT_USE)


class Ramps(NamedTuple):
    """What the kernels read: (integrations, groups, rows, columns) and (rows, columns)."""

    data: Array
    groupdq: Array
    gain: Array
    readnoise: Array


class Search(NamedTuple):
    """How to find jumps.

    Attributes
    ----------
    clipping, one_by_one : bool
        Whether by sigma clipping, or by taking off one after the other; otherwise all at once.
    difference : ndarray
        For each (integration, group) the number of its difference from the group before it; -1 for
        first groups, and next to groups that are DO_NOT_USE over the whole frame.
    population : ndarray
        For each difference the number of those that it is compared with.
    clear : ndarray
        For each (integration, group) whether flags that are JUMP_DET only are not to be set.
    frames : float
        Frames averaged in a group.
    thresholds : ndarray
        Sigma, by the number of usable differences of a pixel: from 4 on, the last.
    least, most : float
        Between how many sigma a jump has its neighbours flagged.
    """

    clipping: bool
    one_by_one: bool
    difference: Array
    population: Array
    clear: Array
    frames: float
    thresholds: Array
    least: float
    most: float


# -- differences -------------------------------------------------------------------------------


@kernel
def _electrons(data: Array, groupdq: Array, gain: Array, seen: Array, now: Array) -> None:
    """Scale a group's samples; those not to be used become NaN. ``seen`` collects all flags."""
    for x in range(now.size):
        seen[x] |= groupdq[x]
        now[x] = data[x] * gain[x] if groupdq[x] & EXCLUDED == NONE else INVALID


@kernel
def _subtract(now: Array, before: Array, diff: Array, usable: Array) -> None:
    for x in range(diff.size):
        step = now[x] - before[x]
        diff[x] = step
        usable[x] += np.int32(step == step)


@kernel
def _differences(
    ramps: Ramps, number: Array, y: int, x0: int, diffs: Array, usable: Array
) -> Array:
    """Fill (differences, pixels) from columns of row ``y`` on; return the flags that they have."""
    stop = x0 + usable.size
    gain = ramps.gain[y, x0:stop]
    now, before = np.empty(usable.size, np.float32), np.empty(usable.size, np.float32)
    seen = np.zeros(usable.size, np.uint8)
    usable[:] = 0
    for i in range(number.shape[0]):
        for g in range(number.shape[1]):
            data, groupdq = ramps.data[i, g, y, x0:stop], ramps.groupdq[i, g, y, x0:stop]
            _electrons(data, groupdq, gain, seen, now)
            if number[i, g] >= 0:
                _subtract(now, before, diffs[number[i, g]], usable)
            now, before = before, now
    return seen


@kernel
def _variance(ramps: Ramps, y: int, x0: int, size: int, frames: float) -> Array:
    """Return the squared read noise of differences in electrons, rounded as stcal does."""
    result = np.empty(size, np.float64)
    for x in range(size):
        electrons = ramps.readnoise[y, x0 + x] * ramps.gain[y, x0 + x]
        result[x] = np.float64(electrons * electrons) / frames
    return result


# -- flags -------------------------------------------------------------------------------------


@kernel
def _flag_neighbours(old: Array, y: int, x: int, flags: Array) -> None:
    """Flag the four neighbours in one group, but not those that are saturated or DO_NOT_USE."""
    rows, cols = flags.shape
    for row, col in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
        if 0 <= row < rows and 0 <= col < cols and old[row, col] & EXCLUDED == NONE:
            flags[row, col] |= JUMP


@kernel
def _is_jump(diff: float, low: float, high: float, one_by_one: bool) -> bool:
    key = abs(diff) if one_by_one else diff
    outside = key < low or key > high
    return bool(outside and (one_by_one or abs(diff) < INFINITE))  # as stcal does


@kernel
def _flag_pixel(
    groupdq: Array, diffs: Array, pixel: tuple[int, int, int], low: Array, high: Array,
    had: bool, middle: float, variance: float, search: Search, flags: Array,
) -> int:  # fmt: skip
    """Flag the jumps of a pixel, with its neighbours; return how many jumps it has.

    ``pixel`` is its row, its column, and its column in ``diffs`` and the bounds; ``had`` tells
    whether it has any jump from before.
    """
    y, x, column = pixel
    sigma, found = deviation(middle, variance), 0
    for i in range(flags.shape[0]):
        for g in range(flags.shape[1]):
            k, diff, jump = search.difference[i, g], np.nan, False
            if k >= 0:
                diff, p = np.float64(diffs[k, column]), search.population[k]
                jump = _is_jump(diff, low[p, column], high[p, column], search.one_by_one)
            old = groupdq[i, g, y, x] if jump or had else NONE
            if not (jump or old & JUMP != NONE) or (search.clear[i, g] and old | JUMP == JUMP):
                continue
            found += 1
            if old & EXCLUDED != NONE:
                flags[i, g, y, x] &= NO_JUMP
                continue
            flags[i, g, y, x] |= JUMP
            if search.least < abs(diff - middle) / sigma < search.most:
                _flag_neighbours(groupdq[i, g], y, x, flags[i, g])
    return found


@kernel
def _select_pixels(suspect: Array, seen: Array) -> Array:
    """Return the pixels to look at: suspects, and those with jumps from before."""
    picked = np.empty(suspect.size, np.int64)
    count = 0
    for x in range(suspect.size):
        picked[count] = x
        count += suspect[x] != 0 or seen[x] & JUMP != NONE
    return picked[:count]


@kernel
def flag_jumps(
    ramps: Ramps, search: Search, low: Array, high: Array, flags: Array, counts: Array
) -> None:
    """Flag jumps and their neighbours, and count jumps (neighbours apart) in each row.

    Parameters
    ----------
    ramps : Ramps
        The samples.
    search : Search
        How to find jumps.
    low, high : ndarray
        Working arrays, float64, (populations, columns to work on at a time).
    flags : ndarray
        The flags to change: a copy of ``ramps.groupdq``, rid already of what is not to be set.
    counts : ndarray
        Takes the number of jumps of each row.
    """
    cols = flags.shape[3]
    for y in range(flags.shape[2]):
        counts[y] = 0
        for x0 in range(0, cols, low.shape[1]):
            size = min(low.shape[1], cols - x0)
            diffs = np.empty((search.population.size, size), np.float32)
            usable, suspect = np.empty(size, np.int32), np.empty(size, np.int32)
            seen = _differences(ramps, search.difference, y, x0, diffs, usable)
            variance = _variance(ramps, y, x0, size, search.frames)
            if search.clipping:
                set_clipped_bounds(
                    diffs, search.population, search.thresholds[4], suspect, low, high
                )
            else:
                order = sort_differences(diffs, search.one_by_one)
                judge = usable, variance, search.thresholds, suspect
                find_suspects(order, search.one_by_one, *judge)
                set_bounds(order, search.one_by_one, *judge, low[0], high[0])
            picked = _select_pixels(suspect, seen)
            middle = find_medians(diffs, picked)
            for j in range(picked.size):
                x = picked[j]
                pixel, had = (y, x0 + x, x), seen[x] & JUMP != NONE
                counts[y] += _flag_pixel(
                    ramps.groupdq, diffs, pixel, low, high, had, middle[j], variance[x], search,
                    flags,
                )  # fmt: skip


# -- after jumps -------------------------------------------------------------------------------


@kernel
def _flag_pixel_after(
    old: Array, diffs: Array, middle: float, least: Array, reach: Array, flags: Array
) -> None:
    """Flag the groups after large jumps of one pixel; arrays are (integrations, groups)."""
    for i in range(flags.shape[0]):
        last = 0
        for g in range(1, flags.shape[1]):
            jump = flags[i, g] & JUMP != NONE
            if g <= last and old[i, g] & EXCLUDED == NONE:
                flags[i, g] |= JUMP
            for limit, groups in zip(least, reach):  # noqa: B905 - numba knows no strict
                if jump and np.float64(diffs[i, g - 1]) - middle >= limit:
                    last = max(last, g + groups)


@kernel
def flag_after(ramps: Ramps, difference: Array, least: Array, reach: Array, flags: Array) -> None:
    """Flag groups after large jumps, neighbours' jumps included.

    Parameters
    ----------
    ramps : Ramps
        The samples.
    difference : ndarray
        A number for each (integration, group) but the first groups, where it is -1.
    least, reach : ndarray
        Limits in electrons, and how many groups are flagged after a jump that reaches each.
    flags : ndarray
        The flags to change: those that `flag_jumps` leaves.
    """
    ints, groups, rows, cols = flags.shape
    diffs = np.empty((ints * (groups - 1), cols), np.float32)
    usable, none = np.empty(cols, np.int32), np.zeros(cols, np.int32)
    for y in range(rows):
        seen = np.zeros(cols, np.uint8)
        for i in range(ints):
            for g in range(1, groups):
                for x in range(cols):
                    seen[x] |= flags[i, g, y, x]
        picked = _select_pixels(none, seen)
        _differences(ramps, difference, y, 0, diffs, usable)
        middle = find_medians(diffs, picked)
        for j in range(picked.size):
            x = picked[j]
            ramp = np.ascontiguousarray(diffs[:, x]).reshape(ints, groups - 1)
            old = ramps.groupdq[:, :, y, x]
            _flag_pixel_after(old, ramp, middle[j], least, reach, flags[:, :, y, x])
