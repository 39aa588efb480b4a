"""Reference pixels: subtract the drifts that the detector's own reference pixels show.

Source: jwst 3.0.0 ``refpix`` step, near-infrared detectors in traditional readout.
"""

import logging
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.jit import kernel
from calbatch.calibrate.parameters import Boolean, Choice, Float, Integer
from calbatch.calibrate.step import SkipStep, Step, StepError
from calbatch.calibrate.steps._reference_pixels import BORDER, DETECTOR, near_infrared_margins
from calbatch.calibrate.steps._refpix_combine import (
    ReferenceSignal,
    Settings,
    combine_amplifiers,
    combine_single,
)
from calbatch.calibrate.steps._refpix_geometry import Placement
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import DO_NOT_USE, REFERENCE_PIXEL
from calbatch.models.plan import REGION, Reduction, Region

Array = npt.NDArray[Any]

EDGELESS = ("SUB512", "SUB512S", "SUB32")
"""NIRSpec subarrays that touch no edge: their first and last columns stand in."""

PLACEMENT = {
    "xstart": "SUBSTRT1",
    "ystart": "SUBSTRT2",
    "xsize": "SUBSIZE1",
    "ysize": "SUBSIZE2",
    "fastaxis": "FASTAXIS",
    "slowaxis": "SLOWAXIS",
}
"""What says where an exposure lies: names below ``meta.subarray`` and FITS keywords."""

log = logging.getLogger(__name__)


class RefPixStep(Step):
    """Subtract what the reference pixels show of the readout's drifts, group by group.

    Full frames, and subarrays read by four amplifiers, lose the mean of each amplifier's even and
    odd columns and the smoothed signal of the side columns; subarrays read by one amplifier lose
    the mean of even and odd columns.
    """

    cal_step = "refpix"

    odd_even_columns = Boolean(True, help="tell even and odd detector columns apart")
    use_side_ref_pixels = Boolean(True, help="subtract the smoothed side columns, row by row")
    side_smoothing_length = Integer(
        11, low=1, high=2 * DETECTOR - 1, unit="rows", help="running median over the side columns"
    )
    side_gain = Float(1.0, help="factor on the side signal before it is subtracted")
    odd_even_rows = Boolean(True, help="tell even and odd rows apart (MIRI only)")
    ovr_corr_mitigation_ftr = Float(
        3.0, help="factor against overcorrection by bad reference pixels (IRS2 only)"
    )
    preserve_irs2_refpix = Boolean(False, help="keep the interleaved reference pixels (IRS2 only)")
    irs2_mean_subtraction = Boolean(False, help="subtract means before the IRS2 correction")
    refpix_algorithm = Choice("median", ("median", "sirs"), help="how the sides are smoothed")
    sigreject = Float(4.0, low=0.0, unit="sigma", help="outliers of the sides (sirs only)")
    gaussmooth = Float(1.0, low=0.0, unit="pixels", help="width of the low-pass filter (sirs only)")
    halfwidth = Integer(30, low=1, unit="pixels", help="half-width of the kernel (sirs only)")
    siglimit = Float(3.0, low=0.0, unit="sigma", help="limit of the clipped means")

    def process(self, exposure: RampModel) -> RampModel:
        """Return the exposure with the reference signal to be subtracted."""
        self._refuse(exposure)
        placement = placement_of(exposure)
        signal = self._signal(exposure, placement)
        if signal is None:
            log.info("%s: no reference pixels in this subarray, nothing to subtract", self.name)
            return exposure
        return exposure.map_tiles(
            subtract_reference, outputs=("data",), signal=signal, region=REGION
        )

    def _signal(self, exposure: RampModel, placement: Placement) -> Reduction | None:
        settings = Settings(
            self.odd_even_columns,
            self.use_side_ref_pixels,
            self.side_smoothing_length,
            self.side_gain,
            self.siglimit,
        )
        single = is_subarray(placement.shape) and exposure.meta.exposure.noutputs != 4
        stand_in = BORDER if single and exposure.meta.subarray.name in EDGELESS else 0
        regions = reference_regions(
            placement, columns=stand_in, sides=single or self.use_side_ref_pixels
        )
        if not regions:
            return None
        combine = partial(
            combine_single if single else combine_amplifiers,
            placement=placement,
            regions=tuple(regions),
            settings=settings,
        )
        if not single:
            return exposure.reduce(gather_usable, combine, regions)
        return exposure.reduce(
            gather_flagged,
            combine,
            regions,
            region=REGION,
            width=placement.shape[1],
            columns=stand_in,
        )

    def _refuse(self, exposure: RampModel) -> None:
        """Raise for what is not implemented, and skip what jwst skips."""
        meta = exposure.to_flat_dict()
        refused = {
            "refpix_algorithm = sirs": self.refpix_algorithm == "sirs",
            "preserve_irs2_refpix": self.preserve_irs2_refpix,
            "irs2_mean_subtraction": self.irs2_mean_subtraction,
            "IRS2 readout": max(exposure.frame) > DETECTOR
            or "IRS2" in str(meta.get("meta.exposure.readpatt")),
            "multistripe readout": "meta.subarray.multistripe_reads1" in meta
            or bool(meta.get("meta.subarray.num_superstripe")),
            "ZEROFRAM = T": bool(meta.get("meta.exposure.zero_frame")),
        }
        if meta.get("meta.instrument.name") == "MIRI":
            if exposure.frame[0] < 1024 or exposure.frame[1] < 1032:
                raise SkipStep("MIRI subarrays have no correction by reference pixels")
            refused = {"MIRI": True}
        for what, wanted in refused.items():
            if wanted:
                raise StepError(f"refpix: {what} is not supported yet")


