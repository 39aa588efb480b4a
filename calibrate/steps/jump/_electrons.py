"""Compiled differences of successive groups in electrons, and their read noise.

Equations are numbered in docs/steps/jump.md. Source: stcal 1.20 ``twopoint_difference``.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.models import dq
from calbatch.models.jit import kernel

Array = npt.NDArray[Any]

INVALID = np.float32(np.nan)
NONE = np.uint8(0)
EXCLUDED = np.uint8(dq.SATURATED | dq.DO_NOT_USE)


class Ramps(NamedTuple):
    """Inputs of the kernels: (integrations, groups, rows, columns) and (rows, columns)."""

    data: Array
    groupdq: Array
    gain: Array
    readnoise: Array


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
def subtract_before(
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
def read_variance(ramps: Ramps, y: int, x0: int, size: int, frames: float) -> Array:
    """Return the read variance of differences, rounded as in stcal.

    ``R**2 / nframes`` with ``R = readnoise * gain``, in electrons squared (J1).
    """
    result = np.empty(size, np.float64)
    for x in range(size):
        electrons = ramps.readnoise[y, x0 + x] * ramps.gain[y, x0 + x]
        result[x] = np.float64(electrons * electrons) / frames
    return result
