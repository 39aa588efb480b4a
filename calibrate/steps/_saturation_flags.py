"""Compiled loops of the saturation step, which modify the flags passed in.

Equations are numbered in docs/steps/saturation.md. Source: jwst 3.0.0 ``saturation`` step and stcal
1.20 ``flag_saturated_pixels``, which work plane by plane; here a row of a group stays in the
processor's cache while it is flagged.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.models import dq
from calbatch.models.jit import inner_kernel, inner_view_kernel, kernel, view_kernel

# Bytes, not integers: mixed widths prevent vectorization.
NONE = np.uint8(0)
DO_NOT_USE = np.uint8(dq.DO_NOT_USE)
SATURATED = np.uint8(dq.SATURATED)
LOW = np.uint8(dq.AD_FLOOR | dq.DO_NOT_USE)
NO_SAT_CHECK = np.uint32(dq.NO_SAT_CHECK)
NEVER = np.float32(65536)  # above the range of the 16-bit converter
EXCLUDED = np.uint8(dq.SATURATED | dq.DO_NOT_USE)
BAND = 16
"""Rows that are compared at a time: their thresholds stay in the cache from group to group."""
SPAN = 128
"""Columns whose flags are combined to see whether any of them is saturated, which is rare."""

Array = npt.NDArray[Any]


class Limits(NamedTuple):
    """The counts (DN) at which pixels saturate.

    Attributes
    ----------
    threshold : ndarray
        Float32, (rows, columns); `NEVER` without a limit.
    checked : ndarray
        True for pixels that have a limit, (rows, columns).
    bias : ndarray
        Superbias (DN), float32, (rows, columns).
    """

    threshold: Array
    checked: Array
    bias: Array


class FlagScratch(NamedTuple):
    """Work arrays.

    Attributes
    ----------
    plane : ndarray
        Flags of a group, uint8, (rows, columns).
    limit : ndarray
        Counts (DN), float64, (columns,).
    padded : ndarray
        Flags of a row between zeros, uint8, (columns + 2 reach,).
    wide : ndarray
        Flags that have grown along their rows, uint8, (rows, columns).
    marked : ndarray
        True for rows that have flags to grow, (rows,).
    """

    plane: Array
    limit: Array
    padded: Array
    wide: Array
    marked: Array


@inner_kernel
def _make_scratch(rows: int, cols: int, reach: int) -> FlagScratch:
    return FlagScratch(
        np.zeros((rows, cols), np.uint8), np.empty(cols, np.float64),
        np.zeros(cols + 2 * reach, np.uint8), np.empty((rows, cols), np.uint8),
        np.empty(rows, np.bool_),
    )  # fmt: skip


# Loops along a row are separate functions so that all of them are vectorized.


@inner_view_kernel
def _limit(threshold: Array, ref_dq: Array, limit: Array, checked: Array, flags: Array) -> None:
    for x in range(threshold.size):
        value = threshold[x]
        known = (value == value) & (ref_dq[x] & NO_SAT_CHECK == 0)
        checked[x] = known
        limit[x] = value if known else NEVER
        flags[x] |= ref_dq[x] | (np.uint32(0) if value == value else NO_SAT_CHECK)


@view_kernel
def find_limits(
    threshold: Array, ref_dq: Array, limit: Array, checked: Array, flags: Array
) -> None:
    """Copy the thresholds, using `NEVER` for pixels without one, and mark pixels that have one."""
    for y in range(threshold.shape[0]):
        _limit(threshold[y], ref_dq[y], limit[y], checked[y], flags[y])


@inner_view_kernel
def _mark(data: Array, threshold: Array, before: Array, saturated: Array, flags: Array) -> None:
    """Flag one row of a group; ``saturated`` accumulates its saturated pixels."""
    for x in range(data.size):
        saturated[x] |= SATURATED if data[x] >= threshold[x] else NONE
        low = LOW if data[x] <= 0 else NONE
        flags[x] = before[x] | saturated[x] | low


@inner_view_kernel
def _pick(flags: Array, bit: np.uint8, picked: Array) -> None:
    for x in range(flags.size):
        picked[x] = flags[x] & bit


@inner_view_kernel
def _join(more: Array, flags: Array) -> None:
    for x in range(flags.size):
        flags[x] |= more[x]


@inner_view_kernel
def _has(flags: Array, bit: np.uint8) -> bool:
    every = NONE
    for x in range(flags.size):
        every |= flags[x]
    return bool(every & bit != NONE)


@inner_view_kernel
def _spread(flags: Array, bit: np.uint8, reach: int, scratch: FlagScratch) -> None:
    """Set ``bit`` in every pixel within a square of half-width ``reach`` around one that has it."""
    rows, cols = flags.shape
    padded, wide, marked = scratch.padded, scratch.wide, scratch.marked
    if reach == 0:
        return
    for y in range(rows):
        marked[y] = _has(flags[y], bit)
        if not marked[y]:
            continue
        _pick(flags[y], bit, padded[reach : reach + cols])
        _pick(padded[:cols], bit, wide[y])
        for shift in range(1, 2 * reach + 1):
            _join(padded[shift : shift + cols], wide[y])
    for near in range(rows):
        if marked[near]:
            for y in range(max(0, near - reach), min(rows, near + reach + 1)):
                _join(wide[near], flags[y])


@inner_view_kernel
def _flag_groups(
    data: Array, before: Array, threshold: Array, reach: int, flags: Array, scratch: FlagScratch
) -> None:
    """Flag saturated and A/D floor groups of one integration, in order of time."""
    saturated, rows = scratch.plane, data.shape[1]
    for y in range(rows):
        _pick(saturated[y], NONE, saturated[y])  # clears it
    for top in range(0, rows, BAND):
        for group in range(data.shape[0]):
            for y in range(top, min(top + BAND, rows)):
                _mark(data[group, y], threshold[y], before[group, y], saturated[y], flags[group, y])
    for group in range(data.shape[0]):
        _spread(flags[group], SATURATED, reach, scratch)


@inner_view_kernel
def _dilute(threshold: Array, checked: Array, dilution: float, limit: Array) -> None:
    for x in range(threshold.size):
        limit[x] = threshold[x] * (dilution if checked[x] else 1.0)


@inner_view_kernel
def _suspect(data: Array, limit: Array, flags: Array, following: Array, suspect: Array) -> None:
    for x in range(data.size):
        reached = DO_NOT_USE if data[x] >= limit[x] else NONE
        before = reached if following[x] & SATURATED != NONE else NONE
        suspect[x] = before if flags[x] & EXCLUDED == NONE else NONE


@inner_view_kernel
def _flag_averages(
    data: Array, limits: Limits, frames: int, reach: int, flags: Array, scratch: FlagScratch
) -> None:
    """Flag groups whose last frames may have saturated although their average has not.

    Only the group before a saturated one is tested. A steady ramp that saturates in the last frame
    of group g has the average ``threshold * dilution``, where, as in stcal,
    ``dilution = mean(t) / t_end`` (S1) with ``t_end = (g + 1) * nframes``.
    """
    groups, rows, _ = data.shape
    suspect, limit = scratch.plane, scratch.limit
    for group in range(groups - 1):
        end = (group + 1) * frames
        dilution = (end - (frames - 1) / 2) / end
        for y in range(rows):
            _dilute(limits.threshold[y], limits.checked[y], dilution, limit)
            _suspect(data[group, y], limit, flags[group, y], flags[group + 1, y], suspect[y])
        _spread(suspect, DO_NOT_USE, reach, scratch)
        for y in range(rows):
            _join(suspect[y], flags[group, y])


@inner_view_kernel
def _flag_second_samples(
    data: Array, limits: Limits, frames: int, place: tuple[int, int, int], flags: Array
) -> None:
    """Flag second groups among some columns; ``place``: row, first column, and the one after."""
    y, start, stop = place
    middle, end = (frames + 1) / 2, 3 * frames
    for x in range(start, stop):
        if flags[2, y, x] & SATURATED == NONE or flags[1, y, x] & SATURATED != NONE:
            continue
        first, limit, bias = data[0, y, x], limits.threshold[y, x], limits.bias[y, x]
        predicted = (first - bias) / middle * end + bias
        rise = (limit - first) / np.float32(frames)
        if predicted < limit and data[1, y, x] - first > rise:
            flags[1, y, x] |= DO_NOT_USE


@inner_view_kernel
def _flag_second_group(data: Array, limits: Limits, frames: int, flags: Array) -> None:
    """Flag second groups that a jump near their end may have saturated.

    Conditions: the third group is saturated, the signal of the first group does not predict that
    (S2), and the second group rose by more than ``(threshold - first) / nframes``, which one
    saturated frame contributes to the average (S3).
    """
    cols = data.shape[2]
    for y in range(data.shape[1]):
        for start in range(0, cols, SPAN):
            stop = min(start + SPAN, cols)
            if _has(flags[2, y, start:stop], SATURATED):
                _flag_second_samples(data, limits, frames, (y, start, stop), flags)


@kernel
def flag_integrations(
    data: Array, before: Array, limits: Limits, frames: int, reach: int, flags: Array
) -> None:
    """Flag the groups of each integration.

    Parameters
    ----------
    data, before : ndarray
        Raw counts (DN) and earlier flags, (integrations, groups, rows, columns).
    limits : Limits
        The counts at which pixels saturate.
    frames : int
        Frames averaged in a group; zero omits the checks for hidden saturation.
    reach : int
        Layers of neighbours to flag around a saturated pixel.
    flags : ndarray
        Receives earlier and new flags.
    """
    scratch = _make_scratch(data.shape[2], data.shape[3], reach)
    for i in range(data.shape[0]):
        _flag_groups(data[i], before[i], limits.threshold, reach, flags[i], scratch)
        if frames > 1:
            _flag_averages(data[i], limits, frames, reach, flags[i], scratch)
        if frames > 0 and data.shape[1] > 2:
            _flag_second_group(data[i], limits, frames, flags[i])


@kernel
def flag_interleaved(
    data: Array, threshold: Array, bias: Array, frames: int, reach: int, flags: Array
) -> None:
    """Flag the groups of one integration of IRS2, where all new flags are grown.

    ``flags`` must hold those of `flag_integrations` without earlier flags and checks. A second
    group is SATURATED under the conditions of `_flag_second_group`, but regardless of its own
    flags, and only if the third group itself reaches the threshold; ``frames`` = 0 omits this.
    """
    groups, rows, cols = data.shape
    if frames == 0 or groups < 3:
        return
    middle, end = (frames + 1) / 2, 3 * frames
    scratch = _make_scratch(rows, cols, reach)
    suspect = scratch.plane
    for y in range(rows):
        for x in range(cols):
            first, limit = data[0, y, x], threshold[y, x]
            predicted = (first - bias[y, x]) / middle * end + bias[y, x]
            rise = (limit - first) / np.float32(frames)
            if data[2, y, x] >= limit and predicted < limit and data[1, y, x] - first > rise:
                suspect[y, x] = SATURATED
    _spread(suspect, SATURATED, reach, scratch)
    for y in range(rows):
        _join(suspect[y], flags[1, y])
