"""Choose parameters from the data: the background's method, and whether channels are separate.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``autoparam``), for images of NIRCam and NIRISS.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.calibrate.steps.clean_flicker_noise.background import (
    MEDIAN,
    MODEL,
    Background,
    fit_model,
)
from calbatch.calibrate.steps.clean_flicker_noise.clipping import (
    CLIP,
    find_limits,
    find_median,
    select_range,
)
from calbatch.calibrate.steps.clean_flicker_noise.lines import (
    CHANNELS,
    find_background,
    measure_lines,
)
from calbatch.calibrate.steps.clean_flicker_noise.loops import collect_values
from calbatch.calibrate.steps.clean_flicker_noise.scene import keep_within

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

NIRCAM_IMAGE, NIRISS_IMAGE = "NRC_IMAGE", "NIS_IMAGE"

MIDDLE = Fraction(3, 8), Fraction(5, 8)
"""The part of the frame whose rows, or columns, are averaged."""

FIRST_CHANNEL = Fraction(10, 12), Fraction(11, 12)
"""The part of a NIRISS frame in its first channel."""

SOURCE_DISTANCE = 2.0
"""Distance of sources from the background, in sigma."""

RESIDUAL_CLIP = 10.0
"""The limit of clipping for the scatter around a line, in sigma."""


class ChoiceLimits(NamedTuple):
    """Thresholds for the statistics of a draft image.

    Attributes
    ----------
    masked : float
        Fraction of the frame with sources.
    offset : float
        Largest step between neighbouring channels (DN/s).
    low_slope, high_slope : float
        Slopes of the background (DN/s/pixel), with and without steps between channels.
    slope_ratio : float
        Ratio of the slopes of the two axes.
    scatter : float
        Standard deviation of averages across channels around a straight line (DN/s).
    """

    masked: float
    offset: float
    low_slope: float
    high_slope: float
    slope_ratio: float
    scatter: float


LIMITS = {
    NIRISS_IMAGE: ChoiceLimits(0.07, 0.07, 1e-5, 1e-4, 5.0, 0.02),
    NIRCAM_IMAGE: ChoiceLimits(0.1, 0.07, 1e-5, 1e-5, 3.0, 0.02),
}
"""Thresholds by exposure type; other types keep their parameters."""


@dataclass(frozen=True, kw_only=True)
class AutomaticChoice:
    """The parameters that are chosen from the data.

    Attributes
    ----------
    background_method : str
        ``median`` or ``model``.
    by_channel : bool
        True if each amplifier has noise of its own.
    """

    background_method: str
    by_channel: bool


class ImageStatistics(NamedTuple):
    """Statistics of a draft image, to be compared with `ChoiceLimits`."""

    masked: float
    offset: float
    slope: float
    slope_ratio: float
    scatter: float


def choose_parameters(rate: Array, kind: str, axis: int) -> AutomaticChoice:
    """Return the parameters for an exposure, chosen from its draft rates.

    Parameters
    ----------
    rate : ndarray of float32, (rows, columns)
        Draft rates (DN/s), divided by the flat if it is applied.
    kind : str
        The exposure type, a key of `LIMITS`.
    axis : int
        Axis along which the noise of a line is measured.
    """
    found = describe_image(rate, kind, axis)
    if found is None:
        return AutomaticChoice(background_method=MEDIAN, by_channel=False)
    chosen = apply_thresholds(found, LIMITS[kind])
    log.info(
        "parameters chosen from the data: background_method = %s, fit_by_channel = %s",
        chosen.background_method, chosen.by_channel,
    )  # fmt: skip
    return chosen


def apply_thresholds(found: ImageStatistics, limits: ChoiceLimits) -> AutomaticChoice:
    """Return the parameters that follow from the statistics of an image."""
    is_crowded = found.masked >= limits.masked
    has_steps = found.offset >= limits.offset
    is_steep = found.slope >= limits.high_slope
    has_slope = found.slope >= limits.low_slope
    if has_steps and not is_crowded:
        return AutomaticChoice(background_method=MEDIAN, by_channel=True)
    if is_crowded:
        needs_map = is_steep if has_steps else has_slope
        return AutomaticChoice(background_method=MODEL if needs_map else MEDIAN, by_channel=False)
    needs_map = is_steep or (has_slope and not found.slope_ratio >= limits.slope_ratio)
    return AutomaticChoice(
        background_method=MODEL if needs_map else MEDIAN,
        by_channel=bool(found.offset > 0 and found.scatter >= limits.scatter),
    )


def describe_image(rate: Array, kind: str, axis: int) -> ImageStatistics | None:
    """Return statistics of a draft image, cleaned with the default parameters.

    Parameters
    ----------
    rate, kind, axis
        As for `choose_parameters`.

    Returns
    -------
    ImageStatistics or None
        None if the image has no background.
    """
    image, used = _clean_image(rate, axis)
    if not used.any():
        return None
    image, used = _replace_sources(image, used)
    by_column, by_row = _average(image, MIDDLE, 0), _average(image, MIDDLE, 1)
    column_slope, scatter = fit_line(by_column)
    row_slope, _ = fit_line(by_row)
    across = by_column
    if kind == NIRISS_IMAGE:
        _, scatter = fit_line(_average(image, FIRST_CHANNEL, 0))
        across = by_row
    smaller, larger = sorted((abs(row_slope), abs(column_slope)))
    return ImageStatistics(
        masked=np.count_nonzero(~used) / used.size,
        offset=find_largest_step(across),
        slope=larger,
        slope_ratio=larger / smaller if smaller > 0 else np.inf,
        scatter=scatter,
    )


def _clean_image(rate: Array, axis: int) -> tuple[Array, Array]:
    """Return draft rates without the noise of lines, and a mask of the background."""
    values = _sort_used(rate, np.ones(rate.shape, bool))
    mask = ~np.isnan(rate)
    keep_within(rate, find_limits(values, CLIP, SOURCE_DISTANCE), mask)
    pixels = find_background(rate.copy(), mask, Background(n_sigma=0.0))
    if pixels is None:
        return rate, mask
    used = pixels.is_used()
    values = _sort_used(pixels.image, used)
    values = select_range(values, find_limits(values, CLIP, SOURCE_DISTANCE, lower_half=True))
    if not values.size:  # no pixel is finite
        return rate, np.zeros_like(mask)
    pixels = pixels._replace(mask=used, limits=(values[0], values[-1]))
    return rate - measure_lines(pixels, axis, 1), pixels.is_used()


def _sort_used(image: Array, used: Array) -> Array:
    """Return the used values of an image, sorted and without NaN."""
    buffer = np.empty(image.size, np.float32)
    values = buffer[: collect_values(image, used, buffer)]
    values.sort()
    return values


def _replace_sources(image: Array, used: Array) -> tuple[Array, Array]:
    """Return an image whose sources are replaced by the background, and the background's mask."""
    values = _sort_used(image, used)
    values = select_range(values, find_limits(values, CLIP, CLIP, lower_half=True))
    used = used & (image >= values[0]) & (image <= values[-1])
    model = fit_model(image, used, None)
    return np.where(used, image, find_median(values) if model is None else model), used


