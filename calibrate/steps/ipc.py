"""Inter-pixel capacitance: return charge to the pixel that collected it.

Source: jwst 3.0.0 ``ipc`` step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.frames.stripes import Stripes, is_stack, stripes_of
from calbatch.calibrate.host_copies import HostCopies
from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.step import Step, StepError
from calbatch.calibrate.steps._interleaving import InterleavedLayout, is_interleaved, layout_of
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.calibrate.steps._reference_pixels import (
    DETECTOR,
    miri_margins,
    near_infrared_margins,
)
from calbatch.calibrate.steps.saturation import spans_of_stripes
from calbatch.models.datamodels import IPCModel, RampModel, open_reference
from calbatch.models.fits.readers import Reader
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import REGION, Region

Array = npt.NDArray[Any]


class IPCStep(Step):
    """Convolve every group with the kernel that undoes inter-pixel capacitance.

    Reference pixels are unchanged, and count as zero for their neighbours.
    """

    reference_file_types = ("ipc",)
    cal_step = "ipc"

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with its groups convolved."""
        ramp = as_ramp(exposure, before_refpix=True)
        if is_interleaved(ramp):
            return self._process_interleaved(ramp)
        weights = kernel_of(self.open_reference(ramp, "ipc"))
        stripes = stripes_of(ramp)
        kernel: Any = deconvolve
        frame, place = ramp.frame, dict[str, Any]()
        if stripes is not None:
            _require_plain_stripes(ramp, stripes, weights)
            frame = stripes.shape
            if is_stack(ramp, stripes):
                kernel, place = deconvolve_stack, {"height": frame[0]}
        return ramp.map_tiles(
            kernel,
            outputs=("data",),
            radius=max(weights.shape[:2]) // 2,
            weights=weights,
            interior=interior_of(ramp, frame),
            region=REGION,
            **place,
        )

    def _process_interleaved(self, ramp: RampModel) -> RampModel:
        """Return an IRS2 ramp with the pixels between its interleaved ones convolved."""
        layout = layout_of(ramp)
        reference = self.get_reference_file(ramp, "ipc")
        model: Any = open_reference("ipc", reference, HostCopies())
        weights = kernel_of(model)
        radius = max(weights.shape[:2]) // 2
        if isinstance(weights, Reader):
            weights = layout.spread(weights)
        return ramp.map_tiles(
            deconvolve_interleaved,
            outputs=("data",),
            radius=layout.grow_radius(radius),
            weights=weights,
            layout=layout,
            region=REGION,
        )


def _require_plain_stripes(exposure: DataModel, stripes: Stripes, weights: Array | Reader) -> None:
    """Reject stripes whose reference pixels or kernels are unknown.

    As in jwst, reference pixels and kernels are those of a subarray, which the array of stripes is
    taken for.
    """
    if not isinstance(weights, np.ndarray):
        raise StepError(
            f"{exposure.path}: a kernel for each pixel is not supported in multistripe readout "
            "(MSTR_RD1), where rows of the array are not consecutive on the detector: use a single "
            "kernel, or skip the step"
        )
    (top, left), (rows, columns) = _origin_of(exposure), stripes.shape
    if top + rows > DETECTOR or left + columns > DETECTOR:
        raise StepError(
            f"{exposure.path}: an array of {rows} rows and {columns} columns that starts at "
            f"SUBSTRT1 = {left + 1}, SUBSTRT2 = {top + 1} exceeds the detector, so its reference "
            "pixels are unknown; jwst's step cannot calibrate such stripes either: skip the step"
        )


def interior_of(exposure: DataModel, frame: tuple[int, int]) -> Region:
    """Return the region of an array without reference pixels.

    Parameters
    ----------
    exposure : DataModel
        The exposure.
    frame : tuple of int
        Rows and columns of the array, which is the exposure or one of its stripes.

    Raises
    ------
    StepError
        If the header lacks the array's position on the detector.
    """
    miri = exposure.meta.instrument.name == "MIRI"
    margins = (miri_margins if miri else near_infrared_margins)(frame, _origin_of(exposure))
    return margins.interior(frame)


