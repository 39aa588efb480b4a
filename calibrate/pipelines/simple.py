"""Pipeline simple: bias, dark and, for MIRI, reset anomaly."""

from __future__ import annotations

from typing import Any

from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.steps.dark_current import DarkCurrentStep
from calbatch.calibrate.steps.reset import ResetStep
from calbatch.calibrate.steps.superbias import SuperBiasStep
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel


class SimplePipeline(Pipeline):
    """Subtract bias and dark; for MIRI also the reset anomaly."""

    step_defs = {"bias": SuperBiasStep, "dark": DarkCurrentStep, "reset": ResetStep}
    suffixes = ("ramp",)

    def process(self, exposure: DataModel) -> Any:
        """Return the corrected ramp."""
        exposure = self.bias(RampModel(exposure))
        exposure = self.dark(exposure)
        if exposure.meta.instrument.name == "MIRI":
            exposure = self.reset(exposure)
        return exposure
