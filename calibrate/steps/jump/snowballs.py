"""Snowballs: large events with a saturated core, found in the flags of the whole frame.

Source: stcal 1.20 ``flag_large_events``. A group's flags depend on the cores of earlier groups, so
groups are searched strictly in order.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.areas import Areas, find_areas, pack_flags
from calbatch.calibrate.steps.jump.ellipses import (
    Drawing,
    Ellipse,
    Outline,
    draw,
    find_ellipses,
    is_any_inside,
)
from calbatch.calibrate.steps.jump.marks import Events, Kind, Mark, mark_extents
from calbatch.models import dq

Array = npt.NDArray[Any]

SLACK = 1e-6  # pixels: coarse bounds on ellipses must not exclude any by rounding


class SnowballRules(NamedTuple):
    """The step's parameters in the form that the search uses.

    Attributes
    ----------
    min_core_area, min_area : float
        Minimum areas of the saturated core and of the jump, in pixels.
    factor : float
        Growth of the flagged ellipse.
    needs_core : bool
        True if an event needs a saturated core, unless it is near an edge.
    min_core_axis : float
        Minor axis above which cores grow, in pixels.
    core_growth : float
        Pixels that are added to the axes of such cores.
    edge : int
        Width of the edge of the frame, in pixels.
    max_axis : float
        Largest axis of a flagged ellipse, in pixels.
    next_groups : int
        The first group that is no longer flagged at the cores of the previous integration.
    """

    min_core_area: float
    min_area: float
    factor: float
    needs_core: bool
    min_core_axis: float
    core_growth: float
    edge: int
    max_axis: float
    next_groups: int


class FlagBits(NamedTuple):
    """Packed flags of a band of rows.

    Attributes
    ----------
    jumps, saturated : ndarray
        One bit per sample, (integrations, groups, rows, columns / 8) bytes.
    columns : int
        The number of columns.
    unusable : ndarray
        True for groups that are DO_NOT_USE in the whole frame, (integrations, groups).
    """

    jumps: Array
    saturated: Array
    columns: int
    unusable: Array


def pack_bits(groupdq: Array, *, unusable: Array) -> FlagBits:
    """Return the bits in which snowballs are found, from flags as for `pack_flags`."""
    jumps, saturated = (pack_flags(groupdq, flag) for flag in (dq.JUMP_DET, dq.SATURATED))
    return FlagBits(jumps, saturated, groupdq.shape[3], unusable)


def count_packed_bytes(shape: tuple[int, ...]) -> int:
    """Return the bytes of the packed flags of a ramp, and of the current integration."""
    integrations, groups, rows, columns = shape
    return 2 * (integrations + 2) * groups * rows * -(-columns // 8)


def find_snowballs(bands: list[FlagBits], rules: SnowballRules) -> Events:
    """Return the snowballs of an exposure from the flags of its bands, from top to bottom."""
    unusable = bands[0].unusable.copy()
    marks: list[Mark] = []
    remnants: list[Mark] = []
    count = 0
    for i, groups in enumerate(unusable):
        jumps = np.concatenate([band.jumps[i] for band in bands], axis=1)
        saturated = np.concatenate([band.saturated[i] for band in bands], axis=1)
        search = _Search(jumps, saturated, bands[0].columns, i, rules)
        search.find_all()
        marks += search.marks
        count += search.count
        groups[search.first_core :] = False  # DO_NOT_USE vanishes in cores
        if rules.next_groups > 1 and i + 1 < len(unusable):
            stop = min(rules.next_groups, len(groups))
            remnants += [Mark(Kind.REMNANT, i + 1, 1, stop, core) for core in search.cores]
    return Events(marks=marks + remnants, count=count, usable=int(np.sum(~unusable)))


class _Search:
    """The search of one integration.

    Attributes
    ----------
    marks : list of Mark
        The flags to set, in order.
    cores : list of Outline
        The saturated cores that grow, as they were before.
    first_core : int
        The first group whose flags a core replaces; the number of groups without one.
    count : int
        The number of snowballs.
    """

    def __init__(
        self, jumps: Array, saturated: Array, columns: int, integration: int, rules: SnowballRules
    ) -> None:
        self.jumps, self.saturated = jumps, saturated
        self.frame = jumps.shape[1], columns
        self.integration, self.rules = integration, rules
        self.marks: list[Mark] = []
        self.cores: list[Outline] = []
        self.first_core, self.count = len(jumps), 0

    def find_all(self) -> None:
        """Search all groups but the first, in order."""
        for group in range(1, len(self.jumps)):
            snowballs = self._find(group)
            self.count += len(snowballs)
            self.marks += mark_extents(
                snowballs,
                factor=self.rules.factor,
                max_axis=self.rules.max_axis,
                integration=self.integration,
                groups=(group, group + 1),
            )

    def _find(self, group: int) -> list[Ellipse]:
        """Return the snowballs of a group, and let its cores grow."""
        jumps = find_areas(self.jumps[group])
        if not self.rules.needs_core:
            return find_ellipses(jumps, np.flatnonzero(jumps.find_large(self.rules.min_area)))
        new = find_areas(self.saturated[group] & ~self.saturated[group - 1])
        centres = [self._centres(new)]
        if group + 1 < len(self.saturated):
            later = find_areas(self.saturated[group + 1] & ~self.saturated[group])
            centres.append(self._centres(later))
        cols, rows = np.concatenate(centres, axis=1)
        self._grow_cores(new, group)
        return self._with_cores(jumps, cols, rows)

    def _centres(self, areas: Areas) -> Array:
        """Return the columns and rows of the centres of areas that are large enough for a core."""
        large = areas.find_large(self.rules.min_core_area)
        return areas.centres[::-1, large]

    def _with_cores(self, jumps: Areas, cols: Array, rows: Array) -> list[Ellipse]:
        """Return the ellipses of jumps that have a core, or are near an edge.

        Few do, and measuring an area is expensive: areas whose ellipse cannot hold a core, or that
        cannot be large enough, are not measured.
        """
        low, high = self.rules.edge, max(0, self.frame[0] - self.rules.edge)
        centre = jumps.centres[::-1]
        near_edge = np.any(
            (centre < low) | (centre > high), axis=0
        )  # the frame's rows, as in stcal
        # the semi-axes are half a pixel shorter than twice the standard deviation of the pixels
        reach = np.hypot(*(jumps.sides - 1)).clip(0.5) + SLACK
        wanted = jumps.find_large(self.rules.min_area)
        for i in np.flatnonzero(wanted & ~near_edge):
            far = np.hypot(cols - centre[0, i], rows - centre[1, i]) > reach[i]
            wanted[i] = not far.all()
        numbers = np.flatnonzero(wanted)
        return [
            ellipse
            for i, ellipse in zip(numbers, find_ellipses(jumps, numbers), strict=True)
            if near_edge[i] or is_any_inside(cols, rows, ellipse)
        ]

    def _grow_cores(self, new: Areas, group: int) -> None:
        """Replace the flags of large cores and their surroundings, in this and later groups."""
        rules, groups = self.rules, len(self.saturated)
        # the minor axis is at most twice the shorter side, less a pixel for that and one for itself
        possible = 2 * (new.sides.min(axis=0) - 1) - 1 > rules.min_core_axis - SLACK
        possible &= new.find_large(rules.min_core_area)
        for core in find_ellipses(new, np.flatnonzero(possible)):
            if not min(core.axes) > rules.min_core_axis:
                continue
            axes = [min(axis + rules.core_growth, rules.max_axis) for axis in core.axes]
            grown = Outline.of(core._replace(axes=(axes[0], axes[1])))
            self.marks.append(Mark(Kind.CORE, self.integration, group, groups, grown))
            self.cores.append(Outline.of(core))
            drawing = draw(grown, self.frame)
            if drawing.mask.any():
                self.first_core = min(self.first_core, group)
                self._saturate(drawing, group)

    def _saturate(self, core: Drawing, group: int) -> None:
        """Replace a core's flags by SATURATED in a group and all later ones."""
        height, width = core.mask.shape
        first, last = core.col // 8, -(-(core.col + width) // 8)
        mask = np.zeros((height, 8 * (last - first)), bool)
        mask[:, core.col - 8 * first :][:, :width] = core.mask
        place = slice(group, None), slice(core.row, core.row + height), slice(first, last)
        bits = np.packbits(mask, axis=1)
        self.saturated[place] |= bits
        self.jumps[place] &= ~bits
