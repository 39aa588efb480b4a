"""Reference pixels: subtract readout drifts measured by the detector's reference pixels.

Equations are numbered in docs/steps/refpix.md. Source: jwst 3.0.0 ``refpix`` step.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.frames.stripes import stripes_of
from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.parameters import Boolean, Choice, Float, Integer
from calbatch.calibrate.step import SkipStep, Step, StepError
from calbatch.calibrate.steps._interleaving import is_interleaved, layout_of
from calbatch.calibrate.steps._ramps import as_ramp, zero_frames_of
from calbatch.calibrate.steps._reference_pixels import (
    BORDER,
    DETECTOR,
    MIRI_DETECTOR,
    near_infrared_margins,
)
from calbatch.calibrate.steps.refpix._group_samples import (
    gather_interleaved,
    interleaved_regions,
)
from calbatch.calibrate.steps.refpix.combine import (
    RefPixSettings,
    combine_amplifiers,
    combine_single,
)
from calbatch.calibrate.steps.refpix.geometry import DetectorPlacement
from calbatch.calibrate.steps.refpix.irs2 import (
    InterleavedSettings,
    combine_interleaved,
    count_signal_bytes,
    subtract_from_all,
    subtract_interleaved,
)
from calbatch.calibrate.steps.refpix.miri import (
    combine_miri,
    gather_drift,
    side_regions,
    subtract_drift,
)
from calbatch.calibrate.steps.refpix.pixels import (
    are_reference,
    gather_flagged,
    gather_usable,
    subtract_reference,
)
from calbatch.calibrate.steps.refpix.sirs import SideKernels, make_kernels, read_coefficients
from calbatch.calibrate.steps.refpix.striped import correct_stripes
from calbatch.calibrate.steps.refpix.weights import require_weights
from calbatch.models.datamodels import RampModel
from calbatch.models.model import DataModel
from calbatch.models.row_selection import select_rows
from calbatch.models.storage.files import read_stamp
from calbatch.models.tiling.plan import MAY_OVERWRITE, REGION, Reduction, Region

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
"""Position of an exposure: names below ``meta.subarray`` and FITS keywords."""

FLAG_ROWS = 256
"""Rows of a region in the search for reference pixels inside the border."""
BAND_BYTES = 8 << 20
"""Bytes of samples in a region that has reference pixels inside the border."""

log = logging.getLogger(__name__)


class RefPixStep(Step):
    """Subtract readout drifts, measured by the reference pixels, from each group.

    From full frames, and from subarrays read by four amplifiers, it subtracts the means of each
    amplifier's even and odd columns and the smoothed signal of the side columns; from subarrays
    read by one amplifier, the means of even and odd columns. From MIRI's full frames, it subtracts
    the means of each amplifier's even and odd rows.
    """

    cal_step = "refpix"
    reference_file_types = ("refpix", "sirskernel")

    odd_even_columns = Boolean(True, help="treat even and odd detector columns separately")
    use_side_ref_pixels = Boolean(True, help="subtract the smoothed side columns, row by row")
    side_smoothing_length = Integer(
        11, low=1, high=2 * DETECTOR - 1, unit="rows", help="running median over the side columns"
    )
    side_gain = Float(1.0, help="factor on the side signal before it is subtracted")
    odd_even_rows = Boolean(True, help="treat even and odd rows separately (MIRI only)")
    ovr_corr_mitigation_ftr = Float(
        3.0, help="factor against overcorrection by bad reference pixels (IRS2 only)"
    )
    preserve_irs2_refpix = Boolean(False, help="keep the interleaved reference pixels (IRS2 only)")
    irs2_mean_subtraction = Boolean(False, help="subtract means before the IRS2 correction")
    refpix_algorithm = Choice("median", ("median", "sirs"), help="method of smoothing the sides")
    sigreject = Float(4.0, low=0.0, unit="sigma", help="outlier limit of the sides (sirs only)")
    gaussmooth = Float(1.0, low=0.0, unit="pixels", help="width of the low-pass filter (sirs only)")
    halfwidth = Integer(30, low=1, unit="pixels", help="half-width of the kernel (sirs only)")
    siglimit = Float(3.0, low=0.0, unit="sigma", help="limit of the clipped means")

    def changes_frame(self, exposure: DataModel) -> bool:
        """Return whether interleaved rows are removed, or stripes put together."""
        return is_interleaved(exposure) or stripes_of(exposure) is not None

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp minus the signal of its reference pixels."""
        ramp = as_ramp(exposure, before_refpix=True)
        if is_interleaved(ramp):
            return self._process_interleaved(ramp)
        if ramp.meta.instrument.name == "MIRI":
            return self._correct_miri(ramp)
        stripes = stripes_of(ramp)
        if stripes is not None and is_subarray(stripes.shape):
            settings = RefPixSettings(
                odd_even_columns=self.odd_even_columns, siglimit=self.siglimit
            )
            return correct_stripes(ramp, stripes, settings)
        placement = placement_of(ramp)
        signal = self._signal(ramp, placement)
        if signal is None:
            log.info("%s: this subarray has no reference pixels; nothing to subtract", self.name)
            return ramp
        zero = zero_frames_of(ramp)
        return ramp.map_tiles(
            subtract_reference,
            outputs=("data", *zero),
            optional=zero,
            signal=signal,
            region=REGION,
            overwrite_data=MAY_OVERWRITE,
        )

    def _process_interleaved(self, ramp: RampModel) -> RampModel:
        """Return an IRS2 ramp minus the signal of its interleaved pixels, usually without them."""
        layout = layout_of(ramp)
        path = self._weights_file(ramp)
        settings = InterleavedSettings(
            ovr_corr_mitigation_ftr=self.ovr_corr_mitigation_ftr,
            irs2_mean_subtraction=self.irs2_mean_subtraction,
            preserve_irs2_refpix=self.preserve_irs2_refpix,
            odd_even_columns=self.odd_even_columns,
            siglimit=self.siglimit,
        )
        combine = partial(
            combine_interleaved,
            layout=layout,
            settings=settings,
            path=path,
            stamp=read_stamp(path),
        )
        signal = ramp.reduce(
            gather_interleaved, combine, interleaved_regions(layout), in_turn=True,
            frame_bytes=count_signal_bytes(ramp.shape, keep=self.preserve_irs2_refpix),
        )  # fmt: skip
        if self.preserve_irs2_refpix:
            outputs = ("data", "pixeldq")
            return ramp.map_tiles(
                subtract_from_all, outputs=outputs, signal=signal, layout=layout, region=REGION
            )
        return select_rows(ramp, layout.science_rows).map_tiles(
            subtract_interleaved, outputs=("data",), signal=signal, layout=layout, region=REGION
        )

    def _weights_file(self, ramp: RampModel) -> str:
        """Return the path of the reference that holds the weights for IRS2."""
        try:
            path = self.get_reference_file(ramp, "refpix")
        except SkipStep as reason:
            raise StepError(
                f"{ramp.path}: {self.name}: {reason}, so the interleaved pixels of IRS2 cannot be "
                "used and removed; give a reference with override_refpix"
            ) from None
        if isinstance(path, DataModel):
            raise StepError(f"{self.name}: override_refpix must be a file, not a model")
        require_weights(path)
        return str(path)

    def wanted_references(self, instrument: str | None = None) -> set[str]:
        """Return the reference types that CRDS has to choose; sirskernel only for SIRS."""
        unused = set() if self._wants_sirs and instrument != "MIRI" else {"sirskernel"}
        return super().wanted_references(instrument) - unused

    @property
    def _wants_sirs(self) -> bool:
        return self.refpix_algorithm == "sirs" and self.use_side_ref_pixels

    def _correct_miri(self, ramp: RampModel) -> RampModel:
        """Return a full frame of MIRI minus the drifts of its reference columns."""
        if is_subarray(ramp.frame, MIRI_DETECTOR):
            raise SkipStep("MIRI subarrays have no reference pixel correction")
        combine = partial(combine_miri, odd_even_rows=self.odd_even_rows, siglimit=self.siglimit)
        signal = ramp.reduce(gather_drift, combine, side_regions())
        return ramp.map_tiles(subtract_drift, outputs=("data",), signal=signal, region=REGION)

    def _signal(self, ramp: RampModel, placement: DetectorPlacement) -> Reduction | None:
        settings = RefPixSettings(
            odd_even_columns=self.odd_even_columns,
            use_side_ref_pixels=self.use_side_ref_pixels,
            side_smoothing_length=self.side_smoothing_length,
            side_gain=self.side_gain,
            siglimit=self.siglimit,
            sigreject=self.sigreject,
            kernels=self._side_kernels(ramp) if self._wants_sirs else None,
        )
        if is_subarray(placement.shape) and header_number(ramp, "meta.exposure.noutputs") != 4:
            return _signal_of_single(ramp, placement, settings)
        regions = reference_regions(placement, sides=self.use_side_ref_pixels)
        if not regions:
            return None
        combine = partial(
            combine_amplifiers, placement=placement, regions=tuple(regions), settings=settings
        )
        return ramp.reduce(
            gather_usable, combine, regions, optional=zero_frames_of(ramp),
            frame_bytes=count_bytes(regions, ramp.shape),
        )  # fmt: skip

    def _side_kernels(self, ramp: RampModel) -> SideKernels | None:
        """Return the kernels of SIRS; None where the running median takes its place."""
        name = str(ramp.meta.subarray.name)
        if "FULL" not in name:
            log.info("%s: sirs does not apply to subarrays: using the median", self.name)
            return None
        if is_subarray(ramp.frame):
            raise StepError(
                f"{ramp.path}: {self.name}: refpix_algorithm = sirs needs {DETECTOR} rows and "
                f"columns, but the array of SUBARRAY = {name} has {ramp.frame[0]} and "
                f"{ramp.frame[1]}; use refpix_algorithm = median"
            )
        try:
            path = self.get_reference_file(ramp, "sirskernel")
        except SkipStep:
            log.warning("%s: its sirskernel reference is N/A: using the median", self.name)
            return None
        if isinstance(path, DataModel):
            raise StepError(f"{self.name}: override_sirskernel must be an ASDF file, not a model")
        detector = str(ramp.meta.instrument.detector)
        found = read_coefficients(path, read_stamp(path), detector)
        if found is None:
            log.warning("%s: %s has no %s: using the median", self.name, path, detector)
            return None
        return make_kernels(*found, self.gaussmooth, self.halfwidth)


