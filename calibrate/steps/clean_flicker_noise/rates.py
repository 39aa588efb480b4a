"""Clean rates: the contribution of a tile, and the subtraction of the noise.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``do_correction`` for images and cubes).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.clean_flicker_noise.cleaning import FlickerNoise, cut_part
from calbatch.calibrate.steps.clean_flicker_noise.draft import NoisyRows, cut_to_region
from calbatch.models.datamodels import CubeModel, ImageModel
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class RateRows(NoisyRows):
    """A tile's rows of rates.

    Attributes
    ----------
    data : ndarray
        Rates (DN/s), (rows, columns), or (integrations, rows, columns).
    """

    data: Array

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of integrations, frames in each, rows and columns."""
        *integrations, rows, columns = self.data.shape
        return integrations[0] if integrations else 1, 1, rows, columns

    def write_frame(self, integration: int, number: int, out: Array) -> None:
        """Write the rates of an integration, divided by the flat; there is only one frame."""
        out[...] = self.data if self.data.ndim == 2 else self.data[integration]
        if self.flat is not None:
            out /= self.flat


def is_rate(exposure: DataModel) -> bool:
    """Return whether an exposure has been fitted: one rate, or a rate for each integration."""
    shape = exposure.shape or ()
    return isinstance(exposure, ImageModel | CubeModel) and len(shape) in (2, 3)


def count_frames(exposure: DataModel) -> tuple[int, int]:
    """Return the number of integrations, and of differences or rates in each."""
    integrations, *groups = exposure.shape[:-2] or (1,)
    return integrations, groups[0] - 1 if groups else 1


def gather_rates(
    data: Array,
    *,
    region: Region,
    is_automatic: bool,
    flat: Array | None = None,
    user_mask: Array | None = None,
) -> RateRows:
    """Return the rates of a tile.

    Parameters
    ----------
    data : ndarray
        Rates (DN/s), (rows, columns), or (integrations, rows, columns).
    region, flat, user_mask
        As for `calbatch.calibrate.steps.clean_flicker_noise.draft.gather_noise`.
    is_automatic : bool
        True if parameters are chosen from the mean of the integrations.
    """
    rows = None if flat is None else cut_to_region(flat, region)
    name = "rate.data" if data.ndim == 2 else "rateints.data"
    rates = {name: data} if is_automatic or user_mask is None else {}
    if is_automatic and data.ndim == 3:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
            rates["rate.data"] = np.nanmean(data, axis=0)
    if rows is not None:
        rates = {name: rate / rows for name, rate in rates.items()}
    mask = None if user_mask is None else user_mask != 0
    return RateRows(data=data, rates=rates, flat=rows, mask=mask)


def subtract_from_rates(
    data: Array, *, noise: FlickerNoise, region: Region, flat: Array | None = None
) -> Array:
    """Return rates without their noise.

    Parameters
    ----------
    data : ndarray of float32
        Rates (DN/s), (rows, columns), or (integrations, rows, columns).
    noise : FlickerNoise
        The noise of each integration.
    region : Region
        The rows and columns of the exposure that the rates cover.
    flat : ndarray, optional
        The flat of the whole exposure, (rows, columns).
    """
    cleaned = data.copy()
    frames = cleaned if cleaned.ndim == 3 else cleaned[np.newaxis]
    rows = None if flat is None else cut_to_region(flat, region)
    for frame, (part,) in zip(frames, noise.noise, strict=True):
        if part is not None:
            lines = cut_part(part, noise.frame, region)
            frame -= lines if rows is None else lines * rows
    return cleaned


def show_rate_noise(
    data: Array, *, noise: FlickerNoise, region: Region, flat: Array | None = None
) -> Array | tuple[Array, ...]:
    """Return the cleaned rates minus the given ones, like jwst's ``_flicker_noise``."""
    change = subtract_from_rates(data, noise=noise, region=region, flat=flat) - data
    return _add_blank_fields(change)


def spread_rate_background(
    data: Array, *, noise: FlickerNoise, region: Region
) -> Array | tuple[Array, ...]:
    """Return the background of each integration, divided by the flat, like ``_flicker_bkg``."""
    result = np.zeros_like(data)
    frames = result if result.ndim == 3 else result[np.newaxis]
    for frame, (level,) in zip(frames, noise.background, strict=True):
        if level is not None:
            frame[...] = level if level.shape == (1, 1) else cut_to_region(level, region)
    return _add_blank_fields(result)


def _add_blank_fields(data: Array) -> Array | tuple[Array, ...]:
    """Return an image; or a cube with errors and flags of zero, as jwst's cubes have."""
    if data.ndim == 2:
        return data
    return data, np.zeros_like(data), np.zeros(data.shape, np.uint32)
