"""Marks of large events: the flags that a decision about the whole frame hands to the tiles.

Source: stcal 1.20 ``extend_saturation``, ``extend_ellipses`` and ``flag_large_events``.
"""

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.ellipses import Ellipse, Outline, fill_row, find_rectangle
from calbatch.models import dq
from calbatch.models.jit import inner_view_kernel, view_kernel
from calbatch.models.tiling.tile import Region

NEEDED_WITH = ("expand_large_events", "find_showers")
"""Parameters with which the kernels are needed; see `calibrate.warm`."""

Array = npt.NDArray[Any]

JUMP, SATURATED = np.uint8(dq.JUMP_DET), np.uint8(dq.SATURATED)


class Kind(Enum):
    """The effect of a mark on the flags of its pixels."""

    CORE = "replace all flags by SATURATED"
    EXTENT = "add JUMP_DET to unsaturated pixels"
    REMNANT = "add JUMP_DET"


class Mark(NamedTuple):
    """A flag for an ellipse in the groups ``first`` to ``stop - 1`` of an integration."""

    kind: Kind
    integration: int
    first: int
    stop: int
    outline: Outline


@dataclass(frozen=True, kw_only=True)
class Events:
    """The large events of an exposure.

    Attributes
    ----------
    marks : list of Mark
        Their flags, in the order in which they are set.
    count : int
        The number of events.
    usable : int
        The number of groups of all integrations that are usable somewhere in the frame, once the
        flags are set.
    """

    marks: list[Mark] = field(default_factory=list)
    count: int
    usable: int

    @cached_property
    def table(self) -> tuple[Array, Array]:
        """The marks as arrays: their whole numbers, (8, marks), and sines and cosines."""
        numbers = [
            (_KINDS.index(kind), *groups, outline.row, outline.col, *outline.radii)
            for kind, *groups, outline in self.marks
        ]
        angles = [(mark.outline.sine, mark.outline.cosine) for mark in self.marks]
        return (
            np.array(numbers, np.int64).reshape(-1, 8).T.copy(),
            np.array(angles, np.float64).reshape(-1, 2).T.copy(),
        )


def mark_flags(groupdq: Array, *, events: Events, region: Region) -> tuple[Array, Array]:
    """Set the flags of large events.

    Parameters
    ----------
    groupdq : ndarray
        Flags, (integrations, groups, rows, columns).
    events : Events
        The events of the whole frame.
    region : Region
        The pixels of the frame that ``groupdq`` covers.

    Returns
    -------
    groupdq : ndarray
        The flags, with those of the events.
    counts : ndarray
        int64, (rows, 2): the number of events, and of usable groups, in the frame; the
        same in every row.
    """
    flags = groupdq.copy()
    _set_marks(*events.table, region.rows[0], region.cols[0], np.empty(flags.shape[3], bool), flags)
    counts = np.tile(np.array([events.count, events.usable], np.int64), (flags.shape[2], 1))
    return flags, counts


_KINDS = [Kind.CORE, Kind.EXTENT, Kind.REMNANT]


@view_kernel
def _set_marks(
    numbers: Array, angles: Array, top: int, left: int, scratch: Array, flags: Array
) -> None:
    """Set the flags of marks, in order, in a part of the frame; ``top`` and ``left`` are its first.

    ``scratch`` is as wide as the part, and holds the pixels of a row that are inside an ellipse.
    """
    _, groups, rows, cols = flags.shape
    for k in range(numbers.shape[1]):
        kind, i, first_group, stop_group, row, col, a, b = numbers[:, k]
        if a == 0 or b == 0:
            continue
        outline = Outline(row, col, (a, b), angles[0, k], angles[1, k])
        height, width = find_rectangle(outline)
        first, stop = max(width[0] - left, 0), min(width[1] - left, cols)
        if first >= stop:
            continue
        inside = scratch[: stop - first]
        for y in range(max(height[0] - top, 0), min(height[1] - top, rows)):
            fill_row(outline, top + y, left + first, inside)
            for g in range(first_group, min(stop_group, groups)):
                _set_flags(flags[i, g, y, first:stop], inside, kind)


@inner_view_kernel
def _set_flags(flags: Array, inside: Array, kind: int) -> None:
    """Set the flags of a mark, the ``kind``-th, in a part of a row.

    Pixels are no longer inside from the group on in which they saturate, if that matters.
    """
    for x in range(flags.size):
        if kind == 0:
            flags[x] = SATURATED if inside[x] else flags[x]
        else:
            inside[x] &= kind != 1 or flags[x] & SATURATED == 0
            flags[x] |= JUMP if inside[x] else np.uint8(0)


def mark_extents(
    ellipses: list[Ellipse],
    *,
    factor: float,
    max_axis: float,
    integration: int,
    groups: tuple[int, int],
) -> list[Mark]:
    """Return the marks of events that have grown by a factor.

    Parameters
    ----------
    ellipses : list of Ellipse
        The events.
    factor : float
        Growth of the minor axis; the major one grows by as many pixels.
    max_axis : float
        Largest axis, pixels.
    integration, groups : int, (int, int)
        Integration, and the first group and the one after the last.
    """
    marks = []
    for ellipse in ellipses:
        one, other = ellipse.axes
        if other < one:
            axes = one + (factor - 1.0) * other, other * factor
        else:
            axes = one * factor, other + (factor - 1.0) * one
        grown = ellipse._replace(axes=(min(axes[0], max_axis), min(axes[1], max_axis)))
        marks.append(Mark(Kind.EXTENT, integration, *groups, Outline.of(grown)))
    return marks


def warm_kernels() -> None:
    """Compile the kernels."""
    mark = Mark(Kind.EXTENT, 0, 0, 1, Outline(1, 1, (1, 1), 0.0, 1.0))
    events = Events(marks=[mark], count=1, usable=1)
    mark_flags(np.zeros((1, 1, 2, 2), np.uint8), events=events, region=Region((0, 2), (0, 2)))