def _origin_of(exposure: DataModel) -> tuple[int, int]:
    """Return row and column of the array's first pixel on the detector, from 0."""
    xstart, ystart = (header_number(exposure, f"meta.subarray.{n}") for n in ("xstart", "ystart"))
    if xstart is None or ystart is None:
        raise StepError(
            f"{exposure.path}: the header lacks SUBSTRT1 or SUBSTRT2, the start of the array"
        )
    return ystart - 1, xstart - 1


def kernel_of(reference: IPCModel) -> Array | Reader:
    """Return the kernel (rows, columns), or a reader of one kernel per pixel.

    Raises
    ------
    StepError
        If the kernel has no central pixel.
    """
    reader = reference.rows("data")
    shape = reader.shape
    if len(shape) not in (2, 4) or shape[0] % 2 == 0 or shape[1] % 2 == 0:
        raise StepError(
            f"{reference.path}: the kernel must have an odd number of rows and columns, "
            f"but its shape is {shape}"
        )
    return reader.read((0, shape[0]), (0, shape[1])) if len(shape) == 2 else reader


def deconvolve(data: Array, *, weights: Array, interior: Region, region: Region) -> Array:
    """Convolve each group's pixels except reference pixels.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns).
    weights : ndarray
        (kernel rows, kernel columns), or (kernel rows, kernel columns, rows, columns) for a
        separate kernel per pixel.
    interior : Region
        The part of the exposure without reference pixels.
    region : Region
        The rows and columns of the exposure that ``data`` covers.

    Returns
    -------
    ndarray
        float32, shaped like ``data``. Pixels outside the interior count as zero.
    """
    rows, cols = (
        slice(*(min(max(edge, first), last) - first for edge in inside))
        for inside, (first, last) in zip(interior, region, strict=True)
    )
    result = data.copy()
    if weights.ndim == 4:
        weights = weights[:, :, rows, cols]
    for frame in np.ndindex(data.shape[:2]):
        result[frame][rows, cols] = _convolve(data[frame][rows, cols], weights)
    return result


def deconvolve_stack(
    data: Array, *, weights: Array, interior: Region, region: Region, height: int
) -> Array:
    """Convolve each group's pixels in the stripes of a stack, which are not neighbours.

    Parameters
    ----------
    data, region
        As for `deconvolve`.
    weights : ndarray
        (kernel rows, kernel columns).
    interior : Region
        The part of each stripe without reference pixels.
    height : int
        Rows of a stripe.
    """
    first, result = region.rows[0], np.empty_like(data)
    for rows in spans_of_stripes(region.rows, height):
        start = (first + rows.start) % height
        inside = Region((start, start + rows.stop - rows.start), region.cols)
        result[..., rows, :] = deconvolve(
            data[..., rows, :], weights=weights, interior=interior, region=inside
        )
    return result


def deconvolve_interleaved(
    data: Array, *, weights: Array, layout: InterleavedLayout, region: Region
) -> Array:
    """Convolve each group's pixels as if no reference pixels were interleaved with them.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns); the interleaved rows stay unchanged.
    weights : ndarray
        As for `deconvolve`, with interleaved rows.
    layout : InterleavedLayout
        The layout of the exposure's files.
    region : Region
        The rows and columns of the exposure that ``data`` covers.
    """
    rows, inside = layout.science_within(region)
    if weights.ndim == 4:
        weights = weights[:, :, rows]
    interior = near_infrared_margins((DETECTOR, DETECTOR), (0, 0)).interior((DETECTOR, DETECTOR))
    result = data.copy()
    result[..., rows, :] = deconvolve(
        data[..., rows, :], weights=weights, interior=interior, region=inside
    )
    return result


def _convolve(image: Array, weights: Array) -> Array:
    """Return the sum of weighted, shifted images; the unshifted one, the largest, is added last."""
    (height, width), (half_rows, half_cols) = image.shape, (n // 2 for n in weights.shape[:2])
    padded = np.pad(image, ((half_rows, half_rows), (half_cols, half_cols)))
    total = np.zeros_like(image)
    middle = half_rows, half_cols
    for j, i in sorted(np.ndindex(weights.shape[:2]), key=lambda shift: shift == middle):
        row, col = 2 * half_rows - j, 2 * half_cols - i
        total += weights[j, i] * padded[row : row + height, col : col + width]
    return total
