"""DQ initialization: set the flags of each pixel from the detector's mask.

Source: jwst 3.0.0 ``dq_init`` step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.frames.stripes import is_stack, stack_reader, stripes_of
from calbatch.calibrate.parameters import InputFile
from calbatch.calibrate.step import Step, StepError
from calbatch.calibrate.steps._guide_stars import as_guider, is_guide_star
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import GuiderRawModel, RampModel
from calbatch.models.dq import DO_NOT_USE
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.readers import ConstantReader, Reader, RowReader
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]


class DQInitStep(Step):
    """Set pixel flags, and the group flags of unusable pixels, from the mask reference."""

    reference_file_types = ("mask",)
    cal_step = "dq_init"

    user_supplied_dq = InputFile(help="FITS file with additional flags, in the standard bits")

    def process(self, exposure: DataModel) -> RampModel | GuiderRawModel:
        """Return the ramp, or the guide-star exposure, with the mask's flags."""
        if is_guide_star(exposure):
            return self._flag_guider(as_guider(exposure))
        ramp = as_ramp(exposure, before_refpix=True)
        reference = self.open_reference(ramp, "mask")
        path, stripes = self.user_supplied_dq, stripes_of(ramp)
        user_dq = None
        if path is not None and stripes is not None and is_stack(ramp, stripes):
            user_dq = stack_reader(user_flags(path, (stripes.count, *stripes.shape)), stripes)
        elif path is not None:
            user_dq = user_flags(path, ramp.frame)
        return ramp.map_tiles(
            apply_mask,
            outputs=("pixeldq", "groupdq"),
            alone={"pixeldq": add_mask},
            mask=reference.rows("dq"),
            user_dq=user_dq,
        )

    def _flag_guider(self, guider: GuiderRawModel) -> GuiderRawModel:
        """Return a guide-star exposure with the mask's flags; its groups have no flags."""
        reference = self.open_reference(guider, "mask")
        path = self.user_supplied_dq
        flagged = guider.map_tiles(
            add_mask_to_guider,
            outputs=("dq",),
            mask=reference.rows("dq"),
            user_dq=None if path is None else user_flags(path, guider.frame),
        )
        if not flagged.has("err"):  # jwst's product has one, of zeros
            flagged.set_reader("err", ConstantReader(guider.shape, np.dtype(np.float32), 0.0))
        return flagged


def apply_mask(
    pixeldq: Array, groupdq: Array, *, mask: Array, user_dq: Array | None
) -> tuple[Array, Array]:
    """Return pixel and group flags combined with the mask's.

    Parameters
    ----------
    pixeldq, mask : ndarray
        Flags, (rows, columns).
    groupdq : ndarray
        Flags, (integrations, groups, rows, columns). DO_NOT_USE is added for unusable pixels, so
        that no ramp is fitted to them.
    user_dq : ndarray or None
        Additional flags, (rows, columns).
    """
    flags = mask if user_dq is None else mask | user_dq
    return (
        add_mask(pixeldq, mask=mask, user_dq=user_dq),
        groupdq | (flags & DO_NOT_USE).astype(np.uint8),
    )


def add_mask(pixeldq: Array, *, mask: Array, user_dq: Array | None) -> Array:
    """Return pixel flags combined with the mask's; for arguments see `apply_mask`."""
    flags: Array = pixeldq | (mask if user_dq is None else mask | user_dq)
    return flags


def add_mask_to_guider(dq: Array, *, mask: Array, user_dq: Array | None) -> Array:
    """Return a guide-star exposure's flags combined with the mask's; see `apply_mask`."""
    return add_mask(dq, mask=mask, user_dq=user_dq)


def user_flags(path: str, shape: tuple[int, ...]) -> Reader:
    """Return the first image of a file as flags of the exposure's pixels.

    Raises
    ------
    StepError
        If it does not have the given shape: rows and columns, or stripes, rows and columns.
    """
    images = [hdu for hdu in read_layout(path).hdus[:2] if hdu.kind in ("image", "compressed")]
    found = images[0].shape if images else "none"
    if found != shape:
        *planes, rows, columns = shape
        stripes = f"{planes[0]} planes of " if planes else ""
        raise StepError(
            f"{path}: user_supplied_dq must be an image of {stripes}{rows} rows and {columns} "
            f"columns, but is {found}"
        )
    return RowReader(images[0]).astype(np.uint32)
