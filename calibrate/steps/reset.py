"""Reset: subtract the reset anomaly of MIRI's first groups.

Source: jwst 3.0.0 ``reset`` step.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import ReferenceFileError, StepError
from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.step import SkipStep, Step
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import MAY_OVERWRITE

Array = npt.NDArray[Any]


class ResetStep(Step):
    """Subtract the reset anomaly from the first groups of each integration.

    The anomaly differs between integrations; the reference's last one is used for all further ones.
    """

    reference_file_types = ("reset",)
    cal_step = "reset"

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp minus the anomaly."""
        ramp = as_ramp(exposure)
        if not str(exposure.meta.instrument.detector).startswith("MIR"):
            raise SkipStep("only MIRI has a reset anomaly")
        reference = self.open_reference(ramp, "reset")
        planes = select_planes(ramp, reference)
        return ramp.map_tiles(
            subtract_reset,
            outputs=("data", "pixeldq"),
            anomaly=reference.rows("data").planes(planes.slices),
            anomaly_dq=reference.rows("dq"),
            integration=planes.integration,
            overwrite_data=MAY_OVERWRITE,
        )


class AnomalyPlanes(NamedTuple):
    """The planes of a reset reference that apply to an exposure.

    Attributes
    ----------
    start, stop : int
        The range of the reference's integrations to read.
    groups : int
        Number of groups to correct: those of the exposure that the reference also has.
    integration : tuple of int
        The index, within that range, for each integration of the exposure.
    """

    start: int
    stop: int
    groups: int
    integration: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, slice]:
        """The slices of integrations and groups to read."""
        return slice(self.start, self.stop), slice(0, self.groups)


def select_planes(ramp: RampModel, reference: DataModel) -> AnomalyPlanes:
    """Return the planes of the reference that apply to an exposure.

    The integrations of a segment of a longer exposure are counted from INTSTART.

    Raises
    ------
    StepError
        If the exposure's first integration has a negative number.
    ReferenceFileError
        If the reference's header has a negative number of integrations or groups.
    """
    ramp_shape: Any = ramp.shape
    shape: Any = reference.shape
    header = reference.meta.exposure
    for keyword, number in (("NINTS", header.nints), ("NGROUPS", header.ngroups)):
        if number is not None and number < 0:
            raise ReferenceFileError(f"{reference.path}: {keyword} = {number} is negative")
    last = min(header.nints or shape[0], shape[0]) - 1
    start = (header_number(ramp, "meta.exposure.integration_start") or 1) - 1
    if start < 0:
        raise StepError(f"{ramp.path}: INTSTART must be at least 1, is {start + 1}")
    indices = [min(start + i, last) for i in range(ramp_shape[0])]
    groups = min(header.ngroups or shape[1], shape[1], ramp_shape[1])
    first = indices[0]
    return AnomalyPlanes(first, indices[-1] + 1, groups, tuple(i - first for i in indices))


def subtract_reset(
    data: Array,
    pixeldq: Array,
    *,
    anomaly: Array,
    anomaly_dq: Array,
    integration: tuple[int, ...],
    overwrite_data: bool = False,
) -> tuple[Array, Array]:
    """Return the ramp minus the reset anomaly, and the pixel flags with the reference's.

    Parameters
    ----------
    data : ndarray
        Counts (DN), (integrations, groups, rows, columns).
    pixeldq, anomaly_dq : ndarray
        Flags, (rows, columns).
    anomaly : ndarray
        The anomaly (DN), (its integrations, its groups, rows, columns). NaN counts as zero, and
        groups beyond the reference's have no anomaly.
    integration : tuple of int
        The index of the reference's integration for each integration of the exposure.
    overwrite_data : bool
        True if the result may take the place of ``data``.
    """
    result = data if overwrite_data else data.copy()
    for counts, which in zip(result, integration, strict=True):
        for group, level in zip(counts, anomaly[which], strict=False):
            group -= np.where(np.isnan(level), np.float32(0), level)
    return result, pixeldq | anomaly_dq
