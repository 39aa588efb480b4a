"""What the ramp fit's kernels work on and with: a tile, the rates to fill, and work space."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.ramp_fit.block import Block, Words, make_block
from calbatch.calibrate.steps.ramp_fit.clean import Whole
from calbatch.calibrate.steps.ramp_fit.plan import Plan

STRETCH = 8192
"""Samples of an integration taken at a time: what fits into the processor's inner caches."""

Array = npt.NDArray[np.float64]


class Exposure(NamedTuple):
    """A tile's arrays, its rows and columns as one axis of pixels.

    Attributes
    ----------
    data : ndarray of float32, (integrations, groups, pixels)
        Ramps, DN.
    groupdq : ndarray of uint8, (integrations, groups, pixels)
        Flags of samples.
    pixeldq : ndarray of uint32, (pixels,)
        Flags of pixels.
    gain : ndarray of float32, (pixels,)
        Electrons a DN.
    readnoise : ndarray of float32, (pixels,)
        Noise of the difference of two frames, DN.
    dark : ndarray of float32, (pixels,)
        Average dark current, DN/s.
    """

    data: npt.NDArray[np.float32]
    groupdq: npt.NDArray[np.uint8]
    pixeldq: Words
    gain: npt.NDArray[np.float32]
    readnoise: npt.NDArray[np.float32]
    dark: npt.NDArray[np.float32]


class Rates(NamedTuple):
    """Arrays to fill: (pixels,) for the exposure, (integrations, pixels) for its integrations."""

    data: npt.NDArray[np.float32]
    err: npt.NDArray[np.float32]
    dq: Words
    var_poisson: npt.NDArray[np.float32]
    var_rnoise: npt.NDArray[np.float32]


class IntegrationSums(NamedTuple):
    """What a pixel's integrations add up to.

    Attributes
    ----------
    slope, read, poisson : ndarray of float64
        Sum of slopes over read variances, of inverse read and of inverse Poisson variances.
    uncharged : ndarray of float64
        Sum of inverse read variances with the groups that charge loss took put back.
    charged : ndarray of uint8
        Whether charge loss took any group.
    whole : ndarray of float64
        How many integrations were whole ramps; they are not in the other sums but ``slope``.
    any_flag, every_flag : ndarray of uint32
        Flags of any other integration that pass to the rate; flags that all of them have.
    partial : ndarray of uint8
        SATURATED where any group was saturated.
    """

    slope: Array
    read: Array
    poisson: Array
    uncharged: Array
    whole: Array
    charged: npt.NDArray[np.uint8]
    any_flag: Words
    every_flag: Words
    partial: npt.NDArray[np.uint8]


class Stretch(NamedTuple):
    """Work space for a stretch of pixels; all arrays are (pixels,) but those said to be longer.

    Attributes
    ----------
    noise : ndarray of float64
        Read noise, electrons.
    dq : ndarray of uint32
        The pixels' flags, those of their gain included.
    valid : ndarray of uint8
        Whether those flags allow a rate.
    unfit : ndarray of uint8
        Whether the pixel must go the general path, flagged or not.
    odd : ndarray of uint8, (integrations, pixels)
        Not 0 where a ramp goes the general path.
    current : ndarray of float64
        Starting rate, then what makes the Poisson noise, DN/s.
    slope : ndarray of float64
        Slopes of whole ramps, DN/s.
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
    classes: npt.NDArray[np.uint8]
    differences: npt.NDArray[np.float32]
    whole: Whole
    sums: IntegrationSums
    block: Block


def make_stretch(pixels: int, integrations: int, plan: Plan) -> Stretch:
    """Return work space for stretches of a tile of ``pixels`` pixels."""
    size = min(max(STRETCH // (plan.stop - plan.start), 64), 512, pixels)

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
        classes=empty(np.uint8),
        differences=empty(np.float32, max(plan.last - plan.first - 1, 1)),
        whole=Whole(*empty(np.float64, 3), *empty(np.float32, 3)),
        sums=IntegrationSums(
            slope=empty(np.float64),
            read=empty(np.float64),
            poisson=empty(np.float64),
            uncharged=empty(np.float64),
            whole=empty(np.float64),
            charged=empty(np.uint8),
            any_flag=empty(np.uint32),
            every_flag=empty(np.uint32),
            partial=empty(np.uint8),
        ),
        block=make_block(size + 1, plan),
    )
