"""Gather reference pixels from a region of an exposure, and subtract their signal from a region.

Zero frames have a reference signal of their own, and are treated as a last group. Equations are
numbered in docs/steps/refpix.md. Source: jwst 3.0.0 ``refpix.reference_pixels``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.refpix.combine import ReferenceSignal
from calbatch.calibrate.steps.refpix.geometry import DetectorPlacement
from calbatch.models.dq import DO_NOT_USE, REFERENCE_PIXEL
from calbatch.models.jit import kernel
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]


def gather_usable(data: Array, pixeldq: Array) -> tuple[Array, Array]:
    """Return samples, and True for pixels that are not DO_NOT_USE."""
    return data, pixeldq & DO_NOT_USE == 0


def gather_usable_with_zero_frames(
    data: Array, pixeldq: Array, zeroframe: Array
) -> tuple[Array, Array]:
    """Return the results of `gather_usable` with each zero frame as a last group."""
    return gather_usable(append_zero_frames(data, zeroframe), pixeldq)


def append_zero_frames(data: Array, zeroframe: Array) -> Array:
    """Return samples with each integration's zero frame as its last group."""
    return np.concatenate([data, zeroframe[:, np.newaxis]], axis=1)


def are_reference(pixeldq: Array) -> Array:
    """Return True for pixels that are REFERENCE_PIXEL and not DO_NOT_USE."""
    mask: Array = np.equal(pixeldq & (REFERENCE_PIXEL | DO_NOT_USE), REFERENCE_PIXEL)
    return mask


def gather_flagged(
    data: Array, pixeldq: Array, *, region: Region, placement: DetectorPlacement, columns: int
) -> tuple[Array, Array]:
    """Return the samples of usable reference pixels, and their detector columns.

    Parameters
    ----------
    data : ndarray
        (integrations, groups, rows, columns).
    pixeldq : ndarray
        Flags, (rows, columns): REFERENCE_PIXEL and DO_NOT_USE are examined.
    region : Region
        The region of the arrays.
    placement : DetectorPlacement
        The position of the exposure.
    columns : int
        Number of file columns at the left and right that count as reference pixels, whatever their
        flags.

    Returns
    -------
    samples, detector_columns : ndarray
        Samples, (integrations, groups, pixels), and detector columns, (pixels,).
    """
    numbers = np.arange(*region.cols)
    outer = (numbers < columns) | (numbers >= placement.shape[1] - columns)
    is_reference = are_reference(
        pixeldq | np.where(outer, np.uint32(REFERENCE_PIXEL), np.uint32(0))
    )
    return data[..., is_reference], placement.columns(region)[is_reference]


def gather_flagged_with_zero_frames(
    data: Array,
    pixeldq: Array,
    zeroframe: Array,
    *,
    region: Region,
    placement: DetectorPlacement,
    columns: int,
) -> tuple[Array, Array]:
    """Return the results of `gather_flagged` with each zero frame as a last group."""
    samples = append_zero_frames(data, zeroframe)
    return gather_flagged(samples, pixeldq, region=region, placement=placement, columns=columns)


@kernel
def _subtract(
    data: Array, rows: Array, cols: Array, block_of_row: Array, edges: Array, result: Array
) -> None:
    """Subtract ``rows[b, r] + cols[b', c]`` for the blocks b of the column and b' of the row (R2).

    ``edges`` are the first columns of the blocks of columns, and the number of columns.
    """
    for frame in range(data.shape[0]):
        for r in range(data.shape[1]):
            along = cols[frame, block_of_row[r]]
            for block in range(rows.shape[1]):
                level = rows[frame, block, r]
                for c in range(edges[block], edges[block + 1]):
                    result[frame, r, c] = data[frame, r, c] - level - along[c]


def subtract_reference(data: Array, *, signal: ReferenceSignal | None, region: Region) -> Array:
    """Subtract the reference signal from the pixels of a region.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns).
    signal : ReferenceSignal or None
        The signal of the whole exposure; None if there are no reference pixels.
    region : Region
        The rows and columns of the exposure that ``data`` covers.

    Returns
    -------
    ndarray
        float32, shaped like ``data``.
    """
    if signal is None:
        return data
    frames = data.shape[0] * data.shape[1]
    (r0, r1), (c0, c1) = region
    # Copies: the kernel would be compiled again for strided or read-only arrays.
    rows = np.array(signal.rows[..., r0:r1]).reshape(frames, -1, r1 - r0)
    cols = np.array(signal.cols[..., c0:c1]).reshape(frames, -1, c1 - c0)
    block_of_row = np.arange(r0, r1) * cols.shape[1] // signal.rows.shape[-1]
    blocks = rows.shape[1]
    edges = np.clip(signal.cols.shape[-1] * np.arange(blocks + 1) // blocks, c0, c1) - c0
    samples = np.ascontiguousarray(data).reshape(frames, *data.shape[2:])
    result = np.empty_like(samples)
    _subtract(samples, rows, cols, block_of_row, edges, result)
    return result.reshape(data.shape)


def subtract_reference_with_zero_frames(
    data: Array, zeroframe: Array, *, signal: ReferenceSignal | None, region: Region
) -> tuple[Array, Array]:
    """Subtract the reference signal from the groups and from the zero frames of a region.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns).
    zeroframe : ndarray
        float32, (integrations, rows, columns). Zero marks unusable values, which stay zero.
    signal : ReferenceSignal or None
        The signal of the groups, and of each zero frame as a last group.
    region : Region
        The rows and columns of the exposure that the arrays cover.
    """
    if signal is None:
        return data, zeroframe
    of_groups = ReferenceSignal(signal.rows[:, :-1], signal.cols[:, :-1])
    of_zero = ReferenceSignal(signal.rows[:, -1:], signal.cols[:, -1:])
    samples = subtract_reference(data, signal=of_groups, region=region)
    first = subtract_reference(zeroframe[:, np.newaxis], signal=of_zero, region=region)[:, 0]
    return samples, np.where(zeroframe == 0, np.float32(0), first)
