"""Superbias: subtract the detector's bias frame.

Source: jwst 3.0.0 ``superbias`` step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.step import Step
from calbatch.calibrate.steps._dark_levels import subtract_known
from calbatch.calibrate.steps._ramps import as_ramp, for_kernels, zero_frames_of
from calbatch.models.datamodels import RampModel
from calbatch.models.jit import view_kernel
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import MAY_OVERWRITE

Array = npt.NDArray[Any]


class SuperBiasStep(Step):
    """Subtract the superbias from every group, and from the zero frames."""

    reference_file_types = ("superbias",)
    cal_step = "superbias"

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp minus its bias."""
        ramp = as_ramp(exposure, before_refpix=True)
        reference = self.open_reference(ramp, "superbias")
        zero = zero_frames_of(ramp)
        return ramp.map_tiles(
            subtract_bias,
            outputs=("data", "pixeldq", *zero),
            optional=zero,
            alone={"pixeldq": add_flags},
            bias=reference.rows("data"),
            bias_dq=reference.rows("dq"),
            overwrite_data=MAY_OVERWRITE,
        )


def subtract_bias(
    data: Array,
    pixeldq: Array,
    zeroframe: Array | None = None,
    *,
    bias: Array,
    bias_dq: Array,
    overwrite_data: bool = False,
) -> tuple[Array, ...]:
    """Return the ramp minus its bias, and the pixel flags combined with the bias's.

    Parameters
    ----------
    data : ndarray
        Counts (DN), (integrations, groups, rows, columns).
    pixeldq, bias_dq : ndarray
        Flags, (rows, columns).
    zeroframe : ndarray, optional
        First read of each integration (DN), (integrations, rows, columns). Zero marks unusable
        values, which stay zero. With these, the third result is the zero frames minus the bias.
    bias : ndarray
        Bias (DN), (rows, columns); NaN counts as zero.
    overwrite_data : bool
        True if the result may take the place of ``data``.
    """
    flags = add_flags(pixeldq, bias_dq=bias_dq)
    known = np.broadcast_to(bias, data.shape[-2:])
    given = data if overwrite_data else data.astype(np.result_type(data, bias))
    result, known = for_kernels(given, known)
    subtract_from_groups(known, result)
    if zeroframe is None:
        return result, flags
    known = np.where(np.isnan(bias), np.float32(0), bias)
    return result, flags, np.where(zeroframe == 0, np.float32(0), zeroframe - known)


@view_kernel
def subtract_from_groups(bias: Array, data: Array) -> None:
    """Subtract the bias, (rows, columns), from every group of a ramp, in place."""
    integrations, groups, rows, _ = data.shape
    for i in range(integrations):
        for group in range(groups):
            for y in range(rows):
                subtract_known(bias[y], data[i, group, y])


def add_flags(pixeldq: Array, *, bias_dq: Array) -> Array:
    """Return pixel flags combined with the bias's, (rows, columns)."""
    flags: Array = pixeldq | bias_dq
    return flags
