"""Mask the sources of a frame, which are found in its draft rates.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``create_mask``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.clean_flicker_noise.clipping import (
    CLIP,
    find_limits,
)
from calbatch.calibrate.steps.clean_flicker_noise.loops import collect_values

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SceneRules:
    """The rules by which sources are found.

    Attributes
    ----------
    n_sigma : float
        Distance from the background, in sigma, above which pixels are sources; 0 for none.
    fit_histogram : bool
        True to fit a Gaussian to the histogram of rates.
    """

    n_sigma: float = 2.0
    fit_histogram: bool = False


def mask_sources(rate: Array, rules: SceneRules, excluded: Array | None = None) -> Array:
    """Return a mask of the background.

    Parameters
    ----------
    rate : ndarray of float32, (rows, columns)
        Draft rates. Pixels that are NaN or 0 are not background.
    rules : SceneRules
        The rules for sources.
    excluded : ndarray of bool, optional
        Pixels that are never background, regardless of their rate.

    Returns
    -------
    ndarray of bool, (rows, columns)
        True for background.
    """
    mask = rate != 0
    mask &= ~np.isnan(rate)
    if excluded is not None:
        mask &= ~excluded
    if rules.n_sigma > 0:
        buffer = np.empty(rate.size, np.float32)
        values = buffer[: collect_values(rate, mask, buffer)]
        values.sort()
        limits = find_limits(values, CLIP, rules.n_sigma, fit_histogram=rules.fit_histogram)
        keep_within(rate, limits, mask)
    return mask


def keep_within(image: Array, limits: tuple[float, float], mask: Array) -> None:
    """Remove pixels outside limits from a mask, in place, comparing in double precision."""
    low, high = limits
    mask &= ~((image < np.float64(low)) | (image > np.float64(high)))
