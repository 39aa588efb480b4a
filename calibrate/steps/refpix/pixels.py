"""Gather reference pixels from a region of an exposure, and subtract their signal from a region.

Zero frames have a reference signal of their own, and are treated as a last group. Equations are
numbered in docs/steps/refpix.md. Source: jwst 3.0.0 ``refpix.reference_pixels``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._ramps import for_kernels
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
def _subtract(rows: Array, cols: Array, block_of_row: Array, edges: Array, data: Array) -> None:
    """Subtract ``rows[b, r] + cols[b', c]`` for the blocks b of the column and b' of the row (R2).

    ``edges`` are the first columns of the blocks of columns, and the number of columns.
    """
    for frame in range(data.shape[0]):
        for r in range(data.shape[1]):
            along = cols[frame, block_of_row[r]]
            for block in range(rows.shape[1]):
                first, stop = edges[block], edges[block + 1]
                level, part = rows[frame, block, r], data[frame, r, first:stop]
                _subtract_row(level, along[first:stop], part)


@inner_view_kernel
def _subtract_row(level: float, along: Array, row: Array) -> None:
    for c in range(row.size):  # from 0, or the compiler could not vectorize it
        row[c] = row[c] - level - along[c]


def subtract_reference(
    data: Array,
    zeroframe: Array | None = None,
    *,
    signal: ReferenceSignal | None,
    region: Region,
    overwrite_data: bool = False,
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
    overwrite_data : bool
        True if the result may take the place of ``data``.

    Returns
    -------
    data, zeroframe : ndarray
        float32, shaped like the inputs; the latter only if it is given.
    """
    if signal is None:
        return (data,) if zeroframe is None else (data, zeroframe)
    (samples,) = for_kernels(data if overwrite_data else data.copy())
    if zeroframe is None:
        _subtract_signal(signal, region, samples)
        return (samples,)
    _subtract_signal(ReferenceSignal(signal.rows[:, :-1], signal.cols[:, :-1]), region, samples)
    (first,) = for_kernels(zeroframe[:, np.newaxis].copy())
    _subtract_signal(ReferenceSignal(signal.rows[:, -1:], signal.cols[:, -1:]), region, first)
    return samples, np.where(zeroframe == 0, np.float32(0), first[:, 0])


def _subtract_signal(signal: ReferenceSignal, region: Region, data: Array) -> None:
    """Subtract the reference signal from samples, in place; see `subtract_reference`."""
    frames = data.shape[0] * data.shape[1]
    (r0, r1), (c0, c1) = region
    # Copies: the kernel would be compiled again for strided or read-only arrays.
    rows = np.array(signal.rows[..., r0:r1]).reshape(frames, -1, r1 - r0)
    cols = np.array(signal.cols[..., c0:c1]).reshape(frames, -1, c1 - c0)
    block_of_row = np.arange(r0, r1) * cols.shape[1] // signal.rows.shape[-1]
    blocks = rows.shape[1]
    edges = np.clip(signal.cols.shape[-1] * np.arange(blocks + 1) // blocks, c0, c1) - c0
    _subtract(rows, cols, block_of_row, edges, data.reshape(frames, *data.shape[2:]))
