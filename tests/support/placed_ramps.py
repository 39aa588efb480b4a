"""Ramps in memory at a chosen place on a detector, as our model and as jwst's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from stdatamodels.jwst import datamodels as jwst_models

from calbatch.models.datamodels import RampModel
from calbatch.models.dq import REFERENCE_PIXEL

AXES = {
    "NRCA1": (-1, 2),
    "NRCB1": (1, -2),
    "NIS": (-2, -1),
    "NRS1": (2, 1),
    "NRS2": (-2, -1),
    "GUIDER1": (-2, -1),
    "GUIDER2": (2, -1),
    "MIRIMAGE": (1, 2),
}
"""FASTAXIS and SLOWAXIS of a detector."""

_INSTRUMENTS = {"NRC": "NIRCAM", "NIS": "NIRISS", "NRS": "NIRSPEC", "GUI": "FGS", "MIR": "MIRI"}


@dataclass
class PlacedRamp:
    """A ramp and its place on the detector.

    ``origin`` is the row and column of its first pixel in the full frame, from 0.
    """

    data: np.ndarray
    pixeldq: np.ndarray
    origin: tuple[int, int] = (0, 0)
    detector: str = "NRCA1"
    axes: tuple[int, int] | None = None
    noutputs: int = 4
    subarray: str = "GENERIC"
    readpatt: str = "RAPID"

    def ours(self) -> RampModel:
        """Return calbatch's model of the ramp."""
        return self._describe(RampModel(self.data, pixeldq=self.pixeldq))

    def theirs(self) -> jwst_models.RampModel:
        """Return jwst's model of the ramp."""
        model = jwst_models.RampModel(self.data.copy(), pixeldq=self.pixeldq.copy())
        return self._describe(model)

    def _describe(self, model: Any) -> Any:
        meta, subarray = model.meta, model.meta.subarray
        meta.instrument.name = _INSTRUMENTS[self.detector[:3]]
        meta.instrument.detector = self.detector
        meta.exposure.noutputs = self.noutputs
        meta.exposure.readpatt = self.readpatt
        subarray.name = self.subarray
        subarray.ystart, subarray.xstart = (start + 1 for start in self.origin)
        subarray.ysize, subarray.xsize = self.data.shape[-2:]
        subarray.fastaxis, subarray.slowaxis = self.axes or AXES[self.detector]
        return model


def flagged_border(shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Return the pixel DQ of a rectangle of a detector whose only flags are REFERENCE_PIXEL."""
    full = np.full((2048, 2048), REFERENCE_PIXEL, dtype=np.uint32)
    full[4:-4, 4:-4] = 0
    (row, column), (rows, columns) = origin, shape
    return full[row : row + rows, column : column + columns].copy()
