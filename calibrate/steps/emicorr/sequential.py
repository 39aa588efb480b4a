"""The sequential fit: average the residuals of straight ramps by phase, and subtract these means.

Source: jwst 3.0.0 ``emicorr``, after E. Bergeron's ``fix_miri_emi.pro``.
"""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.emicorr.clocks import AMPLIFIERS, Sampling, period_of
from calbatch.calibrate.steps.emicorr.waves import Wave
from calbatch.models.datamodels import RampModel
from calbatch.models.tiling.plan import REGION, Reduction, Region

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

MOST_BINS = 501
FEWER_BINS = 500
"""Number of phase bins if more than `MOST_BINS` would be used."""
REFERENCE_SAMPLES = 3 + 2**32
"""Samples that jwst adds to the times of the last reference pixels of a row."""
LAST_READ = 258
"""Number of reads of a row that ends at the right edge of the detector."""
BAND_BYTES = 32 << 20
"""Bytes of samples in a band of rows that is read for the fit."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PhasingSetting:
    """Settings for measuring the interference of one frequency.

    Attributes
    ----------
    sampling : Sampling
        The times at which the pixels are read.
    frequency : float
        Frequency of the interference in Hz.
    wave : Wave or None
        The wave of the reference; None to subtract the measured one itself.
    integrations : int
        Number of integrations from which it is measured.
    bins : int
        Number of phase bins in which the residuals are averaged.
    scale : bool
        True to scale the reference's wave to the measured amplitude.
    reaches_edge : bool
        True if the last reads of a row are those of the right reference pixels.
    """

    sampling: Sampling
    frequency: float
    wave: Wave | None = field(default=None, repr=False)
    integrations: int
    bins: int
    scale: bool = True
    reaches_edge: bool = False

    @property
    def period(self) -> float:
        """The period in samples."""
        return period_of(self.frequency)

    def phases(self, integration: int, group: int, rows: tuple[int, int]) -> Float64:
        """Return the phases of a group's pixels in periods, (rows, columns / 4)."""
        frame = self.sampling.frame_samples
        reset = self.sampling.clocks.frame if self.sampling.has_reset_frame else 0
        start = (integration * self.sampling.shape[1] + group) * frame + integration * reset
        times = np.floor(self.sampling.offsets(rows) + start)
        if self.reaches_edge:
            times[:, -1] += REFERENCE_SAMPLES
        phases = times / self.period
        return np.asarray(phases - np.floor(phases))


def count_bins(period: float, wanted: int | None) -> int:
    """Return the number of phase bins: by default, one for every two samples of a period."""
    bins = int(period / 2.0) if wanted is None else wanted
    return FEWER_BINS if bins > MOST_BINS else max(bins, 1)


def count_integrations(
    sampling: Sampling, period: float, wanted: int | None, cycles: int | None
) -> int:
    """Return the number of integrations to measure: by default, enough for ``cycles`` periods."""
    integrations, groups = sampling.shape[:2]
    if wanted is None and cycles is not None:
        wanted = int(np.ceil(cycles * period / (sampling.clocks.frame * groups)))
    return min(integrations if wanted is None else wanted, integrations)


@dataclass(frozen=True, kw_only=True)
class MeasuredWave:
    """The interference of one frequency, as measured in an exposure.

    Attributes
    ----------
    means : ndarray
        float64, (bins,): mean residual (DN) in each bin of the phase, minus their median; NaN where
        there are no samples.
    table : ndarray or None
        float64: the interference (DN) at each sample of a period; None if some means are missing.
    """

    means: Float64 = field(repr=False)
    table: Float64 | None = field(repr=False)