def is_subarray(shape: tuple[int, int]) -> bool:
    """Return whether file rows and columns are fewer than a near-infrared detector's."""
    return min(shape) < DETECTOR


def placement_of(exposure: RampModel) -> Placement:
    """Return where an exposure lies on its detector.

    Raises
    ------
    StepError
        When the header does not tell, or contradicts the array.
    SkipStep
        When the subarray does not lie within the detector.
    """
    meta: dict[str, Any] = exposure.to_flat_dict()
    shape = exposure.frame
    values: dict[str, Any] = {k: meta.get(f"meta.subarray.{name}") for name, k in PLACEMENT.items()}
    missing = [keyword for keyword, value in values.items() if value is None]
    if missing:
        raise StepError(f"refpix: the header lacks {', '.join(missing)}")
    x, y, columns, rows, fast, slow = (int(value) for value in values.values())
    if {abs(fast), abs(slow)} != {1, 2}:
        raise StepError(f"refpix: FASTAXIS = {fast} and SLOWAXIS = {slow} are not two axes")
    if not is_subarray(shape):
        return Placement(shape, (0, 0), fast, slow)
    if (rows, columns) != shape:
        raise StepError(f"refpix: the header says {rows} x {columns} pixels, the array is {shape}")
    if x < 1 or y < 1 or x - 1 + columns > DETECTOR or y - 1 + rows > DETECTOR:
        raise SkipStep("the subarray does not fit in the detector")
    return Placement(shape, (y - 1, x - 1), fast, slow)


def reference_regions(
    placement: Placement, *, columns: int = 0, sides: bool = True
) -> list[Region]:
    """Return the parts of an exposure's array that hold reference pixels, none overlapping.

    Parameters
    ----------
    placement : Placement
        Where the exposure lies.
    columns : int, optional
        So many file columns at the left and right count, wherever the exposure lies.
    sides : bool, optional
        Whether the side columns of the detector are wanted too, or just its bottom and top rows.
    """
    margins = near_infrared_margins(placement.shape, placement.origin, columns)
    if not sides:
        margins = margins.only_columns() if placement.transposed else margins.only_rows()
    return margins.regions(placement.shape)


def gather_usable(data: Array, pixeldq: Array) -> tuple[Array, Array]:
    """Return samples, and which pixels are not DO_NOT_USE."""
    return data, pixeldq & DO_NOT_USE == 0


def gather_flagged(
    data: Array, pixeldq: Array, *, region: Region, width: int, columns: int
) -> tuple[Array, Array]:
    """Return samples, and which pixels are reference pixels fit for use.

    Parameters
    ----------
    data : ndarray
        (integrations, groups, rows, columns).
    pixeldq : ndarray
        (rows, columns): REFERENCE_PIXEL says which they are, DO_NOT_USE which of them are bad.
    region : Region
        Where the arrays lie.
    width : int
        File columns of the exposure.
    columns : int
        So many of them at the left and right are reference pixels whatever their flags say.
    """
    numbers = np.arange(*region.cols)
    outer = (numbers < columns) | (numbers >= width - columns)
    reference = (pixeldq & REFERENCE_PIXEL != 0) | outer
    return data, reference & (pixeldq & DO_NOT_USE == 0)


@kernel
def _subtract(data: Array, rows: Array, cols: Array, result: Array) -> None:
    for frame in range(data.shape[0]):
        for r in range(data.shape[1]):
            for c in range(data.shape[2]):
                result[frame, r, c] = data[frame, r, c] - rows[frame, r] - cols[frame, c]


def subtract_reference(data: Array, *, signal: ReferenceSignal, region: Region) -> Array:
    """Subtract the reference signal from the pixels of a region.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns).
    signal : ReferenceSignal
        The signal of the whole exposure.
    region : Region
        The rows and columns of the exposure that ``data`` covers.

    Returns
    -------
    ndarray
        float32, shaped as ``data``.
    """
    frames = data.shape[0] * data.shape[1]
    (r0, r1), (c0, c1) = region
    # Copies: the kernel would be compiled anew for tables that are strided or read-only.
    rows = np.array(signal.rows[..., r0:r1]).reshape(frames, -1)
    cols = np.array(signal.cols[..., c0:c1]).reshape(frames, -1)
    samples = np.ascontiguousarray(data).reshape(frames, *data.shape[2:])
    result = np.empty_like(samples)
    _subtract(samples, rows, cols, result)
    return result.reshape(data.shape)
