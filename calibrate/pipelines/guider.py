"""Pipeline guider: guide-star exposures to count rates."""

from __future__ import annotations

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.steps._guide_stars import as_guider, as_guider_rates, require_guide_star
from calbatch.calibrate.steps.dq_init import DQInitStep
from calbatch.calibrate.steps.flat_field import FlatFieldStep
from calbatch.calibrate.steps.guider_cds import GuiderCdsStep
from calbatch.models.datamodels import GuiderRawModel
from calbatch.models.model import DataModel


class GuiderPipeline(Pipeline):
    """Calibrate guide-star exposures to count rates.

    The order and the parameters are those of jwst 3.0.0's ``calwebb_guider``.
    """

    step_defs = {"dq_init": DQInitStep, "guider_cds": GuiderCdsStep, "flat_field": FlatFieldStep}
    suffixes = ("cal",)

    def require_supported(self, exposure: DataModel) -> None:
        """Reject exposures that are not of guide stars; see the base class."""
        require_guide_star(exposure)

    def process(self, exposure: DataModel) -> DataModel:
        """Return the rates divided by the flat.

        Raises
        ------
        StepError
            If the exposure is not of a guide star, or there are no rates for the flat.
        """
        has_rates = self.dq_init.skip and self.guider_cds.skip
        result: DataModel = as_guider_rates(exposure) if has_rates else as_guider(exposure)
        for step in self.steps().values():
            if step is self.flat_field:
                self._require_rates(result)
            result = step(result)
        return result

    def _require_rates(self, model: DataModel) -> None:
        if isinstance(model, GuiderRawModel) and not self.flat_field.skip:
            raise StepError(
                f"{model.path}: guider_cds was skipped, so flat_field has no rates to divide: skip "
                "it as well, or run guider_cds with a gain and a readnoise reference"
            )
