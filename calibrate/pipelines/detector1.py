"""Pipeline detector1: raw ramps to count rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calbatch.calibrate.parameters import Boolean
from calbatch.calibrate.pipeline import Pipeline, order_steps
from calbatch.calibrate.pipelines._detector_steps import MIRI, NEAR_INFRARED
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps._ramps import as_ramp, require_ramp
from calbatch.calibrate.steps.charge_migration import ChargeMigrationStep
from calbatch.calibrate.steps.clean_flicker_noise import CleanFlickerNoiseStep
from calbatch.calibrate.steps.dark_current import DarkCurrentStep
from calbatch.calibrate.steps.dq_init import DQInitStep
from calbatch.calibrate.steps.emicorr import EmiCorrStep
from calbatch.calibrate.steps.firstframe import FirstFrameStep
from calbatch.calibrate.steps.gain_scale import GainScaleStep
from calbatch.calibrate.steps.group_scale import GroupScaleStep
from calbatch.calibrate.steps.ipc import IPCStep
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.calibrate.steps.lastframe import LastFrameStep
from calbatch.calibrate.steps.linearity import LinearityStep
from calbatch.calibrate.steps.persistence import PersistenceStep
from calbatch.calibrate.steps.picture_frame import PictureFrameStep
from calbatch.calibrate.steps.ramp_fit import RampFitStep
from calbatch.calibrate.steps.refpix import RefPixStep
from calbatch.calibrate.steps.reset import ResetStep
from calbatch.calibrate.steps.rscd import RSCDStep
from calbatch.calibrate.steps.saturation import SaturationStep
from calbatch.calibrate.steps.superbias import SuperBiasStep
from calbatch.models.model import DataModel

COMMON = (
    "charge_migration", "jump", "picture_frame", "clean_flicker_noise", "persistence", "ramp_fit",
    "gain_scale",
)  # fmt: skip
"""The steps that follow those of the detector."""

DETECTOR_STEPS = {
    **dict.fromkeys(("NIRCAM", "NIRISS", "NIRSPEC", "FGS"), (*NEAR_INFRARED, "dark_current")),
    "MIRI": (*MIRI, "dark_current", "refpix"),
}
"""The steps that correct the detector's effects, in order, by instrument."""


class Detector1Pipeline(Pipeline):
    """Calibrate ramps to count rates.

    The order and the parameters are those of jwst 3.0.0's ``calwebb_detector1``.
    """

    step_defs = {
        "group_scale": GroupScaleStep,
        "dq_init": DQInitStep,
        "emicorr": EmiCorrStep,
        "saturation": SaturationStep,
        "ipc": IPCStep,
        "superbias": SuperBiasStep,
        "refpix": RefPixStep,
        "firstframe": FirstFrameStep,
        "lastframe": LastFrameStep,
        "reset": ResetStep,
        "linearity": LinearityStep,
        "rscd": RSCDStep,
        "dark_current": DarkCurrentStep,
        "charge_migration": ChargeMigrationStep,
        "jump": JumpStep,
        "picture_frame": PictureFrameStep,
        "clean_flicker_noise": CleanFlickerNoiseStep,
        "persistence": PersistenceStep,
        "ramp_fit": RampFitStep,
        "gain_scale": GainScaleStep,
    }
    suffixes = ("rate", "rateints")

    save_calibrated_ramp = Boolean(False, help="write the ramp to which the slopes are fitted")

    def steps_for(self, instrument: str | None) -> Sequence[Step]:
        """Return the steps for exposures of an instrument, in order; all of them for None."""
        detector = DETECTOR_STEPS.get(instrument or "")
        if detector is None:
            return super().steps_for(instrument)
        others = {alias for steps in DETECTOR_STEPS.values() for alias in steps} - set(detector)
        return order_steps(self.steps(), (*detector, *COMMON), others)

    def require_supported(self, exposure: DataModel) -> None:
        """Reject exposures that are no ramps, or in an unsupported readout; see the base class."""
        require_ramp(exposure, before_refpix=True)

    def process(self, exposure: DataModel) -> Any:
        """Return (rate, rateints), or the corrected ramp if ramp_fit is skipped."""
        ramp: Any = as_ramp(exposure, before_refpix=True)
        for step in self.steps_for(exposure.meta.instrument.name):
            if step not in (self.ramp_fit, self.gain_scale):
                ramp = step(ramp)
        if self.save_calibrated_ramp:
            self.add_product("ramp", ramp)
        fitted = self.ramp_fit(ramp)
        if isinstance(fitted, DataModel):  # ramp_fit was skipped
            return fitted
        return tuple(self.gain_scale(model) for model in fitted)

    def add_products(self, result: Any) -> None:
        """Add the rates, or the ramp under its own suffix, to the products."""
        if isinstance(result, DataModel):
            self.add_product(self.suffix or "ramp", result)
        else:
            super().add_products(result)
