"""The joint fit: amplitude and phase of a wave that make the ramps straightest.

Pixels of the same phase are added up, and straight lines are fitted to the sums minus the wave.
Chi-squared is a quadratic function of the amplitude, so its minimum at each trial phase is known.

Source: jwst 3.0.0 ``emicorr.emicorr_refwave``.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.emicorr.clocks import AMPLIFIERS, Sampling, period_of
from calbatch.calibrate.steps.emicorr.phase_kernels import (
    add_by_phase,
    compute_fit_terms,
    compute_scatter,
    subtract_phased,
)
from calbatch.calibrate.steps.emicorr.waves import Wave, fit_spline
from calbatch.models.datamodels import RampModel
from calbatch.models.jit import for_kernel
from calbatch.models.tiling.plan import REGION, Region

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

TRIAL_PHASES = 500
BAND_BYTES = 32 << 20
"""Bytes of samples in a band of rows that is read for the fit."""
COPIES = 3
"""Copies of the standard deviations: of each band, of all together, and partly sorted."""
NEGLIGIBLE = 1.0e-8
"""Curvature of chi-squared below which a wave cannot be fitted."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedWave:
    """Amplitudes (factors on the wave) and phases (periods) of the integrations."""

    amplitudes: Float64
    phases: Float64


@dataclass(frozen=True, kw_only=True)
class WaveSetting:
    """A wave, its spline, and the times at which the pixels are read."""

    sampling: Sampling
    wave: Wave
    coefficients: Float64 = field(repr=False)

    @classmethod
    def of(cls, sampling: Sampling, wave: Wave) -> "WaveSetting":
        """Return the setting of a wave, with its spline."""
        return cls(sampling=sampling, wave=wave, coefficients=fit_spline(wave.samples))

    @property
    def period(self) -> float:
        """The period in samples."""
        return period_of(self.wave.frequency)

    @property
    def bins(self) -> int:
        """Number of phase bins in which pixels are added up."""
        return self.wave.samples.size


def correct_jointly(ramp: RampModel, setting: WaveSetting, *, separately: bool) -> RampModel:
    """Return a ramp minus a wave that is fitted to it.

    Parameters
    ----------
    ramp : RampModel
        The exposure.
    setting : WaveSetting
        The wave.
    separately : bool
        True to fit each integration by itself.
    """
    bands = cut_bands(setting)
    limit = ramp.reduce(
        gather_scatter, find_scatter_limit, bands, frame_bytes=count_scatter_bytes(setting)
    )
    fitted = ramp.reduce(
        sum_by_phase,
        partial(fit_wave, setting=setting, separately=separately),
        bands,
        frame_bytes=count_sum_bytes(setting, len(bands)),
        limit=limit,
        setting=setting,
        region=REGION,
    )
    return ramp.map_tiles(
        subtract_wave, outputs=("data",), fitted=fitted, setting=setting,
        region=REGION,
    )  # fmt: skip


