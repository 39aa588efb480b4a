"""Least-squares fits of a tile's ramps, and the values of the whole frame that they need.

Source: stcal 1.20 ``ramp_fitting`` with its algorithm OLS_C.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.steps.ramp_fit.frame import fit_pixels
from calbatch.calibrate.steps.ramp_fit.optional import Segments, count_planes, fit_segments
from calbatch.calibrate.steps.ramp_fit.plan import FitSettings, make_plan
from calbatch.calibrate.steps.ramp_fit.work import Rates, flatten_tile, make_stretch
from calbatch.models import dq

Array = npt.NDArray[Any]

FIELDS = ("data", "err", "dq", "var_poisson", "var_rnoise")
RATES = (*(f"rate.{f}" for f in FIELDS), *(f"rateints.{f}" for f in FIELDS))
OPTIONAL = (
    *("slope", "sigslope", "var_poisson", "var_rnoise", "yint", "sigyint", "weights"),
    *("pedestal", "crmag"),
)


def fit_ramps(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    average_dark_current: Array,
    zeroframe: Array | None = None,
    *,
    gain: Array,
    readnoise: Array,
    settings: FitSettings,
    group_range: tuple[int, int] | None = None,
) -> tuple[Array, ...]:
    """Return the rates of the exposure and of its integrations.

    Parameters
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns).
    pixeldq : ndarray
        Flags, (rows, columns).
    average_dark_current : ndarray
        Rate that contributes only to the Poisson noise (DN/s), (rows, columns).
    zeroframe : ndarray, optional
        First read of each integration (DN), (integrations, rows, columns), for ramps without a
        good group; 0 where unusable.
    gain : ndarray
        Gain (electron/DN), (rows, columns).
    readnoise : ndarray
        Noise of the difference of two frames (DN), (rows, columns).
    settings : FitSettings
        Times and options.
    group_range : tuple of int, optional
        The half-open range of groups to use; the others are treated as never read.

    Returns
    -------
    tuple of ndarray
        Rate (DN/s), error, flags, Poisson and read-noise variance, (rows, columns); the same for
        each integration, (integrations, rows, columns); and for each row the number of ramps that
        are not saturated from their first group on.
    """
    exposure = flatten_tile(
        data, groupdq, pixeldq, gain, readnoise, average_dark_current, zeroframe
    )
    integrations, groups, *frame = data.shape
    plan = make_plan(settings, groups, group_range)
    pixels = pixeldq.size
    rate, rateints = _empty_rates(*frame), _empty_rates(integrations, *frame)
    flat = _reshape(rate, 1, pixels), _reshape(rateints, integrations, pixels)
    work = make_stretch(pixels, integrations, plan)
    fit_pixels(exposure, plan, *flat, work)
    unsaturated = (groupdq[:, plan.start] & np.uint8(dq.SATURATED)) == 0
    return *rate, *rateints, np.count_nonzero(unsaturated, axis=(0, 2))


def fit_ramps_and_segments(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    average_dark_current: Array,
    zeroframe: Array | None = None,
    *,
    gain: Array,
    readnoise: Array,
    settings: FitSettings,
    planes: tuple[int, int],
    group_range: tuple[int, int] | None = None,
) -> tuple[Array, ...]:
    """Return the rates of `fit_ramps`, the optional results, and the counts of `fit_ramps`.

    Parameters
    ----------
    planes : tuple of int
        Numbers of planes for segments and for jumps.
    """
    *rates, unsaturated = fit_ramps(
        data, groupdq, pixeldq, average_dark_current, zeroframe,
        gain=gain, readnoise=readnoise, settings=settings, group_range=group_range,
    )  # fmt: skip
    exposure = flatten_tile(
        data, groupdq, pixeldq, gain, readnoise, average_dark_current, zeroframe
    )
    integrations, groups, *frame = data.shape
    plan = make_plan(settings, groups, group_range)
    segments, jumps = planes
    leading = [(integrations, segments)] * 7 + [(integrations,), (integrations, jumps)]
    optional = [np.zeros((*lead, *frame), np.float32) for lead in leading]
    flat = Segments(*(f.reshape(*f.shape[:-2], pixeldq.size) for f in optional))
    slopes = rates[RATES.index("rateints.data")].reshape(integrations, pixeldq.size)
    fit_segments(
        exposure,
        plan,
        slopes,
        settings.pedestal_factor,
        flat,
        make_stretch(pixeldq.size, integrations, plan),
    )
    return *rates, *optional, unsaturated


def _empty_rates(*shape: int) -> Rates:
    data, err, var_poisson, var_rnoise = (np.empty(shape, np.float32) for _ in range(4))
    return Rates(data, err, np.empty(shape, np.uint32), var_poisson, var_rnoise)


def _reshape(rates: Rates, *shape: int) -> Rates:
    views: list[Any] = [array.reshape(shape) for array in rates]
    return Rates(*views)


# -- over the frame ----------------------------------------------------------------------------


def usable_groups(groupdq: Array, *, settings: FitSettings) -> Array:
    """Return the mask of groups that at least one ramp can use, (groups,)."""
    flags = groupdq.copy()
    first, stop = settings.window
    flags[:, :first] |= np.uint8(dq.DO_NOT_USE)
    flags[:, stop:] |= np.uint8(dq.DO_NOT_USE)
    if settings.suppress_one_group and groupdq.shape[1] > 1:
        good = np.sum(flags & np.uint8(~dq.PERSISTENCE & 0xFF) == 0, axis=1, keepdims=True)
        flags |= np.where(good == 1, np.uint8(dq.DO_NOT_USE), np.uint8(0))
    usable: Array = np.any(flags & np.uint8(dq.DO_NOT_USE) == 0, axis=(0, 2, 3))
    return usable


def are_all_usable(regions: list[Array]) -> bool:
    """Return whether every group is usable in at least one region."""
    return bool(np.all(np.any(regions, axis=0)))


def find_group_range(regions: list[Array], *, where: str) -> tuple[int, int]:
    """Return the half-open range of groups to fit in MIRI ramps.

    It excludes leading groups, and the last group, if they are DO_NOT_USE in the whole frame.

    Raises
    ------
    StepError
        If fewer than two groups remain.
    """
    usable = np.any(regions, axis=0)
    start = int(np.argmax(usable)) if usable.any() else usable.size
    stop = usable.size - 1 if start < usable.size and not usable[-1] else usable.size
    if stop - start < 2:
        raise StepError(
            f"{where}: MIRI ramps need 2 groups that are not DO_NOT_USE in the whole frame, but "
            f"have {max(stop - start, 0)}"
        )
    return start, stop


def gather_planes(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    zeroframe: Array | None = None,
    *,
    settings: FitSettings,
    group_range: tuple[int, int] | None,
) -> tuple[int, int]:
    """Return the largest number of segments, and of jumps, of any ramp in a region."""
    blank = np.ones(pixeldq.shape, np.float32)
    exposure = flatten_tile(data, groupdq, pixeldq, blank, blank, blank, zeroframe)
    plan = make_plan(settings, data.shape[1], group_range)
    segments, jumps = count_planes(exposure, plan, make_stretch(pixeldq.size, data.shape[0], plan))
    return segments, jumps


class Planes(NamedTuple):
    """Numbers of planes of the optional results: for segments, and for jumps."""

    segments: int
    jumps: int


def most_planes(regions: list[tuple[int, int]]) -> Planes:
    """Return the numbers of planes of the optional results, each at least one."""
    segments, jumps = np.max(regions, axis=0)
    return Planes(max(int(segments), 1), max(int(jumps), 1))
