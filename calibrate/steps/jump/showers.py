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
from calbatch.models.jit import for_kernel, inner_view_kernel, view_kernel
from calbatch.models.tiling.tile import Region

NEEDED_WITH = ("find_showers",)
"""Parameters with which the kernels are needed; see `calibrate.warm`."""

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
    """

    min_area: float
    factor: float
    max_axis: float
    later_groups: int


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
    scratch = np.empty((5, flags.shape[3]), np.float32)
    arrays = map(for_kernel, (data, groupdq, electrons))
    _restore_flags(*arrays, np.float32(max_change), scratch, flags)
    return flags, counts


@inner_view_kernel
def _add_differences(
    first: Array,
    second: Array,
    one: Array,
    other: Array,
    gain: Array,
    total: Array,
    count: Array,
) -> None:
    """Add the differences of two groups of a row, in electrons, if neither is flagged."""
    for x in range(gain.size):
        diff = second[x] * gain[x] - first[x] * gain[x]
        good = (((one[x] | other[x]) & UNUSABLE) == 0) & (diff == diff)
        total[x] += diff if good else np.float32(0)
        count[x] += np.float32(1) if good else np.float32(0)


@inner_view_kernel
def _clear(values: Array) -> None:
    for x in range(values.size):
        values[x] = np.float32(0)


@inner_view_kernel
def _find_changed(totals: Array, counts: Array, max_change: float, changed: Array) -> None:
    """Find pixels whose mean changes too much, or is NaN because all of its samples are flagged."""
    for x in range(changed.size):
        one = np.float64(totals[0, x]) / counts[0, x]
        other = np.float64(totals[1, x]) / counts[1, x]
        changed[x] = not abs(one - other) <= max_change


@inner_view_kernel
def _restore(old: Array, changed: Array, flags: Array) -> None:
    for x in range(flags.size):
        flags[x] = old[x] if changed[x] else flags[x]


@view_kernel
def _restore_flags(
    data: Array, old: Array, gain: Array, max_change: float, scratch: Array, flags: Array
) -> None:
    """Take back new flags where they change a pixel's mean difference by more than a limit.

    ``scratch``, (5, columns), holds sums, numbers of differences, with old and with new flags each.
    """
    ints, groups, rows, _ = flags.shape
    totals, counts, changed = scratch[:2], scratch[2:4], scratch[4]
    for i in range(ints):
        for y in range(rows):
            for k in range(4):
                _clear(scratch[k])
            for g in range(groups - 1):
                pair = data[i, g, y], data[i, g + 1, y]
                before, after = old[i, g : g + 2, y], flags[i, g : g + 2, y]
                _add_differences(*pair, before[0], before[1], gain[y], totals[0], counts[0])
                _add_differences(*pair, after[0], after[1], gain[y], totals[1], counts[1])
            _find_changed(totals, counts, max_change, changed)
            for g in range(groups):
                _restore(old[i, g, y], changed, flags[i, g, y])


def warm_kernels() -> None:
    """Compile the kernels."""
    mark_showers(
        np.ones((1, 2, 1, 1), np.float32), np.zeros((1, 2, 1, 1), np.uint8),
        np.zeros((1, 1), np.uint32), gain=np.ones((1, 1), np.float32),
        events=Events(count=0, usable=2), region=Region((0, 1), (0, 1)), max_change=1.0,
    )  # fmt: skip
