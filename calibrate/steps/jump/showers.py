"""Showers: large areas of faint emission in a group of MIRI, found over the whole frame.

Source: stcal 1.20 ``find_faint_extended`` and ``max_flux_showers``.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.areas import find_areas
from calbatch.calibrate.steps.jump.ellipses import find_ellipses
from calbatch.calibrate.steps.jump.emission import EmissionBits
from calbatch.calibrate.steps.jump.marks import Events, Mark, mark_extents, mark_flags
from calbatch.models import dq
from calbatch.models.jit import for_kernel, inner_kernel, kernel
from calbatch.models.tiling.tile import Region

Array = npt.NDArray[Any]

MIN_DIFFERENCES = 10
"""Minimum number of usable differences of an exposure for a search."""
UNUSABLE = np.uint8(dq.DO_NOT_USE | dq.SATURATED | dq.JUMP_DET)


class ShowerRules(NamedTuple):
    """The step's parameters in the form that the search uses.

    Attributes
    ----------
    min_area : float
        Minimum area of the emission, in pixels.
    factor : float
        Growth of the flagged ellipse.
    max_axis : float
        Largest axis of a flagged ellipse, in pixels.
    later_groups : int
        Number of groups that are flagged after the group of the shower.
    columns : int
        Columns of the frame.
    """

    min_area: float
    factor: float
    max_axis: float
    later_groups: int
    columns: int


def count_emission_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes of the bits of emission in a ramp, and of the current plane."""
    integrations, groups, rows, columns = shape
    return (integrations * (groups - 1) + 2) * rows * -(-columns // 8)


def find_showers(bands: list[EmissionBits], rules: ShowerRules) -> Events:
    """Return the showers of an exposure from the emission of its bands, from top to bottom."""
    unusable, idle = (np.logical_and.reduce([band[k] for band in bands]) for k in (1, 2))
    integrations, groups = unusable.shape
    usable = int(np.sum(~unusable))
    if integrations * (groups - 1) - np.sum(unusable) < MIN_DIFFERENCES:
        return Events(count=0, usable=usable)
    marks: list[Mark] = []
    for i in range(integrations):
        first = int(np.argmin(idle[i]))  # 0 if all are idle, as in stcal
        for group in range(first + 1, groups):
            plane = np.concatenate([band.emission[i, group - 1] for band in bands])
            areas = find_areas(plane)
            marks += mark_extents(
                find_ellipses(areas, np.flatnonzero(areas.find_large(rules.min_area))),
                factor=rules.factor,
                max_axis=rules.max_axis,
                integration=i,
                groups=(group, min(group + rules.later_groups + 1, groups)),
                frame=(len(plane), rules.columns),
            )
    return Events(marks=marks, count=len(marks), usable=usable)


def mark_showers(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    *,
    gain: Array,
    events: Events,
    region: Region,
    max_change: float,
) -> tuple[Array, Array]:
    """Set the flags of showers, except in pixels whose rate they would change too much.

    Reference pixels keep their flags as well.

    Parameters
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns).
    pixeldq, gain : ndarray
        Flags, and gain (electron/DN), (rows, columns).
    events : Events
        The showers of the whole frame.
    region : Region
        The pixels of the frame that the arrays cover.
    max_change : float
        The largest change of the mean difference of successive groups, in electrons. Pixels with
        a larger change, or whose mean is NaN, keep their earlier flags in that integration.

    Returns
    -------
    groupdq : ndarray
        The flags, with those of the showers.
    counts : ndarray
        As returned by `mark_flags`.
    """
    flags, counts = mark_flags(groupdq, events=events, region=region)
    # where NaN, no change is small enough
    electrons = np.where(pixeldq == dq.REFERENCE_PIXEL, np.float32(np.nan), gain)
    _restore_flags(*map(for_kernel, (data, groupdq, electrons)), np.float32(max_change), flags)
    return flags, counts


@inner_kernel
def _compute_means(
    data: Array, flags: Array, gain: Array, total: Array, count: Array, mean: Array
) -> None:
    """Compute the mean difference of successive samples without flags, in electrons, of a row.

    ``data`` and ``flags`` are (groups, columns); ``total`` and ``count`` are scratch. Without
    such samples the mean is NaN.
    """
    total[:] = np.float32(0)
    count[:] = np.float32(0)
    for g in range(data.shape[0] - 1):
        _add_differences(data[g], data[g + 1], flags[g], flags[g + 1], gain, total, count)
    for x in range(mean.size):
        mean[x] = np.float64(total[x]) / count[x]


@inner_kernel
def _add_differences(
    first: Array, second: Array, one: Array, other: Array, gain: Array, total: Array, count: Array
) -> None:
    for x in range(total.size):
        diff = second[x] * gain[x] - first[x] * gain[x]
        good = ((one[x] | other[x]) & UNUSABLE) == 0 and diff == diff
        total[x] += diff if good else np.float32(0)
        count[x] += np.float32(1) if good else np.float32(0)


@kernel
def _restore_flags(data: Array, old: Array, gain: Array, max_change: float, flags: Array) -> None:
    """Take back new flags where they change a pixel's mean difference by more than a limit."""
    ints, groups, rows, cols = flags.shape
    total, count = np.empty(cols, np.float32), np.empty(cols, np.float32)
    one, other = np.empty(cols, np.float32), np.empty(cols, np.float32)
    restored = np.empty(cols, np.bool_)
    for i in range(ints):
        for y in range(rows):
            _compute_means(data[i, :, y], old[i, :, y], gain[y], total, count, one)
            _compute_means(data[i, :, y], flags[i, :, y], gain[y], total, count, other)
            for x in range(cols):
                restored[x] = not abs(one[x] - other[x]) <= max_change
            for g in range(groups):
                before, after = old[i, g, y], flags[i, g, y]
                for x in range(cols):
                    after[x] = before[x] if restored[x] else after[x]


def warm_kernels() -> None:
    """Compile the kernels."""
    data = np.ones((1, 2, 1, 1), np.float32)
    flags = np.zeros(data.shape, np.uint8)
    _restore_flags(data, flags, np.ones((1, 1), np.float32), np.float32(1), flags.copy())
