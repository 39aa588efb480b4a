"""Make the contribution of a tile to the cleaning: draft rates, and the groups themselves.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``make_rate``, ``do_correction``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from calbatch.calibrate.steps._ramps import for_kernels
from calbatch.calibrate.steps.clean_flicker_noise.loops import subtract_usable
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
class NoisyRows(ABC):
    """A tile's rows of the frames that are cleaned, and of the rates in which sources are found.

    Its arrays are those of the tile where possible: it is kept until the noise is known, and
    frames are made one at a time.

    Attributes
    ----------
    rates : mapping
        The products of the draft fit by name, (rows, columns) or (integrations, rows, columns).
        Rates are divided by the flat.
    flat : ndarray or None
        The flat by which frames are divided, (rows, columns).
    mask : ndarray of bool or None
        The user's mask, (rows, columns) or (integrations, rows, columns).
    excluded : ndarray of bool or None
        True for pixels outside science regions, shaped like the rates in which sources are found.
    """

    rates: Mapping[str, Array]
    flat: Array | None = None
    mask: Array | None = None
    excluded: Array | None = None

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of integrations, frames in each, rows and columns."""

    @abstractmethod
    def write_frame(self, integration: int, number: int, out: Array) -> None:
        """Write the rows of one frame, divided by the flat.

        Parameters
        ----------
        integration, number : int
            Indices of the integration, and of the frame in it.
        out : ndarray of float32, (rows, columns)
            Receives the frame; NaN where it is unusable.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class RampRows(NoisyRows):
    """A tile's rows of a ramp, whose frames are the differences of successive groups.

    Attributes
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns).
    """

    data: Array
    groupdq: Array

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of integrations, differences in each, rows and columns."""
        integrations, groups, rows, columns = self.data.shape
        return integrations, max(groups - 1, 0), rows, columns

    def write_frame(self, integration: int, number: int, out: Array) -> None:
        """Write the difference between group ``number + 1`` and the one before.

        It is NaN where the later group is DO_NOT_USE or JUMP_DET.
        """
        groups = self.data[integration]
        flags = self.groupdq[integration, number + 1]
        subtract_usable(*for_kernels(groups[number + 1], groups[number], flags), out)
        if self.flat is not None:
            out /= self.flat


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
) -> RampRows:
    """Return the draft rates of a tile, and its ramp.

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
    rows = None if flat is None else cut_to_region(flat, region)
    if rows is not None:
        rates = {name: rate / rows for name, rate in rates.items()}
    mask = None if user_mask is None else user_mask != 0
    return RampRows(
        data=data, groupdq=groupdq, rates=rates, flat=rows, mask=mask, excluded=excluded
    )


def gather_ramp(
    data: Array,
    groupdq: Array,
    *,
    user_mask: Array,
    region: Region,
    flat: Array | None = None,
) -> RampRows:
    """Return the ramp and the user's mask of a tile.

    Parameters
    ----------
    data, groupdq, user_mask, region, flat
        As for `gather_noise`.
    """
    rows = None if flat is None else cut_to_region(flat, region)
    return RampRows(data=data, groupdq=groupdq, rates={}, flat=rows, mask=user_mask != 0)


def cut_to_region(array: Array, region: Region) -> Array:
    """Return the rows and columns of a region from an array of the whole frame."""
    (top, bottom), (left, right) = region
    return array[..., top:bottom, left:right]
