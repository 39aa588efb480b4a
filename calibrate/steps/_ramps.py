"""Checks and header values shared by the steps that correct ramps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.frames.stripes import stack_stripes, stripes_of
from calbatch.calibrate.numbers import header_number, required_number
from calbatch.calibrate.steps._guide_stars import is_guide_star
from calbatch.calibrate.steps._interleaving import ROWS, is_interleaved, layout_of
from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.models.datamodels import RampModel
from calbatch.models.jit import for_kernel
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

_MOST_FRAMES = 65_535

READ_TIMES = "meta.exposure.read_times"


def as_ramp(exposure: DataModel, *, before_refpix: bool = False) -> RampModel:
    """Return an exposure as a ramp; missing DQ arrays are zero.

    Every step that corrects or fits ramps calls this first, so that a step on its own rejects the
    same exposures as a pipeline. Steps up to refpix accept the interleaved reference pixels of
    IRS2, and superstripes, which they receive as a stack (`calbatch.calibrate.frames.stripes`).

    Raises
    ------
    StepError
        If the exposure is not a ramp, its readout is not supported yet, or its groups are
        impossible.
    """
    require_ramp(exposure, before_refpix=before_refpix)
    stripes = stripes_of(exposure)
    if stripes is not None and stripes.is_super:
        exposure = stack_stripes(exposure, stripes)
    return exposure if isinstance(exposure, RampModel) else RampModel(exposure)


def require_ramp(exposure: DataModel, *, before_refpix: bool = False) -> None:
    """Reject an exposure that `as_ramp` rejects.

    Parameters
    ----------
    exposure : DataModel
        The exposure, of which no pixel is read.
    before_refpix : bool
        True for steps up to refpix; see `as_ramp`.

    Raises
    ------
    StepError
        As `as_ramp`.
    """
    if exposure.shape is None or len(exposure.shape) != 4:
        raise StepError(
            f"{exposure.path}: must be a ramp, (integrations, groups, rows, columns), "
            f"but its shape is {exposure.shape}"
        )
    if is_interleaved(exposure):
        _require_stripped(exposure, before_refpix)
    refuse_readouts(exposure)
    _require_possible_counts(exposure)
    stripes = stripes_of(exposure)
    if stripes is not None and stripes.is_super and not before_refpix:
        raise StepError(
            f"{exposure.path}: its integrations are superstripes (SSTR_NST = {stripes.count}), "
            "which the step refpix has to collate first"
        )


def refuse_readouts(exposure: DataModel) -> None:
    """Reject readouts that the steps would calibrate incorrectly.

    Raises
    ------
    StepError
        For guide-star exposures, and IRS2 in another layout or with zero frames.
    """
    meta, shape = exposure.meta, exposure.shape
    if is_guide_star(exposure):
        raise StepError(
            f"{exposure.path}: guide-star exposures (EXP_TYPE = {meta.exposure.type}) are "
            "calibrated by another pipeline: calbatch run guider"
        )
    if _is_irs2(exposure):
        raise StepError(
            f"{exposure.path}: IRS2 readout (READPATT = {meta.exposure.readpatt}) is not supported "
            f"for an array of {shape[-2]} rows and {shape[-1]} columns, which should have {ROWS} "
            f"rows and {DETECTOR} columns, or have been through refpix (S_REFPIX = COMPLETE)"
        )
    if has_zero_frame(exposure) and "IRS2" in str(meta.exposure.readpatt):
        raise StepError(
            f"{exposure.path}: zero frames (ZEROFRAM = T) cannot be calibrated in IRS2 readout, "
            "nor can jwst calibrate them: set ZEROFRAM = F and remove the extension ZEROFRAME"
        )


def _require_stripped(exposure: DataModel, accepted: bool) -> None:
    """Reject an exposure that has interleaved pixels where a step cannot use it."""
    layout_of(exposure)
    if not accepted:
        raise StepError(
            f"{exposure.path}: its {ROWS} rows include the interleaved reference pixels of IRS2 "
            "readout, which the step refpix has to remove first"
        )


def _require_possible_counts(model: DataModel) -> None:
    """Reject groups without frames, and groups that overlap.

    Missing numbers are reported by the steps that need them.

    Raises
    ------
    StepError
        If NFRAMES is not positive, GROUPGAP is negative, or either is absurdly large (steps loop
        over the frames of a group).
    """
    for path, least in (("meta.exposure.nframes", 1), ("meta.exposure.groupgap", 0)):
        value = model[path]
        if isinstance(value, int) and not least <= value <= _MOST_FRAMES:
            keyword = model.schema.keywords[path].keyword
            bound = f"least {least}" if value < least else f"most {_MOST_FRAMES}"
            where = model.path or type(model).__name__
            raise StepError(f"{where}: {keyword} must be at {bound}, is {value}")


def _is_irs2(exposure: DataModel) -> bool:
    """Return whether an exposure is in a layout of IRS2 that no step knows.

    After refpix has removed the interleaved pixels, an IRS2 ramp is like any other.
    """
    if is_interleaved(exposure):
        return False
    if max(exposure.shape[-2:]) > DETECTOR and exposure.meta.instrument.name == "NIRSPEC":
        return True
    removed = exposure.meta.cal_step.refpix == "COMPLETE"
    return "IRS2" in str(exposure.meta.exposure.readpatt) and not removed


def has_zero_frame(exposure: DataModel) -> bool:
    """Return whether an exposure has zero frames that are to be corrected along with its groups.

    As in jwst, ZEROFRAM = T says so. Without it, a ZEROFRAME extension stays as it is.
    """
    wanted = bool(header_number(exposure, "meta.exposure.zero_frame"))
    return wanted and exposure.has("zeroframe")


def zero_flags(data: Array) -> tuple[Array, Array]:
    """Return PIXELDQ and GROUPDQ of zero for a ramp, as optional products have in jwst."""
    return np.zeros(data.shape[-2:], np.uint32), np.zeros(data.shape, np.uint8)


def zero_frames_of(exposure: DataModel) -> tuple[str, ...]:
    """Return the optional field of kernels that correct zero frames, if there are any."""
    return ("zeroframe",) if has_zero_frame(exposure) else ()


def read_times_of(exposure: DataModel) -> list[Any]:
    """Return the times (s) of the reads of each group; an empty list if the exposure has none.

    Files hold this list in the ASDF extension, since no keyword can.

    Raises
    ------
    StepError
        If there is something else in its place.
    """
    found = exposure.meta.exposure.read_times or exposure.value_in_asdf(READ_TIMES) or ()
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise StepError(f"{exposure.path}: read_times must be lists of numbers, is {found!r:.60}")
    return list(found)


@dataclass(frozen=True)
class Readout:
    """Sampling of a ramp: number of groups, frames averaged per group, frames skipped between."""

    groups: int
    frames: int
    gap: int

    @classmethod
    def of(cls, model: DataModel) -> Readout:
        """Return the readout of an exposure or of a dark.

        Raises
        ------
        StepError
            If the header lacks a number or holds a value of another type.
        """
        _require_possible_counts(model)
        shape: Any = model.shape
        return cls(
            shape[-3], frames_of(model), int(required_number(model, "meta.exposure.groupgap"))
        )


def frames_of(model: DataModel) -> int:
    """Return the number of frames averaged in a group."""
    return int(required_number(model, "meta.exposure.nframes"))


def for_kernels(*arrays: Array) -> Iterator[Array]:
    """Yield arrays in the layout that kernels expect; see `calbatch.models.jit.for_kernel`."""
    return map(for_kernel, arrays)
