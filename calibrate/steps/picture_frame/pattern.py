"""Scale the thermal pattern to the levels of each group, and subtract it.

Source: jwst 3.0.0 ``picture_frame.correct_picture_frame``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._ramps import zero_flags
from calbatch.calibrate.steps.picture_frame.regions import ChosenRegions

Array = npt.NDArray[Any]


def subtract_pattern(
    data: Array,
    *,
    slope: Array,
    levels: Array,
    chosen: ChosenRegions,
    overwrite_data: bool = False,
) -> Array:
    """Return a ramp minus the picture frame in each group after the first.

    With the reference ``p`` and its medians ``p_c`` and ``p_e`` at the centre and at the edges, and
    those of a group minus the first group, ``m_c`` and ``m_e``, the picture frame is
    ``(m_c - m_e) / (p_c - p_e) (p - p_e) + m_e``.

    Parameters
    ----------
    data : ndarray of float32
        Counts (DN), (integrations, groups, rows, columns).
    slope : ndarray
        The reference p, (rows, columns).
    levels : ndarray
        Medians m_c and m_e (DN), (integrations, groups - 1, 2).
    chosen : ChosenRegions
        The pixels in which the medians were measured, and p_c and p_e.
    overwrite_data : bool
        True if the result may take the place of ``data``.

    Returns
    -------
    ndarray of float32
        Shaped like ``data``; ``data`` itself if no background was found.
    """
    if chosen.is_empty:
        return data
    result = data if overwrite_data else data.copy()
    at_centre, at_edges = np.moveaxis(levels, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):  # a flat reference has no pattern
        scales = (at_centre - at_edges) / (chosen.at_centre - chosen.at_edges)
    pattern = slope - chosen.at_edges
    for ramp, scale, offset in zip(result, scales, at_edges, strict=True):
        first = ramp[0]
        for group, factor, level in zip(ramp[1:], scale, offset, strict=True):
            group -= first
            group += first - (factor * pattern + level)
    return result


def show_correction(
    data: Array, *, slope: Array, levels: Array, chosen: ChosenRegions
) -> tuple[Array, Array, Array]:
    """Return the corrected ramp minus the given one, with PIXELDQ and GROUPDQ of zero."""
    corrected = subtract_pattern(data, slope=slope, levels=levels, chosen=chosen)
    return corrected - data, *zero_flags(data)