def _signal_of_single(
    ramp: RampModel, placement: DetectorPlacement, settings: RefPixSettings
) -> Reduction:
    """Return the signal of a subarray read by one amplifier.

    Reference pixels are defined by flags, so the flags of the whole frame are examined first. Then
    samples are read at the border and wherever else there are reference pixels.
    """
    columns = BORDER if ramp.meta.subarray.name in EDGELESS else 0
    margins = near_infrared_margins(placement.shape, placement.origin, columns)
    border, inside = margins.regions(placement.shape), margins.interior(placement.shape)
    zero = zero_frames_of(ramp)
    lead = (ramp.shape[0], ramp.shape[1] + len(zero))
    row_bytes = lead[0] * lead[1] * placement.shape[1] * np.dtype(np.float32).itemsize
    where = ramp.reduce(
        rows_with_reference,
        partial(
            regions_with_reference,
            border=tuple(border),
            inside=inside,
            height=max(1, BAND_BYTES // row_bytes),
        ),
        list(bands_of(inside, FLAG_ROWS)),
    )
    return ramp.reduce(
        gather_flagged,
        partial(combine_single, placement=placement, lead=lead, settings=settings),
        where,
        optional=zero,
        frame_bytes=count_bytes(border, ramp.shape),
        region=REGION,
        placement=placement,
        columns=columns,
    )


def count_bytes(regions: Sequence[Region], shape: tuple[int, ...]) -> int:
    """Return the memory for the samples of some regions, in an exposure of some shape.

    They are held as they are gathered, put together, and without outliers.
    """
    pixels = sum(math.prod(region.shape) for region in regions)
    return 3 * pixels * math.prod(shape[:2]) * np.dtype(np.float32).itemsize


def is_subarray(shape: tuple[int, int], detector: tuple[int, int] = (DETECTOR, DETECTOR)) -> bool:
    """Return whether an array has fewer rows or columns than its detector."""
    return shape[0] < detector[0] or shape[1] < detector[1]


def placement_of(exposure: DataModel) -> DetectorPlacement:
    """Return the position of an exposure on its detector.

    Raises
    ------
    StepError
        If the header lacks the position, or contradicts the array.
    SkipStep
        If the subarray does not lie within the detector.
    """
    shape = exposure.frame
    values = {
        key: header_number(exposure, f"meta.subarray.{name}") for name, key in PLACEMENT.items()
    }
    missing = [keyword for keyword, value in values.items() if value is None]
    if missing:
        raise StepError(f"{exposure.path}: the header lacks {', '.join(missing)}")
    x, y, columns, rows, fast, slow = (int(value) for value in values.values())
    if {abs(fast), abs(slow)} != {1, 2}:
        raise StepError(
            f"{exposure.path}: FASTAXIS = {fast} and SLOWAXIS = {slow} must be two axes: "
            "1 or -1, and 2 or -2"
        )
    if not is_subarray(shape):
        return DetectorPlacement(shape, (0, 0), fast, slow)
    if (rows, columns) != shape:
        raise StepError(
            f"{exposure.path}: SUBSIZE2 and SUBSIZE1 give {rows} rows and {columns} columns, "
            f"but the array has {shape[0]} and {shape[1]}"
        )
    if x < 1 or y < 1 or x - 1 + columns > DETECTOR or y - 1 + rows > DETECTOR:
        raise SkipStep("the subarray does not fit in the detector")
    return DetectorPlacement(shape, (y - 1, x - 1), fast, slow)


def reference_regions(placement: DetectorPlacement, *, sides: bool = True) -> list[Region]:
    """Return the parts of an exposure's array in the detector's border, without overlap.

    Parameters
    ----------
    placement : DetectorPlacement
        The position of the exposure.
    sides : bool, optional
        True to include the side columns of the detector, besides its bottom and top rows.
    """
    margins = near_infrared_margins(placement.shape, placement.origin)
    if not sides:
        margins = margins.only_columns() if placement.transposed else margins.only_rows()
    return margins.regions(placement.shape)


def rows_with_reference(pixeldq: Array) -> Array:
    """Return True for rows with usable reference pixels, (rows,)."""
    rows: Array = np.any(are_reference(pixeldq), axis=1)
    return rows


def regions_with_reference(
    regions: Sequence[Array], *, border: tuple[Region, ...], inside: Region, height: int
) -> tuple[Region, ...]:
    """Return the border's regions, and bands of the rows inside that have reference pixels.

    Parameters
    ----------
    regions : sequence of ndarray
        True for rows with reference pixels, from the first row inside to the last.
    border : tuple of Region
        The regions of the border.
    inside : Region
        The frame without the border.
    height : int
        Maximum number of rows in a band.
    """
    rows = inside.rows[0] + np.flatnonzero(np.concatenate([[], *regions]))
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if rows.size else []
    spans = (Region((int(run[0]), int(run[-1]) + 1), inside.cols) for run in runs)
    return (*border, *(band for span in spans for band in bands_of(span, height)))


def bands_of(region: Region, height: int) -> Iterator[Region]:
    """Yield bands of at most ``height`` rows of a region; none if it has no columns."""
    (first, stop), cols = region
    if cols[0] < cols[1]:
        for start in range(first, stop, height):
            yield Region((start, min(start + height, stop)), cols)
