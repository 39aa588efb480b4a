"""Saturation in IRS2 exposures, whose reference pixels are interleaved with a frame's pixels.

Source: jwst 3.0.0 ``saturation.irs2_flag_saturation``, which differs from stcal's function for
other readouts.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps import _saturation_flags as loops
from calbatch.calibrate.steps._interleaving import InterleavedLayout
from calbatch.calibrate.steps._ramps import for_kernels
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]


def flag_interleaved_saturation(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    *,
    threshold: Array,
    threshold_dq: Array,
    bias: Array | None,
    reach: int,
    frames: int | None,
    layout: InterleavedLayout,
    region: Region,
) -> tuple[Array, Array]:
    """Return group and pixel flags with saturation and A/D floor; reference pixels get none.

    Parameters
    ----------
    data, groupdq : ndarray
        Raw counts (DN) and group flags, (integrations, groups, rows, columns), with interleaved
        rows.
    pixeldq : ndarray
        Pixel flags, (rows, columns).
    threshold, threshold_dq : ndarray
        The counts (DN) at which a pixel saturates, and the reference's flags, (rows, columns);
        values in interleaved rows are ignored.
    bias : ndarray or None
        The superbias (DN), (rows, columns), for the check of the second group; None means zero.
    reach : int
        Layers of neighbours to flag around a saturated pixel, interleaved rows not counted.
    frames : int or None
        Frames averaged in a group; None omits the check of the second group.
    layout : InterleavedLayout
        The layout of the exposure's files.
    region : Region
        The rows and columns of the exposure that ``data`` covers.

    Returns
    -------
    groupdq, pixeldq : ndarray
        SATURATED from the first saturated group on, and in second groups that a jump has saturated;
        AD_FLOOR and DO_NOT_USE where counts are not positive; NO_SAT_CHECK where the reference has
        no threshold.
    """
    rows, _ = layout.science_within(region)
    thresholds, their_dq = for_kernels(threshold[rows], threshold_dq[rows])
    limit, checked = np.empty_like(thresholds), np.empty(thresholds.shape, np.bool_)
    (zero,) = for_kernels(np.zeros_like(limit) if bias is None else bias[rows])
    limits = loops.Limits(limit, checked, zero)
    science_dq = pixeldq[rows]
    loops.find_limits(thresholds, their_dq, limit, checked, science_dq)
    flags, pixel_flags = groupdq.copy(), pixeldq.copy()
    pixel_flags[rows] = science_dq
    for counts, new in zip(data, flags, strict=True):
        science = np.ascontiguousarray(counts[:, rows])
        before = np.zeros(science.shape, np.uint8)
        found = np.empty_like(before)
        one = (array[np.newaxis] for array in (science, before))
        loops.flag_integrations(*one, limits, 0, reach, found[np.newaxis])
        loops.flag_interleaved(science, limit, zero, frames or 0, reach, found)
        new[:, rows] |= found
    return flags, pixel_flags


def flag_interleaved_unchecked(
    pixeldq: Array,
    *,
    threshold: Array,
    threshold_dq: Array,
    layout: InterleavedLayout,
    region: Region,
) -> Array:
    """Return the pixel flags of `flag_interleaved_saturation`, (rows, columns)."""
    rows, _ = layout.science_within(region)
    flags = pixeldq.copy()
    unknown = np.where(np.isnan(threshold[rows]), loops.NO_SAT_CHECK, np.uint32(0))
    flags[rows] |= threshold_dq[rows] | unknown
    return flags
