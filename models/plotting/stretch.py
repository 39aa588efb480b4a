"""Stretches: how the values of an image become brightnesses, so that sky and stars are seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from calbatch.models.errors import ModelError

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

Array = npt.NDArray[Any]
Limits = str | tuple[float, float]

STRETCHES = ("asinh", "linear", "log")

LOW, SKY, HIGH = 1.0, 70.0, 99.8
"""Percentiles: of the darkest and the brightest value that differ from their neighbours, and of a
value that is still sky, above which ``asinh`` is compressed."""

ROWS = 256
"""Maximum number of rows from which limits are chosen."""

TICKS = 7
"""Number of ticks of a colour bar, before those beyond its ends are left out."""

_SMALLEST, _USUAL = 1e-4, 0.1
"""Shares of the range that ``asinh`` does not compress: the least, and that without any sky."""

_DECADES = 1e-4
"""Lowest value of ``log``, relative to the highest, if the lower limit is not positive."""


def sample_values(images: Sequence[Array]) -> npt.NDArray[np.float64]:
    """Return the finite values of evenly spaced rows of some images."""
    chosen = [image[:: -(-len(image) // ROWS)].astype(np.float64).ravel() for image in images]
    values = np.concatenate(chosen)
    return values[np.isfinite(values)]


def choose_norm(images: Sequence[Array], stretch: str, limits: Limits) -> Normalize:
    """Return the normalization that some images share.

    Parameters
    ----------
    images : sequence of ndarray, shape (rows, columns)
        The images.
    stretch : str
        One of `STRETCHES`.
    limits : str or (float, float)
        ``percentile``, ``zscale`` (of IRAF), or the lowest and the highest value to tell apart.

    Raises
    ------
    ModelError
        If the stretch or the limits are unknown, or ``log`` is asked for without positive values.
    """
    from astropy.visualization import AsinhStretch, ImageNormalize, LinearStretch
    from matplotlib.colors import LogNorm

    if stretch not in STRETCHES:
        raise ModelError(f"stretch {stretch!r} is not one of {', '.join(STRETCHES)}")
    values = sample_values(images)
    low, high = choose_limits(values, limits)
    if stretch == "log":
        if high <= 0:
            raise ModelError("the stretch log needs positive values, and there are none")
        return LogNorm(low if low > 0 else high * _DECADES, high, clip=False)
    if stretch == "linear":
        return ImageNormalize(vmin=low, vmax=high, stretch=LinearStretch())
    sky = np.percentile(values, SKY) if values.size else low
    share = max(float(sky - low) / (high - low), _SMALLEST) if low < sky < high else _USUAL
    return ImageNormalize(vmin=low, vmax=high, stretch=AsinhStretch(share))


def choose_limits(values: Array, limits: Limits) -> tuple[float, float]:
    """Return the lowest and the highest value to tell apart, of which the latter is greater.

    Parameters
    ----------
    values : ndarray
        Finite values.
    limits : str or (float, float)
        As for `choose_norm`.

    Raises
    ------
    ModelError
        If the limits are unknown, not finite, or not in order.
    """
    if not isinstance(limits, str):
        return _check_limits(limits)
    if limits == "percentile":
        bounds = np.percentile(values, (LOW, HIGH)) if values.size else (0.0, 1.0)
    elif limits == "zscale":
        bounds = _find_zscale(values)
    else:
        raise ModelError(f"limits {limits!r} are neither percentile nor zscale nor two numbers")
    low, high = map(float, bounds)
    return (low, high) if low < high else _widen(low)


def _check_limits(limits: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = map(float, limits)
    except (TypeError, ValueError) as error:
        raise ModelError(f"limits {limits!r} are not two numbers") from error
    if not (np.isfinite([low, high]).all() and low < high):
        raise ModelError(f"limits must be finite and in order, not {low:g} and {high:g}")
    return low, high


def choose_ticks(norm: Normalize) -> list[float]:
    """Return values, with few digits, whose brightnesses are about evenly spaced."""
    values = np.asarray(norm.inverse(np.linspace(0, 1, TICKS)), np.float64)
    gaps = np.diff(values)
    gaps = np.minimum(np.append(gaps, np.inf), np.insert(gaps, 0, np.inf))
    rounded = {_round(*pair) for pair in zip(values.tolist(), gaps.tolist(), strict=True)}
    assert norm.vmin is not None
    assert norm.vmax is not None
    return sorted(value for value in rounded if norm.vmin <= value <= norm.vmax)


def _round(value: float, gap: float) -> float:
    """Return a value rounded to the leading digit of the gap to its neighbour."""
    return round(value, -math.floor(math.log10(gap))) + 0.0 if gap > 0 else value  # -0.0 is 0.0


def _find_zscale(values: Array) -> tuple[float, float]:
    from astropy.visualization import ZScaleInterval

    if not values.size:
        return 0.0, 1.0
    low, high = ZScaleInterval().get_limits(values)
    return low, high


def _widen(value: float) -> tuple[float, float]:
    """Return limits around the only value that there is."""
    margin = max(abs(value) * 1e-3, 0.5)
    return value - margin, value + margin