def cut_bands(setting: WaveSetting) -> list[Region]:
    """Return bands of rows that balance the memory of their samples and of their sums."""
    integrations, groups, rows, columns = setting.sampling.shape
    row_bytes = integrations * groups * columns * np.dtype(np.float32).itemsize
    sum_bytes = integrations * groups * setting.bins * np.dtype(np.float64).itemsize
    balanced = int(np.ceil(np.sqrt(rows * sum_bytes / row_bytes)))
    height = min(max(BAND_BYTES // row_bytes, balanced, 1), rows)
    return [Region((r, min(r + height, rows)), (0, columns)) for r in range(0, rows, height)]


def count_scatter_bytes(setting: WaveSetting) -> int:
    """Return the memory for the standard deviations of all ramps, and for their median."""
    integrations, _, rows, columns = setting.sampling.shape
    gathered = integrations * rows * columns * np.dtype(np.float32).itemsize
    return BAND_BYTES + COPIES * gathered


def count_sum_bytes(setting: WaveSetting, bands: int) -> int:
    """Return the memory for the sums by phase of all bands."""
    integrations, groups = setting.sampling.shape[:2]
    sums = integrations * (groups + 1) * setting.bins * np.dtype(np.float64).itemsize
    return BAND_BYTES + (bands + 1) * sums


def measure_scatter(data: Array) -> Array:
    """Return the standard deviation of each ramp (DN), float32, (integrations, rows, columns)."""
    scatter = np.empty((data.shape[0], *data.shape[2:]), np.float32)
    compute_scatter(for_kernel(data), scatter)
    return scatter


def gather_scatter(data: Array) -> Array:
    """Return the standard deviation of each ramp of a band."""
    return measure_scatter(data)


def find_scatter_limit(bands: Sequence[Array]) -> np.float32:
    """Return the standard deviation below which ramps are fitted: twice the median."""
    limit: np.float32 = 2 * np.median(np.concatenate([band.ravel() for band in bands]))
    return limit


def sum_by_phase(
    data: Array, pixeldq: Array, *, limit: np.float32, setting: WaveSetting, region: Region
) -> tuple[Float64, Float64]:
    """Return the sums of a band's pixels by phase, and the number of pixels in each sum.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns).
    pixeldq : ndarray
        Flags, (rows, columns): pixels with any flag are left out.
    limit : float32
        Ramps with this standard deviation (DN) or more are left out.
    setting : WaveSetting
        The wave.
    region : Region
        The rows of the band.

    Returns
    -------
    sums, numbers : ndarray
        float64, (phases, groups, integrations) and (phases, integrations).
    """
    good = (measure_scatter(data) < limit) & (pixeldq == 0)
    phases = setting.sampling.phases(region.rows, setting.period)
    sums = np.zeros((setting.bins, data.shape[1], data.shape[0]))
    numbers = np.zeros((setting.bins, data.shape[0]))
    add_by_phase(for_kernel(data), good, (phases * setting.bins).astype(np.intp), sums, numbers)
    return sums, numbers


def fit_wave(
    bands: Sequence[tuple[Float64, Float64]], *, setting: WaveSetting, separately: bool
) -> FittedWave:
    """Return the amplitudes and phases that make the ramps straightest.

    Parameters
    ----------
    bands : sequence of tuple
        Results of `sum_by_phase`.
    setting : WaveSetting
        The wave.
    separately : bool
        True for each integration's own amplitude and phase; otherwise all have the same amplitude,
        and phases that follow from the times between them.
    """
    sums, numbers = (sum(parts[1:], parts[0].copy()) for parts in zip(*bands, strict=True))
    terms = _fit_terms(sums, numbers, setting)
    integrations = sums.shape[2]
    shift = setting.sampling.integration_shift(setting.period)
    together = [range(integrations)] if not separately else [[i] for i in range(integrations)]
    fits = [fit_phase(*terms, shift, ints) for ints in together] * (integrations // len(together))
    amplitudes, phases = np.array(fits).T
    return FittedWave(amplitudes, phases + np.arange(integrations) * shift)


def _fit_terms(sums: Float64, numbers: Float64, setting: WaveSetting) -> tuple[Float64, Float64]:
    """Return a and b of chi-squared, (trial phases, integrations); see `compute_fit_terms`."""
    middles = (np.arange(setting.bins) + 0.5) / setting.bins
    shift = setting.sampling.group_shift(setting.period)
    template = (middles[:, None] + np.arange(sums.shape[1]) * shift) % 1
    quadratic, linear = np.zeros((2, TRIAL_PHASES, sums.shape[2]))
    compute_fit_terms(
        sums, numbers, setting.coefficients, template, _trial_phases(), quadratic, linear
    )
    return quadratic, linear


def _trial_phases() -> Float64:
    return np.arange(TRIAL_PHASES) * 1.0 / TRIAL_PHASES


def fit_phase(
    quadratic: Float64, linear: Float64, shift: float, integrations: Sequence[int]
) -> tuple[float, float]:
    """Return the amplitude, and the phase of the first integration, that minimize chi-squared.

    Parameters
    ----------
    quadratic, linear : ndarray
        The terms of chi-squared, (trial phases, integrations).
    shift : float
        The change of phase from one integration to the next, in periods.
    integrations : sequence of int
        The integrations that are fitted together.
    """
    trials = _trial_phases()

    def at(phases: Float64) -> tuple[Float64, Float64]:
        a, b = np.zeros((2, phases.size))
        for i in integrations:
            nearest = np.argmin((trials - phases[:, None] - shift * i) % 1, axis=1)
            a += quadratic[nearest, i]
            b += linear[nearest, i]
        return solve_amplitudes(a, b)

    chi_squared, _ = at(trials)
    phase = find_best_phase(chi_squared)
    _, (amplitude,) = at(np.array([phase]))
    return float(amplitude), phase


def solve_amplitudes(a: Float64, b: Float64) -> tuple[Float64, Float64]:
    """Return the minimum of ``a A**2 + b A``, and A; NaN and zero if there is no curvature."""
    usable = np.isfinite(a) & np.isfinite(b) & (np.abs(a) > NEGLIGIBLE)
    amplitude = np.where(usable, -b / (2 * np.where(usable, a, 1.0)), 0.0)
    return np.where(usable, a * amplitude**2 + b * amplitude, np.nan), amplitude


def find_best_phase(chi_squared: Float64) -> float:
    """Return the vertex of a parabola through the best trial phase and its two neighbours.

    Phases are periodic: the last trial is the neighbour of the first.
    """
    if not np.isfinite(chi_squared).any():
        log.warning("no pixel can be used to fit the interference")
        return 0.0
    least = int(np.nanargmin(chi_squared))
    before, here, after = chi_squared[[least - 1, least, (least + 1) % chi_squared.size]]
    bend = before - 2 * here + after
    offset = 0.5 * (before - after) / bend if np.isfinite(bend) and bend != 0 else 0.0
    return float((least + offset) / chi_squared.size)


def subtract_wave(
    data: Array, *, fitted: FittedWave, setting: WaveSetting, region: Region
) -> Array:
    """Return the ramp minus the fitted wave.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns).
    fitted : FittedWave
        Amplitudes and phases of the integrations.
    setting : WaveSetting
        The wave.
    region : Region
        The rows and columns of the exposure that ``data`` covers.
    """
    first, stop = region.cols
    lead = first % AMPLIFIERS
    phases = setting.sampling.phases(region.rows, setting.period)
    phases = phases[:, first // AMPLIFIERS : -(-stop // AMPLIFIERS)]
    groups = np.arange(data.shape[1]) * setting.sampling.group_shift(setting.period)
    shifts = np.stack(np.broadcast_arrays(groups, fitted.phases[:, None]), axis=2)
    if lead:  # the kernel starts at a multiple of four columns
        data = np.concatenate([np.zeros_like(data[..., :1])] * lead + [data], axis=-1)
    result = np.empty(data.shape, np.float32)
    subtract_phased(
        for_kernel(data), setting.coefficients, np.ascontiguousarray(phases),
        np.ascontiguousarray(shifts), for_kernel(fitted.amplitudes), result,
    )  # fmt: skip
    return np.ascontiguousarray(result[..., lead:])
