"""Inputs, outputs and work space of the ramp fit's kernels."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.ramp_fit.block import Block, Words, make_block
from calbatch.calibrate.steps.ramp_fit.plan import Plan
from calbatch.calibrate.steps.ramp_fit.starting import Steps, make_steps
from calbatch.calibrate.steps.ramp_fit.unflagged import Whole

STRETCH = 131072
"""Samples of an integration per stretch, which fit into the processor's inner caches."""
MIN_STRETCH, MAX_STRETCH = 512, 2048
"""Range of the number of pixels per stretch: short loops cost more than reading outer caches."""

Array = npt.NDArray[np.float64]
Samples = npt.NDArray[Any]


class Exposure(NamedTuple):
    """A tile's arrays, with rows and columns as a single axis of pixels.

    Attributes
    ----------
    data : ndarray of float32, (integrations, groups, pixels)
        Ramps, DN.
    groupdq : ndarray of uint8, (integrations, groups, pixels)
        Flags of samples.
    pixeldq : ndarray of uint32, (pixels,)
        Flags of pixels.
    gain : ndarray of float32, (pixels,)
        Gain, electron/DN.
    readnoise : ndarray of float32, (pixels,)
        Noise of the difference of two frames, DN.
    dark : ndarray of float32, (pixels,)
        Average dark current, DN/s.
    zero : ndarray of float32, (integrations, pixels)
        Zero frames, DN, for ramps without a good group; 0 where unusable. Without zero frames, the
        shape is (integrations, 0).
    """

    data: npt.NDArray[np.float32]
    groupdq: npt.NDArray[np.uint8]
    pixeldq: Words
    gain: npt.NDArray[np.float32]
    readnoise: npt.NDArray[np.float32]
    dark: npt.NDArray[np.float32]
    zero: npt.NDArray[np.float32]


def flatten_tile(
    data: Samples,
    groupdq: Samples,
    pixeldq: Samples,
    gain: Samples,
    readnoise: Samples,
    dark: Samples,
    zeroframe: Samples | None,
) -> Exposure:
    """Return a tile's arrays, (…, rows, columns), with a single axis of pixels.

    They are read-only, whether the given ones are or not: numba compiles kernels for either kind.
    """
    zero = np.empty((len(data), 0, 0)) if zeroframe is None else zeroframe
    given = (data, groupdq, pixeldq, gain, readnoise, dark, zero)
    dtypes = (np.float32, np.uint8, np.uint32, np.float32, np.float32, np.float32, np.float32)
    flat: list[Any] = []
    for values, dtype in zip(given, dtypes, strict=True):
        array = np.ascontiguousarray(values, dtype)
        array = array.reshape(*array.shape[:-2], math.prod(array.shape[-2:]))
        array.flags.writeable = False
        flat.append(array)
    return Exposure(*flat)


class Rates(NamedTuple):
    """Rates to fill: (pixels,) for the exposure, (integrations, pixels) for its integrations."""

    data: npt.NDArray[np.float32]
    err: npt.NDArray[np.float32]
    dq: Words
    var_poisson: npt.NDArray[np.float32]
    var_rnoise: npt.NDArray[np.float32]


class IntegrationSums(NamedTuple):
    """Sums over a pixel's integrations.

    Attributes
    ----------
    slope, inv_var_read, inv_var_poisson : ndarray of float64
        Sums of ``slope / var^R``, ``1 / var^R`` and ``1 / var^P``.
    uncharged : ndarray of float64
        Sum of ``1 / var^R`` that includes groups flagged for charge loss.
    charged : ndarray of uint8
        1 if any group is flagged for charge loss.
    whole : ndarray of float64
        Number of integrations with unflagged ramps, which only ``slope`` includes.
    any_flag, every_flag : ndarray of uint32
        Flags of any other integration that pass to the rate; flags shared by all of them.
    partial : ndarray of uint8
        SATURATED if any group is saturated.
    """

    slope: Array
    inv_var_read: Array
    inv_var_poisson: Array
    uncharged: Array
    whole: Array
    charged: npt.NDArray[np.uint8]
    any_flag: Words
    every_flag: Words
    partial: npt.NDArray[np.uint8]


