"""Find the noise of all differences of an exposure, and subtract it.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``do_correction``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._ramps import zero_flags
from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.calibrate.steps.clean_flicker_noise.automatic import choose_parameters
from calbatch.calibrate.steps.clean_flicker_noise.background import Background
from calbatch.calibrate.steps.clean_flicker_noise.draft import NoisyRows, cut_to_region
from calbatch.calibrate.steps.clean_flicker_noise.fourier import FourierRules, fit_noise
from calbatch.calibrate.steps.clean_flicker_noise.lines import (
    CHANNELS,
    BackgroundPixels,
    find_background,
    measure_lines,
)
from calbatch.calibrate.steps.clean_flicker_noise.scene import SceneRules, mask_sources
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """The rules by which the noise of an exposure is found.

    Attributes
    ----------
    axis : int
        Axis of the frame along which medians are taken: 0 for rows, 1 for columns.
    by_channel : bool
        True if each amplifier has medians of its own.
    is_full : bool
        True for a full frame of a near-infrared detector, which several amplifiers read.
    automatic : str or None
        The exposure type, a key of `calbatch.calibrate.steps.clean_flicker_noise.automatic.LIMITS`,
        if the background's method and ``by_channel`` are chosen from the data; else None.
    single_mask : bool
        True for one mask of all integrations.
    scene : SceneRules
        The rules for sources.
    background : Background
        The rules for the background.
    fourier : FourierRules or None
        The rules of fits in frequency space; None for medians.
    keep_mask, keep_background : bool
        True if the mask, or the background, is a product.
    """

    axis: int
    by_channel: bool
    is_full: bool
    single_mask: bool
    scene: SceneRules
    background: Background
    automatic: str | None = None
    fourier: FourierRules | None = None
    keep_mask: bool = False
    keep_background: bool = False

    def count_channels(self, frame: tuple[int, ...]) -> int:
        """Return the number of parts of a line with medians of their own."""
        return CHANNELS if self.by_channel and self.is_full and frame[self.axis] == DETECTOR else 1


@dataclass(frozen=True, kw_only=True, eq=False)
class FlickerNoise:
    """The noise of the differences of an exposure.

    The first index of each list is the integration, the second the difference. Noise and
    backgrounds are those of differences divided by the flat.

    Attributes
    ----------
    frame : tuple of int
        Rows and columns of the exposure.
    noise : list
        Noise in DN. Each axis has as many elements as the frame, or one for each channel, or one.
        None where a difference has no usable background, and stays as it is.
    background : list
        Background in DN, (1, 1) or (rows, columns); None where none was found, or if none is kept.
    mask : ndarray of bool or None
        The mask of background pixels, (rows, columns) or (integrations, rows, columns); None if it
        is not kept.
    """

    frame: tuple[int, int]
    noise: list[list[Array | None]]
    background: list[list[Array | None]]
    mask: Array | None


def find_noise(gathered: Sequence[NoisyRows], *, rules: CleaningRules) -> FlickerNoise:
    """Return the noise of an exposure.

    Parameters
    ----------
    gathered : sequence of NoisyRows
        The contributions of the tiles, from top to bottom.
    rules : CleaningRules
        The rules by which the noise is found.
    """
    mask = _find_mask(gathered, rules)
    rules = _adapt(rules, gathered)
    integrations, frames, _, columns = gathered[0].shape
    noise: list[list[Array | None]] = [[None] * frames for _ in range(integrations)]
    levels: list[list[Array | None]] = [[None] * frames for _ in range(integrations)]
    frame = np.empty((sum(rows.shape[2] for rows in gathered), columns), np.float32)
    buffer = np.empty(frame.size, np.float32)
    for i, j in product(range(integrations), range(frames)):
        _write_frame(gathered, i, j, frame)
        own_mask = mask[i] if mask.ndim == 3 else mask
        pixels = find_background(frame, own_mask, rules.background, buffer)
        if pixels is None:
            continue
        noise[i][j] = _measure_noise(pixels, rules)
        levels[i][j] = pixels.level if rules.keep_background else None
    return FlickerNoise(
        frame=(mask.shape[-2], mask.shape[-1]),
        noise=noise,
        background=levels,
        mask=mask if rules.keep_mask else None,
    )


def _write_frame(
    gathered: Sequence[NoisyRows], integration: int, number: int, frame: Array
) -> None:
    """Write one whole frame: a difference of two groups, or a rate."""
    top = 0
    for rows in gathered:
        bottom = top + rows.shape[2]
        rows.write_frame(integration, number, frame[top:bottom])
        top = bottom


def _adapt(rules: CleaningRules, gathered: Sequence[NoisyRows]) -> CleaningRules:
    """Return the rules with the parameters that are chosen from the data, if any."""
    if rules.automatic is None:
        return rules
    rate = _join([rows.rates["rate.data"] for rows in gathered])
    chosen = choose_parameters(rate, rules.automatic, rules.axis)
    background = replace(rules.background, method=chosen.background_method)
    return replace(rules, background=background, by_channel=chosen.by_channel)


def _measure_noise(pixels: BackgroundPixels, rules: CleaningRules) -> Array | None:
    if rules.fourier is not None:
        return fit_noise(pixels, rules.fourier)
    return measure_lines(pixels, rules.axis, rules.count_channels(pixels.image.shape))


def _join(bands: Sequence[Array]) -> Array:
    return bands[0] if len(bands) == 1 else np.concatenate(bands, axis=-2)


def _find_mask(gathered: Sequence[NoisyRows], rules: CleaningRules) -> Array:
    """Return the mask of background pixels, (rows, columns) or (integrations, rows, columns)."""
    masks = [rows.mask for rows in gathered if rows.mask is not None]
    if masks:
        return _join(masks)
    parts = [rows.excluded for rows in gathered if rows.excluded is not None]
    excluded = _join(parts) if parts else None
    if "rateints.data" not in gathered[0].rates:
        rate = _join([rows.rates["rate.data"] for rows in gathered])
        return mask_sources(rate, rules.scene, excluded)
    rates = _join([rows.rates["rateints.data"] for rows in gathered])
    planes: Array = np.stack(
        [
            mask_sources(rate, rules.scene, None if excluded is None else excluded[i])
            for i, rate in enumerate(rates)
        ]
    )
    if not rules.single_mask:
        return planes
    common: Array = np.logical_and.reduce(planes)
    return common


# -- subtraction, in tiles ---------------------------------------------------------------------


def subtract_noise(
    data: Array, *, noise: FlickerNoise, region: Region, flat: Array | None = None
) -> Array:
    """Return a ramp without its noise.

    As in jwst, each group is the sum of the cleaned group before it and the cleaned difference. The
    first group therefore stays unchanged, and all groups after a NaN are NaN.

    Parameters
    ----------
    data : ndarray of float32
        Counts (DN), (integrations, groups, rows, columns).
    noise : FlickerNoise
        The noise of the differences of the exposure.
    region : Region
        The rows and columns of the exposure that the ramp covers.
    flat : ndarray, optional
        The flat of the whole exposure, (rows, columns).
    """
    cleaned = np.empty_like(data)
    cleaned[:, :1] = data[:, :1]
    rows = None if flat is None else cut_to_region(flat, region)
    for i, integration in enumerate(noise.noise):
        for j, part in enumerate(integration):
            if part is None:
                cleaned[i, j + 1] = data[i, j + 1]
                continue
            lines = cut_part(part, noise.frame, region)
            step = data[i, j + 1] - data[i, j]
            step -= lines if rows is None else lines * rows
            np.add(cleaned[i, j], step, out=cleaned[i, j + 1])
    return cleaned


def show_noise(
    data: Array, *, noise: FlickerNoise, region: Region, flat: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return the cleaned ramp minus the given one, with flags of zero, like ``_flicker_noise``."""
    change = subtract_noise(data, noise=noise, region=region, flat=flat) - data
    return change, *zero_flags(data)


