"""Pipeline detector1: raw ramps to count rates."""

from __future__ import annotations

from typing import Any

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.parameters import Boolean
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.calibrate.steps.charge_migration import ChargeMigrationStep
from calbatch.calibrate.steps.clean_flicker_noise import CleanFlickerNoiseStep
from calbatch.calibrate.steps.dark_current import DarkCurrentStep
from calbatch.calibrate.steps.dq_init import DQInitStep
from calbatch.calibrate.steps.gain_scale import GainScaleStep
from calbatch.calibrate.steps.group_scale import GroupScaleStep
from calbatch.calibrate.steps.ipc import IPCStep
from calbatch.calibrate.steps.jump import JumpStep
from calbatch.calibrate.steps.linearity import LinearityStep
from calbatch.calibrate.steps.persistence import PersistenceStep
from calbatch.calibrate.steps.picture_frame import PictureFrameStep
from calbatch.calibrate.steps.ramp_fit import RampFitStep
from calbatch.calibrate.steps.refpix import RefPixStep
from calbatch.calibrate.steps.saturation import SaturationStep
from calbatch.calibrate.steps.superbias import SuperBiasStep
from calbatch.models.model import DataModel


class Detector1Pipeline(Pipeline):
    """Calibrate near-infrared ramps to count rates.

    The order and the parameters are those of jwst 3.0.0's ``calwebb_detector1``.
    """

    step_defs = {
        "group_scale": GroupScaleStep,
        "dq_init": DQInitStep,
        "saturation": SaturationStep,
        "ipc": IPCStep,
        "superbias": SuperBiasStep,
        "refpix": RefPixStep,
        "linearity": LinearityStep,
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

    def process(self, exposure: DataModel) -> Any:
        """Return (rate, rateints), or the corrected ramp if ramp_fit is skipped."""
        ramp: Any = as_ramp(exposure, interleaved=True)
        if exposure.meta.instrument.name == "MIRI":
            raise StepError(f"{exposure.path}: detector1 does not support MIRI yet")
        before_fit = [s for a, s in self.steps().items() if a not in ("ramp_fit", "gain_scale")]
        for step in before_fit:
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
