"""Pipeline dark: raw dark exposures to corrected ramps."""

from __future__ import annotations

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.calibrate.steps.dq_init import DQInitStep
from calbatch.calibrate.steps.group_scale import GroupScaleStep
from calbatch.calibrate.steps.ipc import IPCStep
from calbatch.calibrate.steps.linearity import LinearityStep
from calbatch.calibrate.steps.refpix import RefPixStep
from calbatch.calibrate.steps.saturation import SaturationStep
from calbatch.calibrate.steps.superbias import SuperBiasStep
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel


class DarkPipeline(Pipeline):
    """Correct near-infrared dark ramps up to linearity.

    The order and the parameters are those of jwst 3.0.0's ``calwebb_dark``.
    """

    step_defs = {
        "group_scale": GroupScaleStep,
        "dq_init": DQInitStep,
        "saturation": SaturationStep,
        "ipc": IPCStep,
        "superbias": SuperBiasStep,
        "refpix": RefPixStep,
        "linearity": LinearityStep,
    }
    suffixes = ("dark",)

    def process(self, exposure: DataModel) -> RampModel:
        """Return the corrected ramp, (integrations, groups, rows, columns).

        Raises
        ------
        StepError
            If the exposure is not a ramp, or its detector is not supported.
        """
        ramp = as_ramp(exposure, before_refpix=True)
        if exposure.meta.instrument.name == "MIRI":
            raise StepError(f"{exposure.path}: dark does not support MIRI yet")
        for step in self.steps().values():
            ramp = step(ramp)
        return ramp
