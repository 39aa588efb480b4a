"""Linearity: correct the detector's non-linear response.

Source: jwst 3.0.0 ``linearity`` step and stcal 1.20 ``linearity_correction``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps._linearity_polynomial import linearize_groups, linearize_reads
from calbatch.calibrate.steps._ramps import (
    as_ramp,
    for_kernels,
    frames_of,
    read_times_of,
    zero_frames_of,
)
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import SATURATED
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import MAY_OVERWRITE

Array = npt.NDArray[Any]


class LinearityStep(Step):
    """Make counts proportional to charge with a polynomial for each pixel.

    If the reference also has inverse polynomials (INV_COEFFS), the reads averaged in a group are
    linearized individually.
    """

    reference_file_types = ("linearity",)
    cal_step = "linearity"

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with linear counts."""
        ramp = as_ramp(exposure)
        reference = self.open_reference(ramp, "linearity")
        coeffs = reference.rows("coeffs")
        if coeffs.shape[0] < 2:
            raise ReferenceFileError(f"{reference.path}: COEFFS has no linear term")
        averaged = reference.has("inv_coeffs") and not read_times_of(ramp)
        frames = frames_of(ramp) if averaged else 1
        zero = zero_frames_of(ramp)
        return ramp.map_tiles(
            linearize,
            outputs=("data", "pixeldq", *zero),
            optional=zero,
            coeffs=coeffs,
            reference_dq=reference.rows("dq") if reference.has("dq") else None,
            inverse=reference.rows("inv_coeffs") if frames > 1 else None,
            frames=frames,
            overwrite_data=MAY_OVERWRITE if frames == 1 else False,
        )


def linearize(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    zeroframe: Array | None = None,
    *,
    coeffs: Array,
    reference_dq: Array | None,
    inverse: Array | None,
    frames: int,
    overwrite_data: bool = False,
) -> tuple[Array, ...]:
    """Return linear counts and the pixel flags; saturated groups are unchanged.

    As in stcal, ``linear = sum(coeffs[k] * data**k)`` over the terms k.

    Parameters
    ----------
    data, groupdq : ndarray
        Bias-subtracted counts (DN) and group flags, (integrations, groups, rows, columns).
    pixeldq : ndarray
        Flags, (rows, columns).
    zeroframe : ndarray, optional
        First read of each integration (DN), (integrations, rows, columns). Zero marks unusable
        values, which stay zero. With these, the third result is the linear zero frames.
    reference_dq : ndarray or None
        The reference's flags, (rows, columns).
    coeffs : ndarray
        Coefficients of each pixel's polynomial in the counts, (terms, rows, columns), constant
        term first.
    inverse : ndarray or None
        Coefficients of the polynomials from linear to measured counts. With these, the ``frames``
        reads averaged in a group are reconstructed along a steady ramp and linearized one by one.
    frames : int
        Reads averaged in a group.
    overwrite_data : bool
        True if the result may take the place of ``data``; ignored with ``inverse``.

    Returns
    -------
    data, pixeldq : ndarray
        NO_LIN_CORR is set and counts are unchanged where the reference has that flag, a
        coefficient is NaN, or the linear coefficient is zero.
    """
    flagged = np.zeros_like(pixeldq) if reference_dq is None else reference_dq
    groupdq, coeffs, flagged = for_kernels(groupdq, coeffs, flagged)
    flags = pixeldq.copy()
    # A single group has no slope along which reads could be reconstructed.
    if inverse is None or data.shape[1] == 1:
        (linear,) = for_kernels(data if overwrite_data else data.copy())
        linearize_groups(groupdq, coeffs, flagged, linear, flags)
    else:
        data, inverse = for_kernels(data, inverse)
        linear = np.empty_like(data)
        linearize_reads(data, groupdq, coeffs, inverse, flagged, frames, linear, flags)
    if zeroframe is None:
        return linear, flags
    return linear, flags, _linearize_zero_frames(zeroframe, coeffs, flagged)


def _linearize_zero_frames(zeroframe: Array, coeffs: Array, flagged: Array) -> Array:
    """Return linear zero frames, as ramps of a single group; zero is left as it is."""
    unusable = np.where(zeroframe == 0, np.uint8(SATURATED), np.uint8(0))
    linear, groupdq = for_kernels(zeroframe[:, np.newaxis].copy(), unusable[:, np.newaxis])
    linearize_groups(groupdq, coeffs, flagged, linear, np.zeros_like(flagged))
    return linear[:, 0]
