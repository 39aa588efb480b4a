"""Compiled loops that flag jumps, their neighbours and the groups after them.

They modify the flags passed in. Equations are numbered in docs/steps/jump.md. Source: stcal 1.20
``twopoint_difference``, which works on whole frames; here some columns of a row stay in the
processor's cache from differences to flags. For most pixels only the extreme differences are
examined.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._medians import median_of
from calbatch.calibrate.steps.jump._columns import ColumnBlock, Columns, make_columns
from calbatch.calibrate.steps.jump._electrons import (
    EXCLUDED,
    NONE,
    Ramps,
    set_read_variance,
    subtract_before,
)
from calbatch.calibrate.steps.jump.bounds import (
    deviation,
    find_suspects,
    set_bounds,
    sort_differences,
)
from calbatch.calibrate.steps.jump.sigma_clipping import (
    Populations,
    group_differences,
    set_clipped_bounds,
)
from calbatch.calibrate.steps.jump.sort import INFINITE, find_medians
from calbatch.models import dq
from calbatch.models.jit import inner_view_kernel, kernel

__all__ = ["EXCLUDED", "JUMP", "Ramps", "Search", "flag_after", "flag_jumps"]

Array = npt.NDArray[Any]

JUMP = np.uint8(dq.JUMP_DET)
NO_JUMP = np.uint8(255 - dq.JUMP_DET)
_BELOW, _ABOVE = 1 - 1e-9, 1 + 1e-9  # double precision errs far less


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


# -- flags -------------------------------------------------------------------------------------


@inner_view_kernel
def _flag_neighbours(old: Array, y: int, x: int, flags: Array) -> None:
    """Flag the four neighbours in one group, except those that are SATURATED or DO_NOT_USE."""
    rows, cols = flags.shape
    for row, col in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
        if 0 <= row < rows and 0 <= col < cols and old[row, col] & EXCLUDED == NONE:
            flags[row, col] |= JUMP


@inner_view_kernel
def _is_jump(diff: float, low: float, high: float, one_by_one: bool) -> bool:
    key = abs(diff) if one_by_one else diff
    outside = key < low or key > high
    return bool(outside and (one_by_one or abs(diff) < INFINITE))  # as stcal does


@inner_view_kernel
def _find_new(
    block: ColumnBlock, column: int, populations: Populations, sample: Array, one_by_one: bool
) -> int:
    """Put the samples of a pixel whose differences are jumps in ``found``; return their number."""
    count = 0
    for p in range(populations.starts.size - 1):
        low, high = block.low[p, column], block.high[p, column]
        if not (low > -np.inf or high < np.inf):
            continue
        for j in range(populations.starts[p], populations.starts[p + 1]):
            k = populations.members[j]
            if _is_jump(np.float64(block.diffs[k, column]), low, high, one_by_one):
                block.found[0, count], block.found[1, count] = sample[0, k], sample[1, k]
                count += 1
    return count


@inner_view_kernel
def _find_all(groupdq: Array, block: ColumnBlock, column: int, search: Search) -> int:
    """Put the samples that are jumps, now or before, in ``found``; return their number."""
    count = 0
    for i in range(groupdq.shape[0]):
        for g in range(groupdq.shape[1]):
            k, jump = search.difference[i, g], False
            if k >= 0:
                low, high = block.low[search.population[k]], block.high[search.population[k]]
                diff = np.float64(block.diffs[k, column])
                jump = _is_jump(diff, low[column], high[column], search.one_by_one)
            old = groupdq[i, g, block.row, block.start + column]
            if jump or old & JUMP != NONE:
                block.found[0, count], block.found[1, count] = i, g
                count += 1
    return count


@inner_view_kernel
def _reach_neighbours(
    diff: float, lowest: float, highest: float, variance: float, search: Search
) -> int:
    """Return 1 if a jump's neighbours are flagged, 0 if not, and -1 if the median decides.

    ``lowest`` and ``highest`` are bounds of the median, or the median itself.
    """
    if lowest == highest:
        ratio = abs(diff - lowest) / deviation(lowest, variance)
        return int(search.min_neighbours < ratio < search.max_neighbours)
    near = max(lowest - diff, diff - highest, 0.0) * _BELOW
    far = max(highest - diff, diff - lowest) * _ABOVE
    smallest = near / np.sqrt(max(highest, -lowest) + variance)
    largest = far / np.sqrt(max(lowest, -highest, 0.0) + variance)
    if largest <= search.min_neighbours or smallest >= search.max_neighbours:
        return 0
    inside = search.min_neighbours < smallest and largest < search.max_neighbours
    return 1 if inside else -1


@inner_view_kernel
def _find_median(diffs: Array, column: int, values: Array) -> float:
    """Return the median of a pixel's differences, ignoring NaN; ``values`` is scratch."""
    count = 0
    for k in range(diffs.shape[0]):
        value = np.float64(diffs[k, column])
        values[count] = value
        count += value == value
    return median_of(values, count) if count > 0 else np.nan


