"""Make the contribution of a tile to the cleaning: draft rates, and differences of groups.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``make_rate``, ``do_correction``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.clean_flicker_noise.loops import subtract_usable_groups
from calbatch.calibrate.steps.flat_field import usable_flat
from calbatch.calibrate.steps.ramp_fit.least_squares import RATES
from calbatch.models.dq import DO_NOT_USE, NON_SCIENCE
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class DraftFit:
    """The fit of draft rates, and those of its products that are needed.

    Attributes
    ----------
    kernel : callable
        The fit, such as `calbatch.calibrate.steps.ramp_fit.least_squares.fit_ramps`.
    products : tuple of str
        Which of ``rate.data``, ``rateints.data``, ``rate.dq`` and ``rateints.dq`` are needed; flags
        only where they show pixels outside science regions.
    """

    kernel: Callable[..., Any]
    products: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyRows:
    """A tile's rows of draft rates and of differences.

    Attributes
    ----------
    differences : ndarray of float32
        Differences of successive groups, divided by the flat, (integrations, groups - 1, rows,
        columns); NaN where the later group is DO_NOT_USE or JUMP_DET.
    rates : mapping
        The products of the draft fit by name, (rows, columns) or (integrations, rows, columns).
        Rates are divided by the flat.
    mask : ndarray of bool or None
        The user's mask, (rows, columns) or (integrations, rows, columns).
    excluded : ndarray of bool or None
        True for pixels outside science regions, shaped like the rates in which sources are found.
    """

    differences: Array
    rates: Mapping[str, Array]
    mask: Array | None = None
    excluded: Array | None = None


def gather_noise(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    average_dark_current: Array,
    zeroframe: Array | None = None,
    *,
    draft: DraftFit,
    gain: Array,
    readnoise: Array,
    region: Region,
    settings: Any,
    group_range: tuple[int, int] | None = None,
    flat: Array | None = None,
    user_mask: Array | None = None,
    science_flat: Array | None = None,
    science_flat_dq: Array | None = None,
) -> NoisyRows:
    """Return the draft rates and the differences of a tile.

    Parameters
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns).
    pixeldq, average_dark_current, zeroframe, gain, readnoise, settings, group_range
        As for the draft fit.
    draft : DraftFit
        The fit of draft rates.
    region : Region
        The rows and columns of the exposure that the arrays cover.
    flat : ndarray, optional
        The flat of the whole exposure, without unusable pixels, (rows, columns).
    user_mask : ndarray, optional
        Nonzero for background pixels, (rows, columns) or (integrations, rows, columns).
    science_flat, science_flat_dq : ndarray, optional
        A flat and its flags, which show pixels outside science regions, (rows, columns).
    """
    options: dict[str, Any] = {"gain": gain, "readnoise": readnoise, "settings": settings}
    if group_range is not None:
        options["group_range"] = group_range
    ramp: tuple[Array, ...] = (data, groupdq, pixeldq, average_dark_current)
    if zeroframe is not None:
        ramp = (*ramp, zeroframe)
    fitted = dict(zip(RATES, draft.kernel(*ramp, **options), strict=False))
    rates = {name: fitted[name] for name in draft.products if name.endswith(".data")}
    excluded = None
    for name in (name for name in draft.products if name.endswith(".dq")):
        flags = fitted[name]
        if science_flat is not None and science_flat_dq is not None:
            flags = flags | usable_flat(science_flat, science_flat_dq)[1]
        excluded = flags & (DO_NOT_USE | NON_SCIENCE) != 0
    differences = subtract_groups(data, groupdq)
    if flat is not None:
        rows = cut_to_region(flat, region)
        differences /= rows
        rates = {name: rate / rows for name, rate in rates.items()}
    mask = None if user_mask is None else user_mask != 0
    return NoisyRows(differences=differences, rates=rates, mask=mask, excluded=excluded)


def gather_differences(
    data: Array,
    groupdq: Array,
    *,
    user_mask: Array,
    region: Region,
    flat: Array | None = None,
) -> NoisyRows:
    """Return the differences and the user's mask of a tile.

    Parameters
    ----------
    data, groupdq, user_mask, region, flat
        As for `gather_noise`.
    """
    differences = subtract_groups(data, groupdq)
    if flat is not None:
        differences /= cut_to_region(flat, region)
    return NoisyRows(differences=differences, rates={}, mask=user_mask != 0)


def cut_to_region(array: Array, region: Region) -> Array:
    """Return the rows and columns of a region from an array of the whole frame."""
    (top, bottom), (left, right) = region
    return array[..., top:bottom, left:right]


def subtract_groups(data: Array, groupdq: Array) -> Array:
    """Return the differences of successive groups.

    Parameters
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns).

    Returns
    -------
    ndarray of float32, (integrations, groups - 1, rows, columns)
        NaN where the later group is DO_NOT_USE or JUMP_DET.
    """
    integrations, groups, *frame = data.shape
    differences = np.empty((integrations, groups - 1, *frame), np.float32)
    pixels = math.prod(frame)
    subtract_usable_groups(
        np.ascontiguousarray(data).reshape(integrations, groups, pixels),
        np.ascontiguousarray(groupdq).reshape(integrations, groups, pixels),
        differences.reshape(integrations, groups - 1, pixels),
    )
    return differences
