"""Guider rates: differences of reads, divided by the time between groups.

Source: jwst 3.0.0 ``guider_cds`` step.
"""

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.frames import subarray
from calbatch.calibrate.host_copies import HostCopies
from calbatch.calibrate.numbers import required_number
from calbatch.calibrate.step import Step, StepError
from calbatch.calibrate.steps._guide_stars import as_guider, exposure_type
from calbatch.models import datamodels
from calbatch.models.datamodels import GuiderCalModel, GuiderRawModel
from calbatch.models.fits.readers import ConstantReader, Reader
from calbatch.models.model import DataModel

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

FINE_READS = 4
"""Reads averaged at each end of a ramp of FGS_FINEGUIDE."""


class GuiderCdsStep(Step):
    """Calculate count rates of guide-star exposures from the difference of two reads."""

    reference_file_types = ("gain", "readnoise")
    cal_step = "guider_cds"

    def process(self, exposure: DataModel) -> GuiderCalModel:
        """Return the rates, with errors, flags and the guider's tables."""
        guider = as_guider(exposure)
        kind = exposure_type(guider)
        gain, readnoise = (self._reference(guider, name) for name in self.reference_file_types)
        reads = FINE_READS if kind == "FGS_FINEGUIDE" else 1
        identifies = kind.startswith("FGS_ID")
        _require_reads(guider, kind, reads, identifies=identifies)
        lead = {"cal.data": (1,), "cal.err": (1,)} if identifies else None
        rates = guider.map_tiles_into(
            {"cal": GuiderCalModel},
            compute_rates,
            ["cal.data", "cal.err", "cal.dq"],
            leading=lead,
            gain=gain,
            readnoise=readnoise,
            group_time=float(required_number(guider, "meta.exposure.group_time", positive=True)),
            reads=reads,
            identifies=identifies,
        )["cal"]
        rates.meta.bunit_data = "DN/s"
        result: GuiderCalModel = rates
        return result

    def _reference(self, guider: GuiderRawModel, kind: str) -> Reader:
        """Return a reference for the exposure's pixels; its mean if it does not cover a stack."""
        given = self.get_reference_file(guider, kind)
        reference = datamodels.open_reference(kind, given, HostCopies())
        try:
            return subarray.cut_to_exposure(guider, reference).rows("data")
        except ReferenceFileError:
            if "STACK" not in exposure_type(guider):
                raise
        mean = average_usable_pixels(reference)
        log.info(
            "%s: %s does not cover this stack of windows: using the mean of the reference, %g",
            guider.path, reference.path, mean,
        )  # fmt: skip
        return ConstantReader(guider.frame, np.dtype(np.float32), mean)


def _require_reads(guider: GuiderRawModel, kind: str, reads: int, *, identifies: bool) -> None:
    """Reject exposures without two different reads; warn if cosmic rays cannot be rejected."""
    ints, groups = guider.shape[:2]
    if groups <= reads:
        what = f"the first {reads} and the last {reads} are the same" if reads > 1 else "one read"
        raise StepError(
            f"{guider.path}: {kind} needs at least {reads + 1} groups for a difference, but has "
            f"{groups}: {what}"
        )
    if identifies and ints == 1:
        log.warning(
            "%s: has one integration, so cosmic rays are not rejected: %s usually has two, and the "
            "smaller difference is used",
            guider.path, kind,
        )  # fmt: skip


def average_usable_pixels(reference: DataModel) -> float:
    """Return the mean of a reference's pixels that are not NaN.

    Raises
    ------
    ReferenceFileError
        If all pixels are NaN.
    """
    values = reference.rows("data").whole()
    usable = values[~np.isnan(values)]
    if not usable.size:
        raise ReferenceFileError(
            f"{reference.path}: has only NaN, so it has no mean for a stack of windows, which it "
            "does not cover: give another reference"
        )
    return float(usable.mean(dtype=np.float64))


def compute_rates(
    data: Array,
    dq: Array,
    *,
    gain: Array,
    readnoise: Array,
    group_time: float,
    reads: int,
    identifies: bool,
) -> tuple[Array, Array, Array]:
    """Return rates, their errors, and the flags.

    With the difference d of two reads, the group time t, the read noise r and the gain g: the rate
    is d / t, and its error the square root of 2 (r / t)^2 + max(d / (g t), 0).

    Parameters
    ----------
    data : ndarray
        Counts (DN), (integrations, groups, rows, columns).
    dq : ndarray
        Flags, (rows, columns), which are returned unchanged.
    gain, readnoise : ndarray
        Gain (electron/DN), and read noise (DN), (rows, columns).
    group_time : float
        Seconds between groups.
    reads : int
        Reads averaged at each end of a ramp; if 1, the difference of the first two groups is used,
        and later groups are ignored.
    identifies : bool
        True to use the smaller difference of the first two integrations, to reject cosmic rays.

    Returns
    -------
    data, err : ndarray
        Rates and errors (DN/s), (integrations, rows, columns); one plane if ``identifies``.
    dq : ndarray
        Flags, (rows, columns).
    """
    d = subtract_reads(data, reads)
    if identifies:
        d = np.minimum.reduce(d[:2], axis=0, keepdims=True)
    with np.errstate(all="ignore"):  # gains of zero
        poisson = d / (gain * group_time)
        poisson[poisson < 0] = 0
        err = np.sqrt(2 * (readnoise / group_time) ** 2 + poisson)
    return d / group_time, err, dq


def subtract_reads(data: Array, reads: int) -> Array:
    """Return the difference of reads (DN) in each integration, (integrations, rows, columns)."""
    if reads == 1:
        difference: Array = data[:, 1] - data[:, 0]
        return difference
    return np.asarray(data[:, -reads:].mean(axis=1) - data[:, :reads].mean(axis=1))
