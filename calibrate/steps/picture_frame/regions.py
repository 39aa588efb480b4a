"""The pixels of the background, and those of them at the centre and at the edges of the frame.

Source: jwst 3.0.0 ``picture_frame`` and ``clean_flicker_noise.create_mask``.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

LOWER_EDGE = (4, 75)
UPPER_EDGE = (1985, 2043)
CENTRE = (76, 1984)
"""Rows, and columns, of the parts of a frame: start and stop."""

BELOW = 3.0
"""Distance of bad pixels below the background, in sigma."""
CLIP = 3.0
"""Limit of the clipped statistics of the background, in sigma."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ChosenRegions:
    """The pixels from which the levels of a picture frame are measured.

    Attributes
    ----------
    background : ndarray of bool, (rows, columns)
        True for pixels that see no source.
    at_centre, at_edges : float
        Median of the reference in those of them at the centre and at the edges; NaN for none.
    is_empty : bool
        True if there is no background at the centre, or none at the edges.
    """

    background: Mask = field(repr=False)
    at_centre: np.float32
    at_edges: np.float32
    is_empty: bool

    def parts_of(self, region: Region) -> tuple[Mask, Mask]:
        """Return the background at the centre and at the edges of a region."""
        (r0, r1), (c0, c1) = region
        return cut_parts(self.background[r0:r1, c0:c1], region)


def cut_parts(background: Mask, region: Region) -> tuple[Mask, Mask]:
    """Return the background at the centre and at the edges of a region, two masks of its shape."""
    (r0, r1), (c0, c1) = region
    rows, columns = np.arange(r0, r1)[:, None], np.arange(c0, c1)[None, :]

    def within(span: tuple[int, int], *axes: Array) -> Array:
        return np.logical_and.reduce(
            np.broadcast_arrays(*((n >= span[0]) & (n < span[1]) for n in axes))
        )

    inside = within((LOWER_EDGE[0], UPPER_EDGE[1]), rows, columns)
    edges = [within(span, axis) for span in (LOWER_EDGE, UPPER_EDGE) for axis in (rows, columns)]
    at_edge = np.logical_or.reduce(np.broadcast_arrays(*edges)) & inside
    return background & within(CENTRE, rows, columns), background & at_edge


def gather_draft(data: Array, *, slope: Array) -> tuple[Array, Array]:
    """Return the draft of the rates and the reference, each (rows, columns)."""
    return data, np.array(slope, np.float32)


def choose_regions(gathered: Sequence[tuple[Array, Array]], *, n_sigma: float) -> ChosenRegions:
    """Return the pixels of the background, and the levels of the reference in them.

    Parameters
    ----------
    gathered : sequence of tuple
        Results of `gather_draft`, from top to bottom.
    n_sigma : float
        Distance of sources above the background, in sigma; 0 to mask none.
    """
    rate, slope = (np.concatenate(bands) for bands in zip(*gathered, strict=True))
    background = find_background(rate, n_sigma)
    region = Region((0, rate.shape[0]), (0, rate.shape[1]))
    parts = cut_parts(background, region)
    is_empty = not all(part.any() for part in parts)
    if is_empty:
        log.warning("no background at the centre or at the edges: no picture frame is subtracted")
    at_centre, at_edges = (_median(slope[part]) for part in parts)
    return ChosenRegions(
        background=background, at_centre=at_centre, at_edges=at_edges, is_empty=is_empty
    )


def find_background(rate: Array, n_sigma: float) -> Mask:
    """Return True for pixels that have a rate near the clipped median of all."""
    from astropy.stats import sigma_clipped_stats  # slow to import

    background: Mask = ~(np.isnan(rate) | (rate == 0))
    if n_sigma <= 0 or not background.any():
        return background
    values = rate[background].astype(np.float64)
    with warnings.catch_warnings():  # about infinite rates
        warnings.simplefilter("ignore")
        _, centre, sigma = sigma_clipped_stats(values, sigma=CLIP)
    background[background] = (values <= centre + n_sigma * sigma) & (
        values >= centre - BELOW * sigma
    )
    return background


def _median(values: Array) -> np.float32:
    with warnings.catch_warnings():  # about no values, or NaN alone
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.float32(np.nanmedian(values))


def show_background(*, chosen: ChosenRegions, region: Region) -> Array:
    """Return 1 for pixels of the background and 0 elsewhere, float32."""
    (r0, r1), (c0, c1) = region
    return chosen.background[r0:r1, c0:c1].astype(np.float32)
