"""Code for MIRI: checks shared by its steps, and searches of its flags."""

from collections.abc import Callable, Sequence
from typing import Any

from calbatch.calibrate.step import SkipStep
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import Reduction, Region


def as_miri_ramp(exposure: DataModel, effect: str) -> RampModel:
    """Return an exposure of MIRI as a ramp; see `calbatch.calibrate.steps._ramps.as_ramp`.

    Parameters
    ----------
    exposure : DataModel
        The exposure.
    effect : str
        The effect that the step corrects, named in the reason for skipping other exposures.

    Raises
    ------
    SkipStep
        If the exposure is of another instrument.
    StepError
        If it is not a ramp that can be corrected.
    """
    ramp = as_ramp(exposure)
    if not str(ramp.meta.instrument.detector).upper().startswith("MIR"):
        raise SkipStep(f"only MIRI has {effect}")
    return ramp


def search_flags(
    ramp: RampModel,
    gather: Callable[..., Any],
    combine: Callable[[list[Any]], Any],
    regions: Sequence[Region] | None = None,
    *,
    until: Callable[[list[Any]], bool],
    **arguments: Any,
) -> Reduction:
    """Return a value of the whole frame that its first rows usually decide.

    For most instruments, the value is a reduction that stops in the first rows. The last group of
    MIRI's ramps is unusable everywhere, so all rows are searched. The value is then a decision, for
    which tiles are kept instead of being computed twice. The parameters are those of
    `RampModel.reduce`.
    """
    if ramp.meta.instrument.name == "MIRI":
        return ramp.decide(gather, combine, frame_bytes=0, **arguments)
    return ramp.reduce(gather, combine, regions, until=until, **arguments)