def _average(image: Array, part: tuple[Fraction, Fraction], axis: int) -> Array:
    """Return the means of a part of the frame along an axis."""
    start, stop = (round(fraction * image.shape[axis]) for fraction in part)
    average: Array = np.mean(image[start:stop] if axis == 0 else image[:, start:stop], axis=axis)
    return average


def fit_line(values: Array) -> tuple[float, float]:
    """Return the slope per pixel of a straight line through values, and their scatter around it.

    Values that are not finite are left out.
    """
    from astropy.stats import sigma_clipped_stats  # its import is slow

    x = np.flatnonzero(np.isfinite(values))
    if not x.size:
        return 0.0, 0.0
    line = np.polynomial.Polynomial.fit(x, values[x], deg=1)
    coefficients = line.convert().coef
    _, _, scatter = sigma_clipped_stats(values[x] - line(x), sigma=RESIDUAL_CLIP)
    return float(coefficients[1]) if len(coefficients) > 1 else 0.0, float(scatter)


def find_largest_step(values: Array) -> float:
    """Return the largest step between the means of neighbouring channels; 0 for subarrays."""
    from astropy.stats import sigma_clipped_stats  # its import is slow

    if values.size != DETECTOR:
        return 0.0
    channels = values.reshape(CHANNELS, -1)
    means = [sigma_clipped_stats(channel, sigma=CLIP)[0] for channel in channels]
    return float(np.max(np.abs(np.diff(means))))
