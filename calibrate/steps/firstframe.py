"""First frame: exclude the first group of each integration of MIRI.

Source: jwst 3.0.0 ``firstframe`` step, where it is deprecated: `rscd` excludes first groups.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.parameters import Boolean
from calbatch.calibrate.step import SkipStep, Step
from calbatch.calibrate.steps._miri import as_miri_ramp
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import DO_NOT_USE, FLUX_ESTIMATED, SATURATED
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

MIN_GROUPS = 4
"""Minimum number of groups of an exposure; with fewer, no group is excluded."""


class FirstFrameStep(Step):
    """Flag the first group of each integration as DO_NOT_USE.

    Switched off by default: `rscd` excludes the first groups.
    """

    cal_step = "firstframe"

    skip = Boolean(True, help="leave the exposure as it is and mark the step SKIPPED")
    bright_use_group1 = Boolean(
        True, help="do not flag the first group of ramps that are saturated in their third"
    )

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with its first groups flagged."""
        ramp = as_miri_ramp(exposure, "a disturbed first group")
        if ramp.shape[1] < MIN_GROUPS:
            raise SkipStep(f"{ramp.shape[1]} groups are too few to exclude the first one")
        return ramp.map_tiles(
            flag_first_group, outputs=("groupdq", "pixeldq"), keep_bright=self.bright_use_group1
        )


def flag_first_group(groupdq: Array, pixeldq: Array, *, keep_bright: bool) -> tuple[Array, Array]:
    """Return flags with DO_NOT_USE in the first group.

    Parameters
    ----------
    groupdq : ndarray
        Flags, (integrations, groups, rows, columns), at least three groups.
    pixeldq : ndarray
        Flags, (rows, columns).
    keep_bright : bool
        True to leave the first group of ramps that are SATURATED in the third group.

    Returns
    -------
    groupdq, pixeldq : ndarray
        The flags; FLUX_ESTIMATED marks pixels that keep the first group of an integration.
    """
    flags = groupdq.copy()
    kept = np.zeros_like(flags[:, 0], dtype=np.bool_)
    if keep_bright:
        kept = flags[:, 2] & np.uint8(SATURATED) != 0
    flags[:, 0] |= np.where(kept, np.uint8(0), np.uint8(DO_NOT_USE))
    estimated = np.where(kept.any(axis=0), np.uint32(FLUX_ESTIMATED), np.uint32(0))
    return flags, pixeldq | estimated