class Fits(NamedTuple):
    """Scratch for the fits of a block: the ramps' properties and results, (ramps,).

    Attributes
    ----------
    gain, noise, current : ndarray of float64
        See `Pixel`.
    slope, inv_var_read, inv_var_poisson, inv_var : ndarray of float64
        Sums over segments: ``slope / var^R``, ``1 / var^R``, ``1 / var^P`` and ``1 / var^C``.
    rate, err, var_read, var_poisson : ndarray of float64
        The rate, its error and its variances, as in the products.
    ratio : ndarray of float64
        The signal-to-noise ratio.
    uncharged : ndarray of float64
        ``1 / var^R`` that includes groups flagged for charge loss.
    runs, start, stop : ndarray of int32
        Number of segments, and the groups of the last one, half-open.
    dq : ndarray of uint32
        Flags of the integration.
    usable, fitted : ndarray of uint8
        Not 0 if the flags allow a rate; if there is one.
    """

    gain: Array
    noise: Array
    current: Array
    slope: Array
    inv_var_read: Array
    inv_var_poisson: Array
    inv_var: Array
    rate: Array
    err: Array
    var_read: Array
    var_poisson: Array
    ratio: Array
    uncharged: Array
    runs: npt.NDArray[np.int32]
    start: npt.NDArray[np.int32]
    stop: npt.NDArray[np.int32]
    dq: Words
    usable: npt.NDArray[np.uint8]
    fitted: npt.NDArray[np.uint8]


def make_fits(ramps: int) -> Fits:
    """Return scratch for a number of ramps."""
    dtypes = [np.float64] * 13 + [np.int32] * 3 + [np.uint32] + [np.uint8] * 2
    arrays: list[Any] = [np.empty(ramps, dtype) for dtype in dtypes]
    return Fits(*arrays)


class Stretch(NamedTuple):
    """Work space for a stretch of pixels; arrays are (pixels,) unless stated otherwise.

    Attributes
    ----------
    noise : ndarray of float64
        Read noise, electrons.
    dq : ndarray of uint32
        The pixels' flags, including those of their gain.
    valid : ndarray of uint8
        1 if these flags allow a rate.
    unfit : ndarray of uint8
        1 if the pixel takes the general path, flagged or not.
    odd : ndarray of uint8, (integrations, pixels)
        Not 0 if a ramp takes the general path.
    current : ndarray of float64
        Starting rate, later the rate of the Poisson noise, DN/s.
    slope : ndarray of float64
        Slopes of unflagged ramps, DN/s.
    differences : ndarray of float32, (groups - 1, pixels)
        Sorted for their median.
    """

    noise: Array
    dq: Words
    valid: npt.NDArray[np.uint8]
    unfit: npt.NDArray[np.uint8]
    odd: npt.NDArray[np.uint8]
    current: Array
    slope: Array
    spoiled: npt.NDArray[np.float32]
    ratio: Array
    differences: npt.NDArray[np.float32]
    whole: Whole
    sums: IntegrationSums
    block: Block
    steps: Steps
    fits: Fits


def make_stretch(pixels: int, integrations: int, plan: Plan) -> Stretch:
    """Return work space for stretches of a tile of ``pixels`` pixels."""
    size = min(max(STRETCH // (plan.stop - plan.start), MIN_STRETCH), MAX_STRETCH, pixels)

    def empty(dtype: type, *leading: int) -> Any:
        return np.empty((*leading, size), dtype)

    return Stretch(
        noise=empty(np.float64),
        dq=empty(np.uint32),
        valid=empty(np.uint8),
        unfit=empty(np.uint8),
        odd=empty(np.uint8, integrations),
        current=empty(np.float64),
        slope=empty(np.float64),
        spoiled=empty(np.float32),
        ratio=empty(np.float64),
        differences=empty(np.float32, max(plan.last - plan.first - 1, 1)),
        whole=Whole(*empty(np.float64, 3), *empty(np.float32, 3)),
        sums=IntegrationSums(
            slope=empty(np.float64),
            inv_var_read=empty(np.float64),
            inv_var_poisson=empty(np.float64),
            uncharged=empty(np.float64),
            whole=empty(np.float64),
            charged=empty(np.uint8),
            any_flag=empty(np.uint32),
            every_flag=empty(np.uint32),
            partial=empty(np.uint8),
        ),
        block=make_block(size + 1, plan),
        steps=make_steps(size + 1, plan),
        fits=make_fits(size + 1),
    )
