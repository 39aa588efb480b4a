"""Checks shared by the steps that apply to MIRI only."""

from calbatch.calibrate.step import SkipStep
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel


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
