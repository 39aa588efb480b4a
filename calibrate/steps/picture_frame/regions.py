"""Choose the background pixels at the centre and at the edges of the frame.

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

from calbatch.calibrate.steps.clean_flicker_noise.draft import cut_to_region
from calbatch.calibrate.steps.clean_flicker_noise.scene import SceneRules, mask_sources
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

LOWER_EDGE = (4, 75)
UPPER_EDGE = (1985, 2043)
CENTRE = (76, 1984)
"""Start and stop, in rows and in columns, of the parts of a frame."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ChosenRegions:
    """The pixels from which the levels of a picture frame are measured.

    Attributes
    ----------
    background : ndarray of bool, (rows, columns)
        True for pixels without a source.
    at_centre, at_edges : float
        Median of the reference in the background at the centre and at the edges; NaN if there is
        none.
    is_empty : bool
        True if the centre or the edges have no background.
    """

    background: Mask = field(repr=False)
    at_centre: np.float32
    at_edges: np.float32
    is_empty: bool

    def parts_of(self, region: Region) -> tuple[Mask, Mask]:
        """Return the background at the centre and at the edges of a region."""
        return cut_parts(cut_to_region(self.background, region), region)


def cut_parts(background: Mask, region: Region) -> tuple[Mask, Mask]:
    """Return two masks: the background of a region at the centre, and at the edges, of the frame.

    Parameters
    ----------
    background : ndarray of bool, (rows, columns)
        True for background pixels of the region.
    region : Region
        The rows and columns of the frame that the mask covers.
    """
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
    """Return the draft rates and the reference of a tile, each (rows, columns)."""
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
    background = mask_sources(rate, SceneRules(n_sigma=n_sigma))
    region = Region((0, rate.shape[0]), (0, rate.shape[1]))
    parts = cut_parts(background, region)
    is_empty = not all(part.any() for part in parts)
    if is_empty:
        log.warning("no background at the centre or at the edges: no picture frame is subtracted")
    at_centre, at_edges = (_median(slope[part]) for part in parts)
    return ChosenRegions(
        background=background, at_centre=at_centre, at_edges=at_edges, is_empty=is_empty
    )


def _median(values: Array) -> np.float32:
    with warnings.catch_warnings():  # about missing values
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.float32(np.nanmedian(values))


def show_background(*, chosen: ChosenRegions, region: Region) -> Array:
    """Return the background of a region as 1 and 0, float32, (rows, columns)."""
    return cut_to_region(chosen.background, region).astype(np.float32)
