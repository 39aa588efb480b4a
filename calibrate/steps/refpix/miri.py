"""Reference pixels of MIRI: subtract drifts from all groups after the first.

MIRI's four amplifiers read its columns in turn. The first and the last four columns see no light:
one on either side for each amplifier.

Source: jwst 3.0.0 ``refpix.reference_pixels``, ``MIRIDataset``.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._reference_pixels import BORDER, MIRI_DETECTOR
from calbatch.calibrate.steps.refpix.signal import clipped_means
from calbatch.models.dq import DO_NOT_USE
from calbatch.models.jit import kernel
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
Gathered = tuple[Array, Array]
"""A side's samples, (integrations, groups, rows, 4), and mask of usable pixels, (rows, 4)."""

AMPLIFIERS = 4

log = logging.getLogger(__name__)


def side_regions() -> list[Region]:
    """Return the left and the right reference columns of a full frame."""
    rows, columns = MIRI_DETECTOR
    return [Region((0, rows), (0, BORDER)), Region((0, rows), (columns - BORDER, columns))]


def gather_drift(data: Array, pixeldq: Array) -> Gathered:
    """Return samples minus those of the first group, and the mask of usable pixels."""
    return data - data[:, :1], pixeldq & DO_NOT_USE == 0


def combine_miri(
    sides: Sequence[Gathered], *, odd_even_rows: bool, siglimit: float
) -> Float64 | None:
    """Return the signal of each amplifier and row parity.

    It is the average of the clipped means of the left and of the right reference pixels.

    Parameters
    ----------
    sides : sequence of tuple
        Samples and usable pixels of the left and of the right side.
    odd_even_rows : bool
        True to treat the first, third, fifth … row separately from the others.
    siglimit : float
        Limit of the clipped means in standard deviations.

    Returns
    -------
    ndarray or None
        float64, (integrations, groups, 2, 4): by row modulo 2, and column modulo 4; zero in the
        first group. None if a side has no usable pixel of some amplifier and parity.
    """
    samples = sides[0][0]
    signal = np.zeros((*samples.shape[:2], 2, AMPLIFIERS))
    for parity, amplifier in np.ndindex(2, AMPLIFIERS):
        rows = slice(parity, None, 2) if odd_even_rows else slice(None)
        means = []
        for data, usable in sides:
            good = usable[rows, amplifier]
            if not good.any():
                log.warning(
                    "amplifier %d has no usable reference pixels on a side: no group is corrected",
                    amplifier + 1,
                )
                return None
            values = data[:, 1:, rows, amplifier][..., good]
            means.append(clipped_means(values.reshape(-1, values.shape[-1]), siglimit))
        average = 0.5 * (means[0] + means[1])
        signal[:, 1:, parity, amplifier] = average.reshape(signal[:, 1:, 0, 0].shape)
    return signal


@kernel
def _subtract_drift(data: Array, signal: Array, first_row: int, first: int, result: Array) -> None:
    """Subtract the signal from the rise since the first group, and add the first group again.

    ``result[g] = (data[g] - data[0] - signal[g]) + data[0]``, rounded to float32 after each step,
    as in jwst.
    """
    ints, groups, rows, columns = data.shape
    for i in range(ints):
        for g in range(groups):
            for r in range(rows):
                levels = signal[i, g, (first_row + r) % 2]
                for c in range(columns):
                    start = data[i, 0, r, c]
                    rise = np.float32(data[i, g, r, c] - start)
                    rise = np.float32(np.float64(rise) - levels[(first + c) % 4])
                    result[i, g, r, c] = np.float32(np.float64(rise) + np.float64(start))


def subtract_drift(data: Array, *, signal: Float64 | None, region: Region) -> Array:
    """Subtract the result of `combine_miri` from a region; None leaves it as it is.

    The shapes are those of `calbatch.calibrate.steps.refpix.pixels.subtract_reference`.
    """
    if signal is None:
        return data
    samples = np.ascontiguousarray(data)
    result = np.empty_like(samples)
    _subtract_drift(samples, np.array(signal), region.rows[0], region.cols[0], result)
    return result
