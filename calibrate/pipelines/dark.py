"""Pipeline dark: raw dark exposures to corrected ramps."""

from __future__ import annotations

from collections.abc import Sequence

from calbatch.calibrate.pipeline import Pipeline, order_steps
from calbatch.calibrate.pipelines._detector_steps import MIRI, NEAR_INFRARED
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps._ramps import as_ramp, require_ramp
from calbatch.calibrate.steps.dq_init import DQInitStep
from calbatch.calibrate.steps.emicorr import EmiCorrStep
from calbatch.calibrate.steps.firstframe import FirstFrameStep
from calbatch.calibrate.steps.group_scale import GroupScaleStep
from calbatch.calibrate.steps.ipc import IPCStep
from calbatch.calibrate.steps.lastframe import LastFrameStep
from calbatch.calibrate.steps.linearity import LinearityStep
from calbatch.calibrate.steps.refpix import RefPixStep
from calbatch.calibrate.steps.reset import ResetStep
from calbatch.calibrate.steps.rscd import RSCDStep
from calbatch.calibrate.steps.saturation import SaturationStep
from calbatch.calibrate.steps.superbias import SuperBiasStep
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel


class DarkPipeline(Pipeline):
    """Correct dark ramps up to linearity; those of MIRI also for its reset-switch decay.

    The order and the parameters are those of jwst 3.0.0's ``calwebb_dark``.
    """

    step_defs = {
        "group_scale": GroupScaleStep,
        "dq_init": DQInitStep,
        "emicorr": EmiCorrStep,
        "saturation": SaturationStep,
        "ipc": IPCStep,
        "superbias": SuperBiasStep,
        "refpix": RefPixStep,
        "reset": ResetStep,
        "rscd": RSCDStep,
        "firstframe": FirstFrameStep,
        "lastframe": LastFrameStep,
        "linearity": LinearityStep,
    }
    suffixes = ("dark",)

    def steps_for(self, instrument: str | None) -> Sequence[Step]:
        """Return the steps for exposures of an instrument, in order; all of them for None."""
        if instrument is None:
            return super().steps_for(instrument)
        order, others = (MIRI, NEAR_INFRARED) if instrument == "MIRI" else (NEAR_INFRARED, MIRI)
        return order_steps(self.steps(), order, set(others) - set(order))

    def require_supported(self, exposure: DataModel) -> None:
        """Reject exposures that are no ramps, or in an unsupported readout; see the base class."""
        require_ramp(exposure, before_refpix=True)

    def process(self, exposure: DataModel) -> RampModel:
        """Return the corrected ramp, (integrations, groups, rows, columns).

        Raises
        ------
        StepError
            If the exposure is not a ramp, or its readout is not supported.
        """
        ramp = as_ramp(exposure, before_refpix=True)
        for step in self.steps_for(exposure.meta.instrument.name):
            ramp = step(ramp)
        return ramp
