"""Subtraction of a signal that is a sum of values along rows and along columns.

Equations are numbered in docs/steps/refpix.md. Source: jwst 3.0.0 ``refpix.reference_pixels``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.refpix.combine import ReferenceSignal
from calbatch.models.jit import kernel
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]


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