def spread_background(
    data: Array, *, noise: FlickerNoise, region: Region
) -> tuple[Array, Array, Array]:
    """Return the background of each group, and flags of zero, like jwst's ``_flicker_bkg``.

    The background of a group is that of its difference from the group before, divided by the flat.
    It is 0 in first groups, and where none was found.
    """
    result = np.zeros_like(data)
    for i, integration in enumerate(noise.background):
        for j, level in enumerate(integration):
            if level is not None:
                is_uniform = level.shape == (1, 1)
                result[i, j + 1] = level if is_uniform else cut_to_region(level, region)
    return result, *zero_flags(data)


def show_mask(*, noise: FlickerNoise, region: Region) -> Array:
    """Return the mask as 0 and 1, float32, like jwst's ``_mask``."""
    return cut_to_region(np.asarray(noise.mask), region).astype(np.float32)


def show_masks(*, noise: FlickerNoise, region: Region) -> tuple[Array, Array, Array]:
    """Return a mask for each integration, like `show_mask`, with errors and flags of zero."""
    masks = show_mask(noise=noise, region=region)
    return masks, np.zeros_like(masks), np.zeros(masks.shape, np.uint32)


def cut_part(part: Array, frame: tuple[int, int], region: Region) -> Array:
    """Return the noise of a region; an axis along which it is constant may have length 1."""
    rows, columns = (
        _positions(parts, size, span)
        for parts, size, span in zip(part.shape, frame, region, strict=True)
    )
    return part[rows][:, columns]


def _positions(parts: int, size: int, span: tuple[int, int]) -> Any:
    """Return the index of the parts of a frame in which some lines lie."""
    if parts == 1:
        return slice(0, 1)
    return slice(*span) if parts == size else np.arange(*span) // (size // parts)
