"""Fit the noise of a difference of two groups in frequency space.

Noise d of pixels read at the times m is fitted by least squares with the weights w**2 of these
pixels, as a sum over those frequencies k/n that the filter g passes::

    sum_k' F(w**2)[k - k'] c[k'] = F(w**2 d)[k]       (N3)
    noise = irfft(n g c)                              (N4)

where F is the discrete Fourier transform over all n times, with zeros at those that are not used.
Two transforms thus give all sums of the normal equations.

Equations are numbered in docs/steps/clean_flicker_noise.md.

Source: jwst 3.0.0 ``clean_flicker_noise`` step (``nsclean``), after B. J. Rauscher 2024 (PASP 136,
015001).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # imports scipy.fft, which is slow, when it is used

from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.calibrate.steps.clean_flicker_noise.lines import (
    UNUSED,
    BackgroundPixels,
    find_line_medians,
)

Array = npt.NDArray[Any]

MAD_TO_SIGMA = 1.4826
MAD_TO_SIGMA_OF_SECTIONS = 1.4825  # jwst uses either

# -- full frames: each line by itself
LINE_CUTOFF = 1 / 256
"""Frequency (per pixel) at which the filter of a line is half open."""
LINE_ROLLOFF = LINE_CUTOFF / 4
LINE_OUTLIERS = 3.0
LINE_DENSITY = 32.0
"""Width (pixels) of the Gaussian by which the density of used pixels is averaged."""
LOWEST_DENSITY = 1e-6
"""Below this, densities are rounding errors in jwst's single precision."""
LINE_SMOOTHING = 1.5
"""Width (lines) of the Gaussian that smooths the noise across lines."""
EDGE = 4
"""Lines of reference pixels at either edge, which are not fitted."""

# -- subarrays: sections of several lines
OVERHEAD = 12
"""Times between the last pixel of a line and the first of the next, in pixels."""
PIXEL_TIME = np.float32(10.0e-6)  # s
SECTION_PIXELS = 512
"""Used pixels of a section."""
SECTION_OUTLIERS = 4.0
FEWEST_USED = 0.05
"""Fraction of the pixels of a section that must be used."""

_NEGLIGIBLE = 1e-5
"""Eigenvalues of the normal equations below this fraction of the largest count as zero.

Such combinations of frequencies are large within gaps only, where no pixel determines them. jwst
solves in single precision, and its noise is arbitrary there.
"""


@dataclass(frozen=True)
class FourierRules:
    """The rules of fits in frequency space.

    Attributes
    ----------
    detector : str
        The detector, which determines the direction of readout.
    cutoffs : tuple of float
        Frequencies (Hz) of subarrays: the filter closes from the first to the second, and opens
        again from the third to the fourth.
    """

    detector: str
    cutoffs: tuple[float, float, float, float] = (1061, 1211, 49943, 49957)


def fit_noise(pixels: BackgroundPixels, rules: FourierRules) -> Array | None:
    """Return the noise of a difference.

    Parameters
    ----------
    pixels : BackgroundPixels
        The pixels in which noise is measured.
    rules : FourierRules
        The rules of the fit.

    Returns
    -------
    ndarray of float32, (rows, columns), or None
        Noise (DN); None if too few pixels are used.
    """
    image, used = (_as_read(a, rules.detector) for a in (pixels.image, pixels.is_used()))
    if image.shape == (DETECTOR, DETECTOR):
        noise = fit_lines(image, used)
    else:
        found = fit_sections(image, used, rules.cutoffs)
        if found is None:
            return None
        noise = found
    return np.ascontiguousarray(_as_read(noise, rules.detector, back=True), np.float32)


def _as_read(array: Array, detector: str, *, back: bool = False) -> Array:
    """Return a view whose rows are the lines of readout, in their order in time."""
    if detector == "NRS1":
        return array.T
    return array[::-1].T if back else array.T[::-1]


# -- full frames -------------------------------------------------------------------------------