@inner_view_kernel
def _flag_samples(
    groupdq: Array, block: ColumnBlock, column: int, search: Search, samples: int, flags: Array
) -> int:
    """Flag the jumps among the samples of a pixel in ``found``, and their neighbours; count them.

    The median of the differences is only computed if a decision depends on it.
    """
    y, x, count = block.row, block.start + column, 0
    lowest, highest = block.lowest[column], block.highest[column]
    variance = block.variance[column]
    for j in range(samples):
        i, g = block.found[0, j], block.found[1, j]
        old, k = groupdq[i, g, y, x], search.difference[i, g]
        if search.clear[i, g] and old | JUMP == JUMP:
            continue
        count += 1
        if old & EXCLUDED != NONE:
            flags[i, g, y, x] &= NO_JUMP
            continue
        flags[i, g, y, x] |= JUMP
        if k < 0:
            continue
        diff = np.float64(block.diffs[k, column])
        reach = _reach_neighbours(diff, lowest, highest, variance, search)
        if reach < 0:
            lowest = highest = _find_median(block.diffs, column, block.values)
            reach = _reach_neighbours(diff, lowest, highest, variance, search)
        if reach > 0:
            _flag_neighbours(groupdq[i, g], y, x, flags[i, g])
    return count


@inner_view_kernel
def _select_pixels(suspect: Array, seen: Array, picked: Array) -> int:
    """Put the pixels to examine in ``picked``: suspects, and those with jumps; count them."""
    count = 0
    for x in range(suspect.size):
        picked[count] = x
        count += suspect[x] != 0 or seen[x] & JUMP != NONE
    return count


@kernel
def _sample_of_difference(search: Search) -> Array:
    """Return the integration and the group of each difference, (2, differences)."""
    sample = np.empty((2, search.population.size), np.int64)
    for i in range(search.difference.shape[0]):
        for g in range(search.difference.shape[1]):
            k = search.difference[i, g]
            if k >= 0:
                sample[0, k], sample[1, k] = i, g
    return sample


@inner_view_kernel
def _prepare(ramps: Ramps, search: Search, block: ColumnBlock, work: Columns) -> None:
    """Find the differences of a block, and their read variance."""
    y, x0, stop = block.row, block.start, block.start + work.usable.size
    subtract_before(ramps, search.difference, y, x0, work.diffs, work.usable, work.levels)
    readnoise, gain = ramps.readnoise[y, x0:stop], ramps.gain[y, x0:stop]
    set_read_variance(readnoise, gain, search.frames, work.variance)


@inner_view_kernel
def _set_bounds(search: Search, block: ColumnBlock, work: Columns) -> None:
    """Find the suspects of a block, and the bounds outside which their differences are jumps."""
    one_by_one, order = search.one_by_one, work.order
    sort_differences(work.diffs, one_by_one, order)
    criteria = work.usable, work.variance, search.thresholds, work.suspect
    find_suspects(order, one_by_one, *criteria)
    set_bounds(order, one_by_one, *criteria, block.low[0], block.high[0])


@inner_view_kernel
def _flag_picked(
    groupdq: Array, block: ColumnBlock, picked: Array, seen: Array, search: Search,
    populations: Populations, sample: Array, flags: Array,
) -> int:  # fmt: skip
    """Flag the jumps of some columns, and their neighbours; return the number of jumps."""
    count = 0
    for x in picked:
        if seen[x] & JUMP != NONE:
            samples = _find_all(groupdq, block, x, search)
        else:
            samples = _find_new(block, x, populations, sample, search.one_by_one)
        count += _flag_samples(groupdq, block, x, search, samples, flags)
    return count


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
    cols, width = flags.shape[3], low.shape[1]
    populations = group_differences(search.population, low.shape[0])
    sample = _sample_of_difference(search)
    found = np.empty((2, search.difference.size), np.int64)
    lowest, highest = np.empty(width, np.float64), np.empty(width, np.float64)
    values = np.empty(search.population.size, np.float64)
    work = make_columns(search.population.size, min(width, cols), not search.clipping)
    for y in range(flags.shape[2]):
        counts[y] = 0
        for x0 in range(0, cols, width):
            size = min(width, cols - x0)
            if size != work.usable.size:
                work = make_columns(search.population.size, size, not search.clipping)
            block = ColumnBlock(
                y, x0, work.diffs, work.variance, low[:, :size], high[:, :size], lowest, highest,
                found, values,
            )  # fmt: skip
            _prepare(ramps, search, block, work)
            if search.clipping:
                set_clipped_bounds(
                    work.diffs, populations, search.thresholds[4], work.usable, work.suspect,
                    lowest, highest, low, high,
                )  # fmt: skip
            else:
                _set_bounds(search, block, work)
            picked = work.picked[: _select_pixels(work.suspect, work.levels.seen, work.picked)]
            if not search.clipping:
                median = find_medians(work.diffs, picked)
                for j in range(picked.size):
                    lowest[picked[j]] = highest[picked[j]] = median[j]
            seen = work.levels.seen
            counts[y] += _flag_picked(
                ramps.groupdq, block, picked, seen, search, populations, sample, flags
            )


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
    work, none = make_columns(ints * (groups - 1), cols, False), np.zeros(cols, np.int32)
    diffs = work.diffs
    for y in range(rows):
        seen = np.zeros(cols, np.uint8)
        for i in range(ints):
            for g in range(1, groups):
                for x in range(cols):
                    seen[x] |= flags[i, g, y, x]
        picked = work.picked[: _select_pixels(none, seen, work.picked)]
        subtract_before(ramps, difference, y, 0, diffs, work.usable, work.levels)
        median = find_medians(diffs, picked)
        for j in range(picked.size):
            x = picked[j]
            ramp = np.ascontiguousarray(diffs[:, x]).reshape(ints, groups - 1)
            old = ramps.groupdq[:, :, y, x]
            _flag_pixel_after(old, ramp, median[j], limits, reach, flags[:, :, y, x])
