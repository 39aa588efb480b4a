"""Gain scale: rescale rates taken with a non-standard gain setting.

Source: jwst 3.0.0 ``gain_scale`` step.
"""

from typing import Any

import numpy.typing as npt

from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.step import SkipStep, Step
from calbatch.models.datamodels import open_reference
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]


def scale_rates(data: Array, err: Array, *, factor: float) -> tuple[Array, Array]:
    """Return rates and their errors times the gain factor."""
    return data * factor, err * factor


def scale_poisson(var_poisson: Array, *, factor: float) -> Array:
    """Return the Poisson variance times the square of the gain factor."""
    return var_poisson * factor**2


def scale_read(var_rnoise: Array, *, factor: float) -> Array:
    """Return the read-noise variance times the square of the gain factor."""
    return var_rnoise * factor**2


class GainScaleStep(Step):
    """Multiply rates by GAINFACT of the exposure, or else of the gain reference."""

    reference_file_types = ["gain"]
    cal_step = "gain_scale"

    def process(self, exposure: DataModel) -> DataModel:
        """Return the exposure with its rates, errors and variances scaled."""
        factor = header_number(exposure, "meta.exposure.gain_factor")
        if factor is None:
            gain = open_reference("gain", self.get_reference_file(exposure, "gain"))
            factor = header_number(gain, "meta.exposure.gain_factor")
            if factor is None:
                raise SkipStep(f"its gain reference {gain.path} has no GAINFACT")
        factor = float(factor)
        result = exposure.map_tiles(scale_rates, ("data", "err"), factor=factor)
        for name, kernel in (("var_poisson", scale_poisson), ("var_rnoise", scale_read)):
            if exposure.has(name):
                result = result.map_tiles(kernel, (name,), factor=factor)
        result.meta.exposure.gain_factor = factor
        return result