def fit_lines(image: Array, used: Array) -> Array:
    """Return the noise of a square frame, fitted line by line and smoothed across lines.

    Parameters
    ----------
    image : ndarray of float32, (lines, pixels)
        The frame, without background.
    used : ndarray of bool, (lines, pixels)
        True for pixels of the background.

    Returns
    -------
    ndarray of float32, (lines, pixels)
        Lines with fewer used pixels than frequencies, and the first and last four lines, are zero
        before smoothing.
    """
    lines, length = image.shape
    gain = make_line_filter(length)
    count = np.count_nonzero(gain)
    weights = weigh_pixels(used)
    samples = _replace_outliers(image, used)
    fitted = np.count_nonzero(used, axis=1) >= count
    fitted[:EDGE] = fitted[lines - EDGE :] = False
    square = weights[fitted] ** 2
    transform = scipy.fft.rfft(square, axis=1)[:, :count]
    projected = scipy.fft.rfft(square * samples[fitted], axis=1)[:, :count]
    spectrum = np.zeros((lines, length // 2 + 1), np.complex64)
    order = np.arange(count)
    matrix = _look_up(transform, order[:, np.newaxis] - order)
    spectrum[fitted, :count] = length * gain[:count] * _solve(matrix, projected)
    return _smooth_lines(scipy.fft.irfft(spectrum, length, axis=1))


def make_line_filter(length: int) -> Array:
    """Return the filter of a line, by frequency: open, closing as a cosine, and closed."""
    frequency = np.fft.rfftfreq(length)
    phase = np.pi * (frequency - LINE_CUTOFF) / LINE_ROLLOFF
    closing = (1 + np.cos(phase + np.pi / 2)) / 2
    gain = np.where(frequency <= LINE_CUTOFF - LINE_ROLLOFF / 2, 1, closing)
    return np.where(frequency <= LINE_CUTOFF + LINE_ROLLOFF / 2, gain, 0)


def weigh_pixels(used: Array) -> Array:
    """Return the weights of pixels: the inverse density of used pixels in the line before.

    As in jwst, whose kernel is displaced by a line and a pixel. Where the line before has no used
    pixel, jwst's weights are rounding errors; the weights here are equal.
    """
    length = used.shape[1]
    kernel = np.fft.ifftshift(_gauss(length, LINE_DENSITY))
    before = np.roll(used, 1, axis=0)
    spectrum = scipy.fft.rfft(before.astype(np.float64), axis=1)
    density = scipy.fft.irfft(spectrum * scipy.fft.rfft(kernel), length, axis=1)
    density[~before.any(axis=1)] = 1
    return np.where(used, 1 / np.maximum(density, LOWEST_DENSITY), 0)


def _gauss(size: int, width: float) -> Array:
    """Return a Gaussian with its centre one element behind the middle, as jwst's are."""
    distance = np.arange(size) - (size // 2 + 1)
    return np.exp(-(distance**2) / width**2 / 2) / width / np.sqrt(2 * np.pi)


def _replace_outliers(image: Array, used: Array) -> Array:
    """Return the used pixels, outliers replaced by the median of their line; others are zero."""
    counts = np.count_nonzero(used, axis=1)[:, np.newaxis]

    def medians(values: Array) -> Array:
        return find_line_medians(np.where(used, values, UNUSED)[:, np.newaxis], counts)

    median = medians(image)
    distance = np.abs(np.where(used, image, median) - median)
    limit = np.float32(LINE_OUTLIERS * MAD_TO_SIGMA) * medians(distance)
    return np.where(used, np.where(distance <= limit, image, median), np.float32(0))


def _smooth_lines(noise: Array) -> Array:
    """Return noise smoothed across lines; as in jwst, it is displaced by a line and a pixel."""
    lines = noise.shape[0]
    kernel = np.fft.ifftshift(_gauss(lines, LINE_SMOOTHING)).astype(np.float32)
    spectrum = scipy.fft.rfft(noise, axis=0) * scipy.fft.rfft(kernel)[:, np.newaxis]
    smooth: Array = scipy.fft.irfft(spectrum, lines, axis=0)
    return np.roll(smooth, 1, axis=1)


def _look_up(transform: Array, frequency: Array) -> Array:
    """Return a real series' transform at frequencies, which may be negative."""
    values = transform[..., np.abs(frequency)]
    return np.where(frequency < 0, np.conj(values), values)


def _solve(matrix: Array, vector: Array) -> Array:
    """Return the solutions of Hermitian equations, of least norm where they are singular."""
    inverse = np.linalg.pinv(matrix, rcond=_NEGLIGIBLE, hermitian=True)
    return (inverse @ vector[..., np.newaxis])[..., 0]


# -- subarrays ---------------------------------------------------------------------------------


def fit_sections(
    image: Array, used: Array, cutoffs: tuple[float, float, float, float]
) -> Array | None:
    """Return the noise of a subarray, fitted in overlapping sections of several lines.

    Parameters
    ----------
    image : ndarray of float32, (lines, pixels)
        The frame, without background.
    used : ndarray of bool, (lines, pixels)
        True for pixels of the background.
    cutoffs : tuple of float
        As in `FourierRules`.

    Returns
    -------
    ndarray of float64, (lines, pixels), or None
        The mean of the sections, each with most weight at its middle; None if no pixel is left
        without outliers and their neighbours.
    """
    used = used & ~_find_outliers(image, used)
    if not used.any():
        return None
    total, weight = np.zeros(image.shape), np.zeros((len(image), 1))
    for start, stop in divide_into_sections(np.count_nonzero(used, axis=1)):
        part = slice(start, stop)
        here = 1.001 - np.abs(np.linspace(-1, 1, stop - start))[:, np.newaxis]
        weight[part] += here
        if np.mean(used[part]) > FEWEST_USED:
            total[part] += here * fit_section(image[part], used[part], cutoffs)
    return np.where(total == 0, 0, total / np.where(weight > 0, weight, 1))


def _find_outliers(image: Array, used: Array) -> Array:
    """Return a mask of outliers and their four neighbours."""
    median = np.median(image[used]) if used.any() else np.float32(0)
    distance = np.abs(image - median)
    sigma = MAD_TO_SIGMA_OF_SECTIONS * np.median(distance[used]) if used.any() else 0.0
    outliers = used & (distance > SECTION_OUTLIERS * sigma)
    near = outliers.copy()
    near[1:] |= outliers[:-1]
    near[:-1] |= outliers[1:]
    near[:, 1:] |= outliers[:, :-1]
    near[:, :-1] |= outliers[:, 1:]
    return near


def divide_into_sections(counts: Array) -> list[tuple[int, int]]:
    """Return the ranges of lines of the sections.

    A section begins at the middle of the one before, and ends as soon as it has enough used
    pixels, or at the end if those left would not suffice for one and a half.

    Parameters
    ----------
    counts : ndarray of int
        Number of used pixels of each line, not all zero.
    """
    before = np.concatenate([[0], np.cumsum(counts)])
    start, end = int(np.flatnonzero(counts)[0]), int(np.flatnonzero(counts)[-1]) + 1
    sections = []
    while start < end:
        stop = end
        if before[-1] - before[start] > 1.5 * SECTION_PIXELS:
            enough = int(np.searchsorted(before, before[start] + SECTION_PIXELS, side="right"))
            stop = min(max(enough, start + 1), end)
        sections.append((start, stop))
        if stop == end:
            break
        start += max(round((stop - start) / 2), 1)
    return sections


def fit_section(image: Array, used: Array, cutoffs: tuple[float, float, float, float]) -> Array:
    """Return the noise of a section; for parameters see `fit_sections`."""
    lines, length = image.shape
    times = lines * (length + OVERHEAD)
    gain = make_section_filter(times, cutoffs)
    frequencies = np.flatnonzero(gain > 0)
    clock = np.zeros((lines, length + OVERHEAD))
    clock[:, :length] = used
    width = 1 / ((cutoffs[0] + cutoffs[1]) / 2) / PIXEL_TIME / 2 / 4
    kernel = np.fft.ifftshift(_gauss(times, float(width)))
    density = scipy.fft.irfft(scipy.fft.rfft(clock.ravel()) * scipy.fft.rfft(kernel), times)
    square = np.zeros(times)
    positions = np.flatnonzero(clock)
    square[positions] = 1 / density[positions] ** 2
    values = np.zeros(times)
    values[positions] = image[used]
    transform = scipy.fft.rfft(square)
    matrix = _look_up(transform, frequencies[:, np.newaxis] - frequencies)
    spectrum = np.zeros(transform.shape, np.complex128)
    projected = scipy.fft.rfft(square * values)[frequencies]
    spectrum[frequencies] = times * gain[frequencies] * _solve(matrix, projected)
    noise: Array = scipy.fft.irfft(spectrum, times)
    return noise.reshape(lines, -1)[:, :length]


def make_section_filter(times: int, cutoffs: tuple[float, float, float, float]) -> Array:
    """Return the filter of a section, by frequency: open at both ends, and closed in between."""
    frequency = np.fft.rfftfreq(times, PIXEL_TIME).astype(np.float32)
    gain = np.zeros(frequency.shape, np.float32)
    gain[frequency < cutoffs[0]] = 1
    gain[frequency >= cutoffs[3]] = 1
    for (low, high), turn in ((cutoffs[:2], 0.0), (cutoffs[2:], np.pi)):
        here = (low <= frequency) & (frequency < high)
        gain[here] = 0.5 * (np.cos(np.pi / (high - low) * (frequency[here] - low) + turn) + 1)
    return gain
