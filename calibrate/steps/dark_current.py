"""Dark current: subtract the detector's dark ramp.

Source: jwst 3.0.0 ``dark_current`` step and stcal 1.20 ``dark_sub``.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.parameters import Float, Text
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps._dark_levels import DarkLevels, subtract_levels
from calbatch.calibrate.steps._ramps import Readout, as_ramp, for_kernels
from calbatch.models.datamodels import DarkMIRIModel, DarkModel, RampModel
from calbatch.models.fits.readers import ConstantReader, Reader
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import MAY_OVERWRITE

Array = npt.NDArray[Any]

log = logging.getLogger(__name__)

MANY = 2**31
"""More integrations than any dark has."""


class DarkCurrentStep(Step):
    """Subtract the dark, averaged or extrapolated to the exposure's groups, from every group.

    MIRI's darks differ between integrations; the last one is used for all further integrations.
    """

    reference_file_types = ("dark",)
    cal_step = "dark_sub"

    dark_output = Text(None, none=True, help="file name for the dark as it is subtracted")
    average_dark_current = Float(
        None, none=True, unit="electron/s", help="rate that adds to the noise; None: the dark's own"
    )

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp minus the dark."""
        ramp = as_ramp(exposure)
        reference = self.open_reference(ramp, "dark")
        integration = dark_integrations(ramp, reference)
        rate = choose_average_rate(ramp, reference, self.average_dark_current)
        if rate is not None:
            ramp.set_reader("average_dark_current", rate)
        if self.dark_output is not None:
            self._add_dark(ramp, reference)
        return ramp.map_tiles(
            subtract_dark,
            outputs=("data", "pixeldq"),
            levels=levels_of(ramp, reference, max(integration) + 1),
            dark_dq=flags_of(reference),
            integration=integration,
            overwrite_data=MAY_OVERWRITE,
        )

    def shared_files(self) -> Mapping[str, str]:
        """Return ``dark_output`` if it names a file; see the base class."""
        if self.dark_output is None:
            return {}
        return {"dark_output": "leave it out, or run one batch for each exposure, each with a name"}

    def _add_dark(self, ramp: RampModel, reference: DataModel) -> None:
        """Add the dark, resampled to the exposure's groups, to the products."""
        saved = (DarkMIRIModel if len(reference.shape or ()) == 4 else DarkModel)()
        saved._inherit(reference)
        saved.set_reader("data", choose_saved_levels(ramp, reference))
        saved.set_reader("dq", reference.rows("dq"))
        saved.dq_def = None  # the flags have been translated
        readout = Readout.of(ramp)
        saved.meta.exposure.nframes, saved.meta.exposure.groupgap = readout.frames, readout.gap
        saved.meta.exposure.ngroups = saved.shape[-3]
        folder = ramp.path.parent if ramp.path else Path()
        saved.path = folder / Path(str(self.dark_output)).name
        self.add_product("", saved)


def subtract_dark(
    data: Array,
    pixeldq: Array,
    *,
    levels: Array,
    dark_dq: Array,
    integration: tuple[int, ...],
    overwrite_data: bool = False,
) -> tuple[Array, Array]:
    """Return the ramp minus the dark, and the pixel flags combined with the dark's.

    Parameters
    ----------
    data : ndarray
        Counts (DN), (integrations, groups, rows, columns).
    pixeldq : ndarray
        Flags, (rows, columns).
    levels : ndarray
        Dark of each group (DN), (groups, rows, columns) or (integrations, groups, rows, columns);
        NaN counts as zero.
    dark_dq : ndarray
        Flags, (rows, columns) or (dark integrations, 1, rows, columns), which are combined.
    integration : tuple of int
        The index of the dark's integration for each integration of the exposure.
    overwrite_data : bool
        True if the result may take the place of ``data``.
    """
    result, levels = for_kernels(data if overwrite_data else data.copy(), levels)
    subtract_levels(levels.reshape(-1, *levels.shape[-3:]), np.array(integration), result)
    if dark_dq.ndim == 4:
        dark_dq = np.bitwise_or.reduce(dark_dq[:, 0], axis=0)
    return result, pixeldq | dark_dq


