"""Picture frame: subtract the thermal pattern of NIRSpec's full frames.

Source: jwst 3.0.0 ``picture_frame`` step.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from calbatch.calibrate.parameters import Boolean, Float
from calbatch.calibrate.step import SkipStep, Step, StepError
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.calibrate.steps.picture_frame import pattern, regions
from calbatch.calibrate.steps.picture_frame.levels import (
    choose_bins,
    count_bins,
    count_levels,
    estimate_bytes,
    find_levels,
)
from calbatch.calibrate.steps.ramp_fit import RampFitStep
from calbatch.models.datamodels import ImageModel, RampModel
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import MAY_OVERWRITE, REGION, Reduction

FRAME_BYTES = 48
"""Bytes for each pixel of the frame while regions are chosen: copies of the draft rates."""

DRAFT_REFERENCES = ("gain", "readnoise")
"""References of the draft rates, whose overrides are those of this step."""


class PictureFrameStep(Step):
    """Subtract the thermal picture frame from each group of NIRSpec's full frames.

    The pattern of the reference is scaled to the difference between the levels at the centre and
    at the edges of each group. Levels are measured in pixels without sources, which are found in
    draft rates.
    """

    reference_file_types = ("pictureframe", "gain", "readnoise")
    cal_step = "picture_frame"

    skip = Boolean(True, help="leave the exposure as it is and mark the step SKIPPED")
    mask_science_regions = Boolean(
        True, help="mask spectra, which is not supported yet: must be False"
    )
    n_sigma = Float(2.0, unit="sigma", help="distance of sources from the background; 0 for none")
    save_mask = Boolean(False, help="write the mask of the background (_pctfrm_mask)")
    save_correction = Boolean(
        False, help="write the corrected minus the input ramp (_pctfrm_correction)"
    )

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp minus its picture frame.

        Raises
        ------
        SkipStep
            If the exposure is not a full frame of NIRSpec, or has a single group.
        StepError
            If spectra would have to be masked, which is not supported yet.
        """
        ramp = as_ramp(exposure)
        name, subarray = ramp.meta.instrument.name, str(ramp.meta.subarray.name).upper()
        if name != "NIRSPEC" or subarray != "FULL":
            raise SkipStep("only full frames of NIRSpec have a picture frame")
        if ramp.shape[1] == 1:
            raise SkipStep("a single group is too few")
        reference = self.open_reference(ramp, "pictureframe")
        if self.mask_science_regions:
            raise StepError(
                f"{ramp.path}: {self.name}.mask_science_regions = True is not supported yet: it "
                "needs the world coordinates of spectra; set it to False to mask sources only by "
                "their brightness"
            )
        slope = reference.rows("data")
        chosen = self._choose_regions(ramp, slope)
        levels = _measure_levels(ramp, chosen)
        arguments: dict[str, Any] = {"slope": slope, "levels": levels, "chosen": chosen}
        if self.save_mask:
            mask = ramp.map_tiles_into(
                {"mask": ImageModel}, regions.show_background, ("mask.data",),
                chosen=chosen, region=REGION,
            )["mask"]  # fmt: skip
            self.add_product("pctfrm_mask", mask)
        if self.save_correction:
            added = ramp.map_tiles_into(
                {"added": RampModel}, pattern.show_correction,
                ("added.data", "added.pixeldq", "added.groupdq"), **arguments,
            )["added"]  # fmt: skip
            self.add_product("pctfrm_correction", added)
        return ramp.map_tiles(
            pattern.subtract_pattern, ("data",), **arguments, overwrite_data=MAY_OVERWRITE
        )

    def _choose_regions(self, ramp: RampModel, slope: Any) -> Reduction:
        """Return the pixels in which levels are measured, chosen from draft rates."""
        overrides = {
            f"override_{kind}": getattr(self, f"override_{kind}") for kind in DRAFT_REFERENCES
        }
        draft, _ = RampFitStep(self.name, parent=self, **overrides).process(ramp)
        rows, columns = ramp.frame
        return draft.decide(
            regions.gather_draft,
            partial(regions.choose_regions, n_sigma=self.n_sigma),
            frame_bytes=FRAME_BYTES * rows * columns,
            slope=slope,
        )


def _measure_levels(ramp: RampModel, chosen: Reduction) -> Reduction:
    """Return the medians of the chosen pixels in each group, in two passes over the tiles."""
    size = estimate_bytes(ramp.shape)
    bins = ramp.decide(
        count_bins,
        partial(choose_bins, shape=ramp.shape),
        frame_bytes=size,
        chosen=chosen,
        region=REGION,
    )
    return ramp.decide(
        count_levels, find_levels, frame_bytes=size, chosen=chosen, bins=bins, region=REGION
    )
