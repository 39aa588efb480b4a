"""Reset: subtract the reset anomaly of MIRI's first groups.

Source: jwst 3.0.0 ``reset`` step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.step import SkipStep, Step
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]


class ResetStep(Step):
    """Subtract the reset anomaly from the first groups of each integration.

    The anomaly differs by integration: the reference's last one stands for all further ones.
    """

    reference_file_types = ("reset",)
    cal_step = "reset"

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp less the anomaly."""
        ramp = as_ramp(exposure)
        if not str(exposure.meta.instrument.detector).startswith("MIR"):
            raise SkipStep("only MIRI has a reset anomaly")
        reference = self.open_reference(ramp, "reset")
        ints, groups, integration = select_planes(ramp, reference)
        return ramp.map_tiles(
            subtract_reset,
            outputs=("data", "pixeldq"),
            anomaly=reference.rows("data").planes((slice(*ints), slice(0, groups))),
            anomaly_dq=reference.rows("dq"),
            integration=integration,
        )


def select_planes(
    ramp: RampModel, reference: DataModel
) -> tuple[tuple[int, int], int, tuple[int, ...]]:
    """Return which of the reference's integrations and groups an exposure takes.

    Returns
    -------
    integrations : tuple of int
        Begin and end of those to be read.
    groups : int
        How many groups are corrected: those of the exposure that the reference has.
    integration : tuple of int
        For each integration of the exposure, its place among those read. A segment of a longer
        exposure counts from INTSTART.
    """
    ramp_shape: Any = ramp.shape
    shape: Any = reference.shape
    known = reference.meta.exposure
    last = min(known.nints or shape[0], shape[0]) - 1
    start = (header_number(ramp, "meta.exposure.integration_start") or 1) - 1
    taken = [min(start + i, last) for i in range(ramp_shape[0])]
    groups = min(known.ngroups or shape[1], shape[1], ramp_shape[1])
    return (taken[0], taken[-1] + 1), groups, tuple(i - taken[0] for i in taken)


def subtract_reset(
    data: Array,
    pixeldq: Array,
    *,
    anomaly: Array,
    anomaly_dq: Array,
    integration: tuple[int, ...],
) -> tuple[Array, Array]:
    """Return the ramp less the reset anomaly, and the pixel flags with the reference's.

    Parameters
    ----------
    data : ndarray
        Counts (DN), (integrations, groups, rows, columns).
    pixeldq, anomaly_dq : ndarray
        Flags, (rows, columns).
    anomaly : ndarray
        The anomaly (DN) of the first groups, (its integrations, its groups, rows, columns); NaN
        counts as none, and later groups have none.
    integration : tuple of int
        For each integration of the exposure, which of the reference's it takes.
    """
    result = data.copy()
    for counts, which in zip(result, integration, strict=True):
        level = anomaly[which]
        counts[: len(level)] -= np.where(np.isnan(level), np.float32(0), level)
    return result, pixeldq | anomaly_dq
