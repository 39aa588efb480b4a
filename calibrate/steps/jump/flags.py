"""Compiled loops that flag jumps, their neighbours and the groups after them.

They modify the flags passed in. Equations are numbered in docs/steps/jump.md. Source: stcal 1.20
``twopoint_difference``, which works on whole frames; here some columns of a row stay in the
processor's cache from differences to flags. For most pixels only the extreme differences are
examined.
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
    """Inputs of the kernels: (integrations, groups, rows, columns) and (rows, columns)."""

    data: Array
    groupdq: Array
    gain: Array
    readnoise: Array


class Search(NamedTuple):
    """The method and limits of a search for jumps.

    Attributes
    ----------
    clipping, one_by_one : bool
        True for sigma clipping, or for finding jumps one by one; otherwise a single pass.
    difference : ndarray
        For each (integration, group), the index of its difference from the previous group; -1 for
        first groups, and next to groups that are DO_NOT_USE in the whole frame.
    population : ndarray
        For each difference, the index of the population that it is compared with.
    clear : ndarray
        For each (integration, group), True if JUMP_DET is not set on otherwise unflagged samples.
    frames : float
        Frames averaged in a group.
    thresholds : ndarray
        Thresholds in sigma by the number of usable differences in a pixel, the last for 4 or more.
    min_neighbours, max_neighbours : float
        Range of jumps, in sigma, whose neighbours are flagged.
    """

    clipping: bool
    one_by_one: bool
    difference: Array
    population: Array
    clear: Array
    frames: float
    thresholds: Array
    min_neighbours: float
    max_neighbours: float


# -- differences -------------------------------------------------------------------------------


@kernel
def _convert_to_electrons(
    data: Array, groupdq: Array, gain: Array, seen: Array, now: Array
) -> None:
    """Convert a group's samples to electrons, unusable ones to NaN; ``seen`` collects all flags."""
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
    """Fill (differences, pixels) for columns of row ``y``; return the pixels' combined flags."""
    stop = x0 + usable.size
    gain = ramps.gain[y, x0:stop]
    now, before = np.empty(usable.size, np.float32), np.empty(usable.size, np.float32)
    seen = np.zeros(usable.size, np.uint8)
    usable[:] = 0
    for i in range(number.shape[0]):
        for g in range(number.shape[1]):
            data, groupdq = ramps.data[i, g, y, x0:stop], ramps.groupdq[i, g, y, x0:stop]
            _convert_to_electrons(data, groupdq, gain, seen, now)
            if number[i, g] >= 0:
                _subtract(now, before, diffs[number[i, g]], usable)
            now, before = before, now
    return seen


@kernel
def _variance(ramps: Ramps, y: int, x0: int, size: int, frames: float) -> Array:
    """Return the read variance of differences, rounded as in stcal.

    ``R**2 / nframes`` with ``R = readnoise * gain``, in electrons squared (J1).
    """
    result = np.empty(size, np.float64)
    for x in range(size):
        electrons = ramps.readnoise[y, x0 + x] * ramps.gain[y, x0 + x]
        result[x] = np.float64(electrons * electrons) / frames
    return result


# -- flags -------------------------------------------------------------------------------------


@kernel
def _flag_neighbours(old: Array, y: int, x: int, flags: Array) -> None:
    """Flag the four neighbours in one group, except those that are SATURATED or DO_NOT_USE."""
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
    had: bool, median: float, variance: float, search: Search, flags: Array,
) -> int:  # fmt: skip
    """Flag the jumps of a pixel and their neighbours; return the number of jumps.

    ``pixel`` holds its row, its column, and its column in ``diffs`` and the bounds; ``had`` is true
    if it has jumps from before.
    """
    y, x, column = pixel
    sigma, count = deviation(median, variance), 0
    for i in range(flags.shape[0]):
        for g in range(flags.shape[1]):
            k, diff, jump = search.difference[i, g], np.nan, False
            if k >= 0:
                diff, p = np.float64(diffs[k, column]), search.population[k]
                jump = _is_jump(diff, low[p, column], high[p, column], search.one_by_one)
            old = groupdq[i, g, y, x] if jump or had else NONE
            if not (jump or old & JUMP != NONE) or (search.clear[i, g] and old | JUMP == JUMP):
                continue
            count += 1
            if old & EXCLUDED != NONE:
                flags[i, g, y, x] &= NO_JUMP
                continue
            flags[i, g, y, x] |= JUMP
            if search.min_neighbours < abs(diff - median) / sigma < search.max_neighbours:
                _flag_neighbours(groupdq[i, g], y, x, flags[i, g])
    return count


@kernel
def _select_pixels(suspect: Array, seen: Array) -> Array:
    """Return the pixels to examine: suspects, and those with jumps from before."""
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
    """Flag jumps and their neighbours, and count the jumps (without neighbours) in each row.

    Parameters
    ----------
    ramps : Ramps
        The samples.
    search : Search
        The method and limits.
    low, high : ndarray
        Work arrays, float64, (populations, columns per block).
    flags : ndarray
        The flags to modify: a copy of ``ramps.groupdq`` without flags to be cleared.
    counts : ndarray
        Receives the number of jumps in each row.
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
                criteria = usable, variance, search.thresholds, suspect
                find_suspects(order, search.one_by_one, *criteria)
                set_bounds(order, search.one_by_one, *criteria, low[0], high[0])
            picked = _select_pixels(suspect, seen)
            median = find_medians(diffs, picked)
            for j in range(picked.size):
                x = picked[j]
                pixel, had = (y, x0 + x, x), seen[x] & JUMP != NONE
                counts[y] += _flag_pixel(
                    ramps.groupdq, diffs, pixel, low, high, had, median[j], variance[x], search,
                    flags,
                )  # fmt: skip


# -- after jumps -------------------------------------------------------------------------------


@kernel
def _flag_pixel_after(
    old: Array, diffs: Array, median: float, limits: Array, reach: Array, flags: Array
) -> None:
    """Flag the groups after large jumps of a pixel; arrays are (integrations, groups).

    A jump is large if ``d - m >= limit`` (J4).
    """
    for i in range(flags.shape[0]):
        last = 0
        for g in range(1, flags.shape[1]):
            jump = flags[i, g] & JUMP != NONE
            if g <= last and old[i, g] & EXCLUDED == NONE:
                flags[i, g] |= JUMP
            for limit, groups in zip(limits, reach):  # noqa: B905 - numba knows no strict
                if jump and np.float64(diffs[i, g - 1]) - median >= limit:
                    last = max(last, g + groups)


@kernel
def flag_after(ramps: Ramps, difference: Array, limits: Array, reach: Array, flags: Array) -> None:
    """Flag groups after large jumps, including jumps of flagged neighbours.

    Parameters
    ----------
    ramps : Ramps
        The samples.
    difference : ndarray
        The index of the difference for each (integration, group); -1 for first groups.
    limits, reach : ndarray
        Limits in electrons, and the number of groups to flag after a jump that reaches each.
    flags : ndarray
        The flags to modify: the result of `flag_jumps`.
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
        median = find_medians(diffs, picked)
        for j in range(picked.size):
            x = picked[j]
            ramp = np.ascontiguousarray(diffs[:, x]).reshape(ints, groups - 1)
            old = ramps.groupdq[:, :, y, x]
            _flag_pixel_after(old, ramp, median[j], limits, reach, flags[:, :, y, x])
