"""Measure the noise of a difference of two groups: a median for each line of the detector.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``_clean_one_image``, ``median_clean``), which
follows C. Willott's image1overf.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.clean_flicker_noise.background import (
    MODEL,
    NO_BACKGROUND,
    Background,
    fit_model,
)
from calbatch.calibrate.steps.clean_flicker_noise.clipping import (
    CLIP,
    find_limits,
    find_median,
    select_range,
)
from calbatch.calibrate.steps.clean_flicker_noise.loops import collect_values

Array = npt.NDArray[Any]

UNUSED = np.float32(np.inf)
"""Sorts behind all values that are used."""

CHANNELS = 4
"""Amplifiers of a near-infrared detector."""

LINES_AT_ONCE = 64
"""Lines whose medians are found together, in copies that fit in the processor's cache."""

_EMPTY = np.float32(np.inf), np.float32(-np.inf)


class BackgroundPixels(NamedTuple):
    """The pixels of a difference in which noise is measured.

    Attributes
    ----------
    image : ndarray of float32, (rows, columns)
        The difference without its background.
    mask : ndarray of bool, (rows, columns)
        True for pixels of the background, apart from those outside the limits.
    limits : tuple of float32
        The limits within which ``image`` belongs to the background, both included.
    level : ndarray of float32, (1, 1) or (rows, columns)
        The background.
    """

    image: Array
    mask: Array
    limits: tuple[Any, Any]
    level: Array

    def is_used(self) -> Array:
        """Return a mask of the pixels whose noise is measured."""
        low, high = self.limits
        return self.mask & (self.image >= low) & (self.image <= high)


def find_background(
    frame: Array, mask: Array, background: Background, buffer: Array | None = None
) -> BackgroundPixels | None:
    """Return the pixels of a difference in which noise is measured, or None if there are none.

    Parameters
    ----------
    frame : ndarray of float32, (rows, columns)
        The difference; NaN where unusable. The background is subtracted from it in place.
    mask : ndarray of bool, (rows, columns)
        True for pixels without a source.
    background : Background
        The rules by which the background is found.
    buffer : ndarray of float32, optional
        Memory for as many values as the frame has pixels, which is overwritten.
    """
    if buffer is None:
        buffer = np.empty(frame.size, np.float32)
    values = buffer[: collect_values(frame, mask, buffer)]
    if not values.size:
        return None
    if background.method == NO_BACKGROUND:
        return BackgroundPixels(frame, mask, _EMPTY[::-1], np.zeros((1, 1), np.float32))
    values.sort()
    values = select_range(values, find_limits(values, CLIP, CLIP, lower_half=True))
    level = np.full((1, 1), find_median(values))
    if background.method == MODEL:
        used = mask & (frame >= values[0]) & (frame <= values[-1])
        model = fit_model(frame, used, background.box)
        if model is not None:
            frame -= model
            values = buffer[: collect_values(frame, used, buffer)]
            values.sort()
            return _clip_again(
                BackgroundPixels(frame, used, _EMPTY[::-1], model), values, background
            )
    frame -= level
    values -= level[0, 0]  # they stay sorted
    limits = values[0], values[-1]
    return _clip_again(BackgroundPixels(frame, mask, limits, level), values, background)


def _clip_again(
    pixels: BackgroundPixels, values: Array, background: Background
) -> BackgroundPixels:
    """Return the pixels left by the second clipping, given their sorted values."""
    if not background.n_sigma > 0:
        return pixels
    n_sigma = background.n_sigma
    values = select_range(values, find_limits(values, n_sigma, n_sigma, lower_half=True))
    limits = (values[0], values[-1]) if values.size else _EMPTY
    return pixels._replace(limits=limits)


def measure_lines(pixels: BackgroundPixels, axis: int, channels: int) -> Array:
    """Return the median of each line.

    Parameters
    ----------
    pixels : BackgroundPixels
        The pixels in which noise is measured.
    axis : int
        Axis along which medians are taken.
    channels : int
        Number of parts of each line that have medians of their own.

    Returns
    -------
    ndarray of float32
        One value for each line and channel, shaped (rows, channels) for axis 1, and (channels,
        columns) for axis 0; 0 where a line has no background.
    """
    if axis == 0:
        pixels = pixels._replace(image=pixels.image.T, mask=pixels.mask.T)
    medians = np.concatenate(
        [
            _measure_band(pixels, slice(first, first + LINES_AT_ONCE), channels)
            for first in range(0, len(pixels.image), LINES_AT_ONCE)
        ]
    )
    return medians if axis == 1 else medians.T


def _measure_band(pixels: BackgroundPixels, rows: slice, channels: int) -> Array:
    """Return the medians of some rows, (rows, channels)."""
    band = pixels._replace(image=pixels.image[rows], mask=pixels.mask[rows])
    used = band.is_used()
    values = np.ascontiguousarray(np.where(used, band.image, UNUSED))
    shape = len(values), channels, -1
    counts = np.count_nonzero(used.reshape(shape), axis=2)
    return find_line_medians(values.reshape(shape), counts)


def find_line_medians(values: Array, counts: Array) -> Array:
    """Return the medians of the smallest values along the last axis; 0 where there are none.

    Parameters
    ----------
    values : ndarray of float32, (lines, channels, pixels)
        Values, `UNUSED` where unused. They are sorted in place.
    counts : ndarray of int, (lines, channels)
        Number of used values.
    """
    values.sort(axis=-1)
    low, high = (
        np.take_along_axis(values, position[..., np.newaxis], axis=-1)[..., 0]
        for position in (
            np.maximum(counts - 1, 0) // 2,
            np.minimum(counts // 2, values.shape[-1] - 1),
        )
    )
    return np.where(counts > 0, np.float32(0.5) * (low + high), np.float32(0))
