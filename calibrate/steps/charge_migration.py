"""Charge migration: flag groups of bright pixels that lost charge to their neighbours.

Source: jwst 3.0.0 ``charge_migration`` step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.parameters import Boolean, Float
from calbatch.calibrate.step import SkipStep, Step
from calbatch.calibrate.steps._ramps import as_ramp, for_kernels
from calbatch.models import dq
from calbatch.models.datamodels import RampModel
from calbatch.models.jit import inner_kernel, kernel
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

FEWEST_GROUPS = 3
"""Ramps need two groups besides the omitted ones."""

# Bytes, not integers: mixed widths prevent vectorization.
NONE = np.uint8(0)
DO_NOT_USE = np.uint8(dq.DO_NOT_USE)
LOST = np.uint8(dq.CHARGELOSS | dq.DO_NOT_USE)


class ChargeMigrationStep(Step):
    """Flag groups of pixels above a threshold, and of their four neighbours, from then on.

    In bright, undersampled stars, charge moves from a pixel to its neighbours before the pixel
    saturates. The fit omits such groups.
    """

    cal_step = "charge_migration"

    skip = Boolean(True, help="leave the exposure as it is and mark the step SKIPPED")
    signal_threshold = Float(
        25000.0, unit="DN", help="signal above which a pixel and its four neighbours are flagged"
    )

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with its affected groups flagged."""
        ramp = as_ramp(exposure)
        if ramp.shape[1] < FEWEST_GROUPS:
            raise SkipStep(f"{ramp.shape[1]} groups are fewer than {FEWEST_GROUPS}")
        return ramp.map_tiles(
            flag_charge_loss,
            outputs=("groupdq",),
            radius=1,
            threshold=self.signal_threshold,
        )


def flag_charge_loss(data: Array, groupdq: Array, *, threshold: float) -> Array:
    """Return group flags with CHARGELOSS and DO_NOT_USE where charge may have been lost.

    Parameters
    ----------
    data, groupdq : ndarray
        Linear counts (DN) and flags, (integrations, groups, rows, columns).
    threshold : float
        Signal (DN) above which a pixel loses charge. Groups whose only flag is DO_NOT_USE do not
        count.

    Returns
    -------
    ndarray
        Flags, shaped like ``groupdq``. The pixel and its four neighbours are flagged in the first
        group above the threshold and in all later ones of the integration.
    """
    samples, before = for_kernels(data, groupdq)
    flags = np.empty_like(before)
    for i in range(len(samples)):
        _flag_integration(samples[i], before[i], np.float32(threshold), flags[i])
    return flags


# Loops along a row are separate functions so that all of them are vectorized.


@inner_kernel
def _mark(data: Array, before: Array, threshold: np.float32, bright: Array) -> None:
    for x in range(data.size):
        counts = before[x] != DO_NOT_USE
        bright[x] |= LOST if (data[x] > threshold) & counts else NONE


@inner_kernel
def _flag_row(before: Array, below: Array, row: Array, above: Array, flags: Array) -> None:
    for x in range(flags.size):
        flags[x] = before[x] | below[x] | row[x] | above[x]
    for x in range(1, flags.size):
        flags[x] |= row[x - 1]
    for x in range(flags.size - 1):
        flags[x] |= row[x + 1]


@kernel
def _flag_integration(data: Array, before: Array, threshold: np.float32, flags: Array) -> None:
    """Flag the groups of one integration, in order of time."""
    groups, rows, cols = data.shape
    bright = np.zeros((rows + 2, cols), np.uint8)  # with a row of zeros at either edge
    for group in range(groups):
        for y in range(rows):
            _mark(data[group, y], before[group, y], threshold, bright[y + 1])
        for y in range(rows):
            _flag_row(before[group, y], bright[y], bright[y + 1], bright[y + 2], flags[group, y])
