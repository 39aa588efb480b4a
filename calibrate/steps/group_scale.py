"""Group scale: correct on-board averages whose divisor is not the number of frames.

Source: jwst 3.0.0 ``group_scale`` step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.step import SkipStep, Step
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import MAY_OVERWRITE

Array = npt.NDArray[Any]


class GroupScaleStep(Step):
    """Scale all groups by FRMDIVSR / NFRAMES.

    On board, the sum of a group's frames is divided by FRMDIVSR, a power of 2 that may differ from
    the number of frames.
    """

    cal_step = "group_scale"

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with its groups scaled."""
        ramp = as_ramp(exposure, before_refpix=True)
        frames = header_number(ramp, "meta.exposure.nframes")
        factor = group_scale_factor(frames, header_number(ramp, "meta.exposure.frame_divisor"))
        return ramp.map_tiles(
            scale_groups, outputs=("data",), factor=factor, overwrite_data=MAY_OVERWRITE
        )


def group_scale_factor(frames: int | None, divisor: int | None) -> float:
    """Return the factor ``divisor / frames`` for all groups.

    Raises
    ------
    SkipStep
        If a number is missing or both are equal.
    """
    if frames is None:
        raise SkipStep("the header lacks NFRAMES")
    if divisor is None:
        raise SkipStep("the header lacks FRMDIVSR")
    if frames == divisor:
        raise SkipStep("NFRAMES and FRMDIVSR are equal")
    return divisor / frames


def scale_groups(data: Array, *, factor: float, overwrite_data: bool = False) -> Array:
    """Return the counts (DN) times ``factor``, in the data's own precision.

    With ``overwrite_data``, they take the place of ``data``.
    """
    return np.multiply(data, np.float32(factor), out=data if overwrite_data else None)
