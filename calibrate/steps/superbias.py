"""Superbias: subtract the detector's bias frame.

Source: jwst 3.0.0 ``superbias`` step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.step import Step
from calbatch.calibrate.steps._ramps import as_ramp, has_zero_frame
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]


class SuperBiasStep(Step):
    """Subtract the superbias from every group, and from the zero frames."""

    reference_file_types = ("superbias",)
    cal_step = "superbias"

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp minus its bias."""
        ramp = as_ramp(exposure, before_refpix=True)
        reference = self.open_reference(ramp, "superbias")
        zero = has_zero_frame(ramp)
        return ramp.map_tiles(
            subtract_bias_with_zero_frames if zero else subtract_bias,
            outputs=("data", "pixeldq", "zeroframe") if zero else ("data", "pixeldq"),
            alone={"pixeldq": add_flags},
            bias=reference.rows("data"),
            bias_dq=reference.rows("dq"),
        )


def subtract_bias(
    data: Array, pixeldq: Array, *, bias: Array, bias_dq: Array
) -> tuple[Array, Array]:
    """Return the ramp minus its bias, and the pixel flags combined with the bias's.

    Parameters
    ----------
    data : ndarray
        Counts (DN), (integrations, groups, rows, columns).
    pixeldq, bias_dq : ndarray
        Flags, (rows, columns).
    bias : ndarray
        Bias (DN), (rows, columns); NaN counts as zero.
    """
    flags = add_flags(pixeldq, bias_dq=bias_dq)
    return data - np.where(np.isnan(bias), np.float32(0), bias), flags


def subtract_bias_with_zero_frames(
    data: Array, pixeldq: Array, zeroframe: Array, *, bias: Array, bias_dq: Array
) -> tuple[Array, Array, Array]:
    """Return the results of `subtract_bias`, and the zero frames minus the bias.

    Parameters
    ----------
    zeroframe : ndarray
        First read of each integration (DN), (integrations, rows, columns). Zero marks unusable
        values, which stay zero.
    """
    corrected, flags = subtract_bias(data, pixeldq, bias=bias, bias_dq=bias_dq)
    first, _ = subtract_bias(zeroframe, pixeldq, bias=bias, bias_dq=bias_dq)
    return corrected, flags, np.where(zeroframe == 0, np.float32(0), first)


def add_flags(pixeldq: Array, *, bias_dq: Array) -> Array:
    """Return pixel flags combined with the bias's, (rows, columns)."""
    flags: Array = pixeldq | bias_dq
    return flags
