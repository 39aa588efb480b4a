"""The floor: the reading and writing of detector1 without any arithmetic.

``calbatch run floor:FloorPipeline`` reads each row of the exposure and of the references of
detector1 once, and writes files like its products, with the same readers and writer.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.pipeline import Pipeline
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps.dark_current import levels_of
from calbatch.models.datamodels import CubeModel, ImageModel, RampModel
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

FIELDS = ("data", "err", "dq", "var_poisson", "var_rnoise")
READ = {
    "mask": ("dq",),
    "saturation": ("data", "dq"),
    "superbias": ("data", "dq"),
    "linearity": ("coeffs", "dq"),
    "dark": ("dq",),
    "gain": ("data",),
    "readnoise": ("data",),
}
"""Reference types and their arrays; the groups of the dark are read as well."""


def pass_on(
    data: Array,
    *,
    mask_dq: Array,
    saturation_data: Array,
    saturation_dq: Array,
    superbias_data: Array,
    superbias_dq: Array,
    linearity_coeffs: Array,
    linearity_dq: Array,
    dark_dq: Array,
    dark_levels: Array,
    gain_data: Array,
    readnoise_data: Array,
) -> tuple[Array, ...]:
    """Return some of the input in place of the rates of the exposure and its integrations."""
    image = (data[0, -1], gain_data, mask_dq, readnoise_data, superbias_data)
    return *image, *(np.broadcast_to(a, (len(data), *a.shape)) for a in image)


class FloorStep(Step):
    """Reads everything, and passes some of it on."""

    reference_file_types = tuple(READ)

    def process(self, exposure: DataModel) -> tuple[DataModel, ...]:
        """Return two products with the arrays of an image and a cube."""
        ramp = RampModel(exposure)
        references = {kind: self.open_reference(ramp, kind) for kind in READ}
        rows = {f"{k}_{name}": references[k].rows(name) for k, names in READ.items()
                for name in names}  # fmt: skip
        outputs = [f"{product}.{name}" for product in ("rate", "rateints") for name in FIELDS]
        products = ramp.map_tiles_into(
            {"rate": ImageModel, "rateints": CubeModel},
            pass_on,
            outputs,
            dark_levels=levels_of(ramp, references["dark"], 1),
            **rows,
        )
        return tuple(products.values())


class FloorPipeline(Pipeline):
    """A pipeline with the inputs and the products of detector1."""

    step_defs = {"floor": FloorStep}
    suffixes = ("rate", "rateints")

    def process(self, exposure: DataModel) -> Any:
        """Return (rate, rateints)."""
        return self.floor(exposure)
