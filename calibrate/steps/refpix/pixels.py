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
from calbatch.models.jit import inner_view_kernel, view_kernel
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]


def gather_usable(
    data: Array, pixeldq: Array, zeroframe: Array | None = None
) -> tuple[Array, Array]:
    """Return samples, and True for pixels that are not DO_NOT_USE."""
    return append_zero_frames(data, zeroframe), pixeldq & DO_NOT_USE == 0


def append_zero_frames(data: Array, zeroframe: Array | None) -> Array:
    """Return samples with each integration's zero frame, if there is one, as its last group."""
    if zeroframe is None:
        return data
    return np.concatenate([data, zeroframe[:, np.newaxis]], axis=1)


def are_reference(pixeldq: Array) -> Array:
    """Return True for pixels that are REFERENCE_PIXEL and not DO_NOT_USE."""
    mask: Array = np.equal(pixeldq & (REFERENCE_PIXEL | DO_NOT_USE), REFERENCE_PIXEL)
    return mask


def gather_flagged(
    data: Array,
    pixeldq: Array,
    zeroframe: Array | None = None,
    *,
    region: Region,
    placement: DetectorPlacement,
    columns: int,
) -> tuple[Array, Array]:
    """Return the samples of usable reference pixels, and their detector columns.

    Parameters
    ----------
    data : ndarray
        (integrations, groups, rows, columns).
    pixeldq : ndarray
        Flags, (rows, columns): REFERENCE_PIXEL and DO_NOT_USE are examined.
    zeroframe : ndarray, optional
        Zero frames, (integrations, rows, columns), which become the last group.
    region : Region
        The region of the arrays.
    placement : DetectorPlacement
        The position of the exposure.
    columns : int
        Number of file columns at the left and right that count as reference pixels, regardless of
        their flags.

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
    samples = append_zero_frames(data, zeroframe)
    return samples[..., is_reference], placement.columns(region)[is_reference]


@view_kernel
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
                first, stop = edges[block], edges[block + 1]
                _subtract_row(
                    data[frame, r, first:stop],
                    rows[frame, block, r],
                    along[first:stop],
                    result[frame, r, first:stop],
                )


@inner_view_kernel
def _subtract_row(row: Array, level: float, along: Array, result: Array) -> None:
    for c in range(row.size):  # from 0, or the compiler could not vectorize it
        result[c] = row[c] - level - along[c]


def subtract_reference(
    data: Array,
    zeroframe: Array | None = None,
    *,
    signal: ReferenceSignal | None,
    region: Region,
) -> tuple[Array, ...]:
    """Subtract the reference signal from the groups, and from the zero frames, of a region.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns).
    zeroframe : ndarray, optional
        float32, (integrations, rows, columns). Zero marks unusable values, which stay zero.
    signal : ReferenceSignal or None
        The signal of the whole exposure, that of each zero frame as a last group; None if there are
        no reference pixels.
    region : Region
        The rows and columns of the exposure that the arrays cover.

    Returns
    -------
    data, zeroframe : ndarray
        float32, shaped like the inputs; the latter only if it is given.
    """
    if zeroframe is None:
        return (data if signal is None else _subtract_signal(data, signal, region),)
    if signal is None:
        return data, zeroframe
    of_groups = ReferenceSignal(signal.rows[:, :-1], signal.cols[:, :-1])
    of_zero = ReferenceSignal(signal.rows[:, -1:], signal.cols[:, -1:])
    samples = _subtract_signal(data, of_groups, region)
    first = _subtract_signal(zeroframe[:, np.newaxis], of_zero, region)[:, 0]
    return samples, np.where(zeroframe == 0, np.float32(0), first)


def _subtract_signal(data: Array, signal: ReferenceSignal, region: Region) -> Array:
    """Return samples minus the reference signal; see `subtract_reference`."""
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
