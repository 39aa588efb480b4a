"""Marks of large events: the flags that a decision about the whole frame hands to the tiles.

Source: stcal 1.20 ``extend_saturation``, ``extend_ellipses`` and ``flag_large_events``.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.ellipses import Drawing, Ellipse, draw_ellipse
from calbatch.models import dq
from calbatch.models.jit import kernel
from calbatch.models.tiling.tile import Region

Array = npt.NDArray[Any]

JUMP, SATURATED = np.uint8(dq.JUMP_DET), np.uint8(dq.SATURATED)


class Kind(Enum):
    """The effect of a mark on the flags of its pixels."""

    CORE = "replace all flags by SATURATED"
    EXTENT = "add JUMP_DET to unsaturated pixels"
    REMNANT = "add JUMP_DET"


class Mark(NamedTuple):
    """A flag for some pixels in the groups ``first`` to ``stop - 1`` of an integration."""

    kind: Kind
    integration: int
    first: int
    stop: int
    drawing: Drawing


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
    for mark in events.marks:
        top = mark.drawing.row
        if top < region.rows[1] and top + len(mark.drawing.mask) > region.rows[0]:
            _set_mark(flags[mark.integration], mark, region)
    counts = np.tile(np.array([events.count, events.usable], np.int64), (flags.shape[2], 1))
    return flags, counts


def _set_mark(flags: Array, mark: Mark, region: Region) -> None:
    """Set one mark in the flags of its integration, (groups, rows, columns)."""
    part = mark.drawing.within(region)
    if part is None:
        return
    (rows, cols), mask = part
    kind = _KINDS.index(mark.kind)
    _set_flags(flags[mark.first : mark.stop, rows, cols], np.ascontiguousarray(mask), kind)


_KINDS = [Kind.CORE, Kind.EXTENT, Kind.REMNANT]


@kernel
def _set_flags(flags: Array, mask: Array, kind: int) -> None:
    """Set the flags of a mark, the ``kind``-th, in groups of its rectangle of the frame."""
    groups, rows, cols = flags.shape
    for y in range(rows):
        for x in range(cols):
            if not mask[y, x]:
                continue
            for g in range(groups):
                if kind == 0:
                    flags[g, y, x] = SATURATED
                elif kind == 1 and flags[g, y, x] & SATURATED:
                    break  # only until it saturates
                else:
                    flags[g, y, x] |= JUMP


def mark_extents(
    ellipses: list[Ellipse],
    *,
    factor: float,
    max_axis: float,
    integration: int,
    groups: tuple[int, int],
    frame: tuple[int, int],
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
    frame : (int, int)
        Rows and columns of the frame.
    """
    marks = []
    for ellipse in ellipses:
        one, other = ellipse.axes
        if other < one:
            axes = one + (factor - 1.0) * other, other * factor
        else:
            axes = one * factor, other + (factor - 1.0) * one
        grown = ellipse._replace(axes=(min(axes[0], max_axis), min(axes[1], max_axis)))
        marks.append(Mark(Kind.EXTENT, integration, *groups, draw_ellipse(grown, frame)))
    return marks


def warm_kernels() -> None:
    """Compile the kernels."""
    flags = np.zeros((2, 2, 2, 2), np.uint8)
    _set_flags(flags[0, 1:, 1:, 1:], np.ones((1, 1), bool), 1)