def measure_interference(ramp: RampModel, setting: PhasingSetting) -> Reduction:
    """Return the interference of one frequency in a ramp, a `MeasuredWave` when computed."""
    integrations, groups, rows, columns = setting.sampling.shape
    height = max(1, BAND_BYTES // (integrations * groups * columns * 4))
    bands = [Region((r, min(r + height, rows)), (0, columns)) for r in range(0, rows, height)]
    return ramp.reduce(
        gather_residuals,
        partial(measure, setting=setting),
        bands,
        frame_bytes=count_residual_bytes(setting),
        integrations=setting.integrations,
    )


def count_residual_bytes(setting: PhasingSetting) -> int:
    """Return the memory for the residuals of the measured integrations, and for averaging them.

    Residuals are held twice, then with their phases, bins and order.
    """
    _, groups, rows, columns = setting.sampling.shape
    samples = setting.integrations * groups * rows * (columns // AMPLIFIERS)
    each = 2 * np.dtype(np.float32).itemsize + 4 * np.dtype(np.float64).itemsize
    return BAND_BYTES + samples * each


def correct_sequentially(
    ramp: RampModel, setting: PhasingSetting, measured: Reduction | MeasuredWave
) -> RampModel:
    """Return a ramp minus the interference of one frequency."""
    return ramp.map_tiles(
        subtract_table, outputs=("data",), measured=measured, setting=setting,
        region=REGION,
    )  # fmt: skip


def gather_residuals(data: Array, *, integrations: int) -> Array:
    """Return the residuals of straight ramps, averaged over the four amplifiers.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns).
    integrations : int
        Number of integrations to return.

    Returns
    -------
    ndarray
        float32, (integrations, groups, rows, columns / 4).
    """
    residuals = [_compute_residuals(ramp) for ramp in data[:integrations]]
    return np.array(residuals, np.float32)


def _compute_residuals(ramp: Array) -> Array:
    """Return the residuals of an integration, (groups, rows, columns / 4).

    The slope, and then the median over groups, are those of all groups but the first and the last.
    """
    inner = slice(1, len(ramp) - 1)
    numbers = np.arange(len(ramp))[:, None, None]
    flat = (ramp - _fit_slopes(ramp[inner]) * numbers).astype(np.float32)
    middle = np.nanmin if flat[inner].shape[0] <= 2 else np.nanmedian
    with warnings.catch_warnings():  # about ramps that are NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        flat -= middle(flat[inner], axis=0)
    parts = [flat[..., a::AMPLIFIERS] for a in range(AMPLIFIERS)]
    mean = (parts[0] + parts[1] + parts[2] + parts[3]) / np.float32(4)
    mean[..., 1] = mean[..., 2] = (mean[..., 0] + mean[..., 3]) / np.float32(2)
    return np.asarray(mean)


def _fit_slopes(ramp: Array) -> Float64:
    """Return the least-squares slopes of ramps, (groups, rows, columns), per group."""
    groups = len(ramp)
    numbers = np.arange(groups, dtype=np.float64)
    sums = np.zeros((2, *ramp.shape[1:]))
    for number, values in zip(numbers, ramp, strict=True):
        sums[0] += values
        sums[1] += number * values
    first, squares = numbers.sum(), (numbers**2).sum()
    with np.errstate(invalid="ignore", divide="ignore"):  # three groups leave one, without a slope
        slopes = (groups * sums[1] - first * sums[0]) / (groups * squares - first * first)
    return np.asarray(slopes)


def measure(bands: Sequence[Array], *, setting: PhasingSetting) -> MeasuredWave:
    """Return the interference in the residuals that `gather_residuals` returned for each band."""
    residuals = np.concatenate(bands, axis=2)
    rows = 0, residuals.shape[2]
    phases = np.empty(residuals.shape)
    for i, g in np.ndindex(residuals.shape[:2]):
        residuals[i, g] -= np.median(residuals[i, g])
        phases[i, g] = setting.phases(i, g, rows)
    means = _means_by_phase(phases.ravel(), residuals.ravel(), setting.bins)
    means -= np.median(means)
    if not np.isfinite(means).all():
        log.warning(
            "the interference of %s Hz cannot be measured: some of its %d phases have no samples",
            setting.frequency, setting.bins,
        )  # fmt: skip
        return MeasuredWave(means=means, table=None)
    table = stretch(means, setting.period)
    if setting.wave is not None:
        table = _match(setting, means, table)
    return MeasuredWave(means=means, table=table)


def _means_by_phase(phases: Float64, residuals: Array, bins: int) -> Float64:
    """Return the clipped mean of the residuals (DN) in each bin of the phase, (bins,).

    Bin b holds the phases above ``b / bins`` and up to ``(b + 1) / bins``.
    """
    from astropy.stats import sigma_clipped_stats  # slow to import

    part = np.searchsorted(np.arange(bins + 1) / bins, phases, side="left") - 1
    order = np.argsort(part, kind="stable")
    ends = np.searchsorted(part[order], np.arange(bins + 1))
    means = np.full(bins, np.nan)
    for b in range(bins):
        values = residuals[order[ends[b] : ends[b + 1]]].astype(np.float64)
        if values.size and np.isfinite(values).any():
            with warnings.catch_warnings():  # about values that are NaN
                warnings.simplefilter("ignore")
                means[b] = sigma_clipped_stats(values)[0]
    return means


def _match(setting: PhasingSetting, means: Float64, table: Float64) -> Float64:
    """Return the reference's wave, shifted and, if wanted, scaled to the measured one.

    ``means`` are those of the phase bins, and ``table`` holds them at each sample of a period.
    """
    samples = setting.wave.samples if setting.wave else means
    measured = stretch(means, samples.size)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = [
            np.corrcoef(np.roll(samples, shift), measured)[0, 1] for shift in range(samples.size)
        ]
    wave = stretch(np.roll(samples, int(np.argmax(correlations))), setting.period)
    if not setting.scale:
        return wave
    distances = wave - wave.mean()
    return wave * (np.sum(distances * (table - table.mean())) / np.sum(distances**2))


def stretch(values: Float64, length: float) -> Float64:
    """Return samples resampled to another length, without interpolation."""
    step = values.size / length
    places = np.arange(int(np.ceil(values.size / step))) * step
    return values[places.astype(np.intp)]


def subtract_table(
    data: Array, *, measured: MeasuredWave, setting: PhasingSetting, region: Region
) -> Array:
    """Return the ramp minus the interference.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns).
    measured : MeasuredWave
        The interference; without a table, nothing is subtracted.
    setting : PhasingSetting
        The frequency, and the times at which the pixels are read.
    region : Region
        The rows and columns of the exposure that ``data`` covers.
    """
    if measured.table is None:
        return data
    table = np.where(np.isfinite(measured.table), measured.table, 0.0)
    which = np.arange(*region.cols) // AMPLIFIERS
    result = np.empty(data.shape, np.float32)
    for i, g in np.ndindex(data.shape[:2]):
        places = (setting.phases(i, g, region.rows) * setting.period).astype(np.intp)
        level = table[np.minimum(places, table.size - 1)]
        result[i, g] = data[i, g] - level[:, which]
    return result
