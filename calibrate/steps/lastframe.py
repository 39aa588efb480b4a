"""Last frame: exclude the last group of each integration of MIRI.

Source: jwst 3.0.0 ``lastframe`` step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.step import SkipStep, Step
from calbatch.calibrate.steps._miri import as_miri_ramp
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import DO_NOT_USE
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

MIN_GROUPS = 3
"""Minimum number of groups of an exposure; with fewer, no group is excluded."""


class LastFrameStep(Step):
    """Flag the last group of each integration as DO_NOT_USE.

    The reset that follows disturbs it.
    """

    cal_step = "lastframe"

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with its last groups flagged."""
        ramp = as_miri_ramp(exposure, "a disturbed last group")
        if ramp.shape[1] < MIN_GROUPS:
            raise SkipStep(f"{ramp.shape[1]} groups are too few to exclude the last one")
        return ramp.map_tiles(flag_last_group, outputs=("groupdq",))


def flag_last_group(groupdq: Array) -> Array:
    """Return flags, (integrations, groups, rows, columns), with DO_NOT_USE in the last group."""
    flags = groupdq.copy()
    flags[:, -1] |= np.uint8(DO_NOT_USE)
    return flags
