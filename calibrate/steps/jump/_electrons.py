"""Compiled differences of successive groups in electrons, and their read noise.

Equations are numbered in docs/steps/jump.md. Source: stcal 1.20 ``twopoint_difference``.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.models import dq
from calbatch.models.jit import inner_view_kernel

Array = npt.NDArray[Any]

INVALID, ZERO = np.float32(np.nan), np.float32(0.0)
NONE = np.uint8(0)
EXCLUDED = np.uint8(dq.SATURATED | dq.DO_NOT_USE)


class Ramps(NamedTuple):
    """Inputs of the kernels: (integrations, groups, rows, columns) and (rows, columns)."""

    data: Array
    groupdq: Array
    gain: Array
    readnoise: Array


class Levels(NamedTuple):
    """Scratch for the groups of some columns of a row, (columns,).

    Attributes
    ----------
    now, before : ndarray
        Two successive groups, float32, in electrons; NaN where unusable.
    seen : ndarray
        The combined flags of all groups, uint8.
    """

    now: Array
    before: Array
    seen: Array


@inner_view_kernel
def _convert_to_electrons(
    data: Array, groupdq: Array, gain: Array, seen: Array, now: Array
) -> None:
    """Convert a group's samples to electrons, unusable ones to NaN; ``seen`` collects all flags.

    NaN is added: a load under a condition waits for the flags, and stalls memory.
    """
    for x in range(now.size):
        seen[x] |= groupdq[x]
        spoiled = ZERO if groupdq[x] & EXCLUDED == NONE else INVALID
        now[x] = data[x] * gain[x] + spoiled


@inner_view_kernel
def _subtract(now: Array, before: Array, diff: Array, usable: Array) -> None:
    for x in range(diff.size):
        step = now[x] - before[x]
        diff[x] = step
        usable[x] += np.int32(step == step)


@inner_view_kernel
def _clear(usable: Array, seen: Array) -> None:
    for x in range(usable.size):
        usable[x], seen[x] = 0, NONE


@inner_view_kernel
def subtract_before(
    ramps: Ramps, number: Array, y: int, x0: int, diffs: Array, usable: Array, levels: Levels
) -> None:
    """Fill (differences, pixels) for columns of row ``y``, and combine the pixels' flags.

    ``levels.seen`` receives the flags.
    """
    stop = x0 + usable.size
    gain = ramps.gain[y, x0:stop]
    now, before = levels.now, levels.before
    _clear(usable, levels.seen)
    for i in range(number.shape[0]):
        for g in range(number.shape[1]):
            data, groupdq = ramps.data[i, g, y, x0:stop], ramps.groupdq[i, g, y, x0:stop]
            _convert_to_electrons(data, groupdq, gain, levels.seen, now)
            if number[i, g] >= 0:
                _subtract(now, before, diffs[number[i, g]], usable)
            now, before = before, now


@inner_view_kernel
def set_read_variance(readnoise: Array, gain: Array, frames: float, variance: Array) -> None:
    """Set the read variance of differences, rounded as in stcal.

    ``R**2 / nframes`` with ``R = readnoise * gain``, in electrons squared (J1).
    """
    for x in range(variance.size):
        electrons = readnoise[x] * gain[x]
        variance[x] = np.float64(electrons * electrons) / frames