def levels_of(ramp: RampModel, reference: DataModel, integrations: int) -> Reader:
    """Return the first integrations of the dark, resampled to the exposure's groups.

    Raises
    ------
    ReferenceFileError
        If the dark's groups cannot be resampled to the exposure's.
    """
    readout, sampling = Readout.of(ramp), Readout.of(reference)
    same_readout = (readout.frames, readout.gap) == (sampling.frames, sampling.gap)
    if not same_readout and (sampling.frames, sampling.gap) != (1, 0):
        raise ReferenceFileError(
            f"{reference.path}: averages {sampling.frames} frames and skips {sampling.gap}, but "
            f"the exposure averages {readout.frames} and skips {readout.gap}: the dark must do the "
            "same, or have single frames"
        )
    dark = reference.rows("data")
    if len(dark.shape) == 4:
        dark = dark.planes(slice(0, integrations))
    step, count = (1, 1) if same_readout else (readout.frames + readout.gap, readout.frames)
    levels = DarkLevels(dark, readout.groups, step, count, averages=not same_readout)
    if levels.missing:
        _warn_of_extrapolation(reference, levels)
    elif same_readout:
        lead = (slice(None),) * (len(dark.shape) - 3)
        return dark.planes((*lead, slice(0, readout.groups)))
    return levels


def _warn_of_extrapolation(reference: DataModel, levels: DarkLevels) -> None:
    if levels.frames < 2:
        raise ReferenceFileError(
            f"{reference.path}: has one group, too few to extrapolate to the exposure's groups"
        )
    log.warning(
        "%s: has %d frames, but the exposure needs %d: extrapolated from its last two",
        reference.path, levels.frames, levels.frames + levels.missing,
    )  # fmt: skip


def dark_integrations(ramp: RampModel, reference: DataModel) -> tuple[int, ...]:
    """Return the index of the dark's integration for each integration of the exposure.

    As in jwst, a segment that does not begin with the first integration uses the dark's last one.
    """
    shape: Any = reference.shape
    count = shape[0] if len(shape) == 4 else 1
    first = header_number(ramp, "meta.exposure.integration_start") in (None, 1)
    integrations: Any = ramp.shape
    return tuple(min(i, count - 1) if first else count - 1 for i in range(integrations[0]))


def flags_of(reference: DataModel) -> Reader:
    """Return the dark's flags; if it has several integrations, the first plane of each."""
    flags = reference.rows("dq")
    return flags.planes((slice(None), slice(0, 1))) if len(flags.shape) == 4 else flags


def choose_average_rate(
    ramp: RampModel, reference: DataModel, given: float | None
) -> Reader | None:
    """Return the average dark current of each pixel, which adds to the noise of the rates.

    With jwst's precedence, it is the given one, or else the image in the dark unless its sum is
    zero, or else the number in the dark's header. As in jwst, an image applies only to a ramp that
    already has such an array; otherwise the result is None.
    """
    if given is None and reference.has("average_dark_current"):
        image = reference.rows("average_dark_current")
        if np.sum(image.whole()) != 0:
            if ramp.has("average_dark_current"):
                return image
            log.warning(
                "%s: its AVDRKCUR image is not applied: the ramp has none that it could replace; "
                "jwst ignores it likewise",
                reference.path,
            )
            return None
    if given is None:
        given = header_number(reference, "meta.exposure.average_dark_current")
    return ConstantReader(ramp.frame, np.dtype(np.float32), given or 0.0)


def choose_saved_levels(ramp: RampModel, reference: DataModel) -> Reader:
    """Return the dark as jwst saves it: resampled, or all of a dark with the exposure's readout."""
    levels = levels_of(ramp, reference, MANY)
    dark = reference.rows("data")
    whole = levels if isinstance(levels, DarkLevels) else dark
    return whole.then(replace_nan, np.dtype(np.float32))


def replace_nan(levels: Array) -> Array:
    """Return levels with 0 for NaN, in single precision."""
    return np.nan_to_num(levels, nan=0.0, posinf=np.inf, neginf=-np.inf).astype(np.float32)
