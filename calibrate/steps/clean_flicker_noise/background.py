"""The smooth background of a frame, which is not noise.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``background_level``).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.clean_flicker_noise.clipping import (
    CLIP,
    find_limits,
    find_median,
    select_range,
)
from calbatch.calibrate.steps.clean_flicker_noise.loops import MAX_CLIPS, collect_values

Array = npt.NDArray[Any]

MEDIAN, MODEL, NO_BACKGROUND = "median", "model", "None"

LARGEST_BOX = 32
"""Rows and columns of the largest box that is chosen automatically."""


@dataclass(frozen=True)
class Background:
    """The rules by which the background of a frame is found.

    Attributes
    ----------
    method : str
        `MEDIAN` for one value, `MODEL` for a map, `NO_BACKGROUND` for zero.
    box : tuple of int, optional
        Rows and columns of the boxes of the map; by default the largest that divide the frame.
    n_sigma : float
        Distance from the background, in sigma, beyond which pixels are not used; 0 to use all.
    """

    method: str = MEDIAN
    box: tuple[int, int] | None = None
    n_sigma: float = 2.0


def fit_model(image: Array, used: Array, box: tuple[int, int] | None) -> Array | None:
    """Return a map of the background, or None if too few pixels are used.

    Parameters
    ----------
    image : ndarray of float32, (rows, columns)
        The frame.
    used : ndarray of bool, (rows, columns)
        True for pixels of the background.
    box : tuple of int, optional
        As in `Background`.

    Returns
    -------
    ndarray of float32, (rows, columns), or None
    """
    from astropy.stats import SigmaClip  # slow to import, and needed for this method only
    from astropy.utils.exceptions import AstropyUserWarning
    from photutils.background import Background2D, MedianBackground

    rows, columns = image.shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # about boxes without any pixel
            fitted = Background2D(
                np.where(np.isnan(image), np.float32(0), image),
                box_size=box or (_largest_divisor(rows), _largest_divisor(columns)),
                filter_size=(5, 5),
                mask=~used,
                sigma_clip=SigmaClip(sigma=CLIP, maxiters=MAX_CLIPS),
                bkg_estimator=MedianBackground(),
            )
            return np.asarray(fitted.background, np.float32)
    except ValueError:  # no box has enough pixels
        return None


def _largest_divisor(size: int) -> int:
    return max(n for n in range(1, LARGEST_BOX + 1) if size % n == 0)


def gather_flat(data: Array) -> Array:
    """Return the rows of a flat, unchanged, to be combined by `fill_flat`."""
    return data


def fill_flat(parts: Sequence[Array]) -> Array:
    """Return a whole flat whose unusable pixels are replaced by its background.

    Parameters
    ----------
    parts : sequence of ndarray of float32
        Bands of rows of the flat, from top to bottom. Pixels that are 0, NaN or infinite are
        unusable.

    Returns
    -------
    ndarray of float32, (rows, columns)
    """
    flat = np.concatenate(parts)
    bad = (flat == 0) | ~np.isfinite(flat)
    if not bad.any():
        return flat
    buffer = np.empty(flat.size, np.float32)
    values = buffer[: collect_values(flat, ~bad, buffer)]
    values.sort()
    values = select_range(values, find_limits(values, CLIP, CLIP, lower_half=True))
    if not values.size:
        return np.ones_like(flat)
    model = fit_model(flat, ~bad & (flat >= values[0]) & (flat <= values[-1]), None)
    return np.where(bad, find_median(values) if model is None else model, flat)
