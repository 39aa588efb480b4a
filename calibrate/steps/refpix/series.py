"""Compiled loops over the time series of IRS2 frames.

Series are (rows of the detector, samples of a row). Samples of a section are (positions in a row,
rows of the detector), since files of NIRSpec are transposed.

Source: jwst 3.0.0 ``refpix.irs2_subtract_reference``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import kernel

Array = npt.NDArray[Any]

_BAND = 64  # rows of the detector whose samples stay in the processor's cache


@kernel
def place_rows(samples: Array, picked: Array, times: Array, series: Array) -> None:
    """Place samples at their times: ``series[y, times[j]] = samples[picked[j], y]``."""
    for start in range(0, series.shape[0], _BAND):
        band = series[start : start + _BAND]
        for j in range(times.size):
            row, t = samples[picked[j], start : start + _BAND], times[j]
            for y in range(row.size):
                band[y, t] = row[y]


@kernel
def pick_rows(series: Array, times: Array, samples: Array) -> None:
    """Pick the samples at some times: ``samples[j, y] = series[y, times[j]]``."""
    for start in range(0, series.shape[0], _BAND):
        band = series[start : start + _BAND]
        for j in range(times.size):
            row, t = samples[j, start : start + _BAND], times[j]
            for y in range(row.size):
                row[y] = band[y, t]


@kernel
def copy_columns(known: Array, times: Array, series: Array) -> None:
    """Replace the samples of a series at some times of each row by known ones."""
    for y in range(series.shape[0]):
        for t in times:
            series[y, t] = known[y, t]


@kernel
def subtract_lines(samples: Array, times: Array, lines: Array) -> None:
    """Subtract ``a + b t`` from samples other than zero, in place.

    ``samples`` are (sections, positions, rows), ``times`` (positions, rows), and ``lines``
    (sections, 2) hold a and b.
    """
    sections, positions, rows = samples.shape
    for k in range(sections):
        a, b = lines[k, 0], lines[k, 1]
        for j in range(positions):
            for y in range(rows):
                x = samples[k, j, y]
                line = a + times[j, y] * b
                # Stored in both cases: masked stores are several times slower.
                samples[k, j, y] = x - (line if x != 0 else 0.0)


@kernel
def combine_spectra(spectrum: Array, own: Array, output: Array, weights: Array) -> None:
    """Compute ``own * spectrum + weights * output`` in place of ``spectrum``."""
    for k in range(spectrum.shape[0]):
        for q in range(spectrum.shape[1]):
            spectrum[k, q] = own[k, q] * spectrum[k, q] + weights[k, q] * output[k, q]


@kernel
def fill_zeros(series: Array, weights: Array) -> Array:
    """Return a series with zeros replaced by weighted means of the samples around them.

    The series is periodic. With weights w, a zero becomes sum(w x) / sum(w) over samples other
    than zero within the weights' width, or stays zero without any.
    """
    n, width = series.size, weights.size
    half = width // 2
    periodic = np.empty(n + 2 * half, series.dtype)
    periodic[:half], periodic[half + n :] = series[n - half :], series[:half]
    periodic[half : half + n] = series
    result = series.copy()
    for i in range(n):
        if series[i] != 0:
            continue
        near = periodic[i : i + width]
        above, below = 0.0, 0.0
        for j in range(width):
            x = near[j]
            above += weights[j] * x
            below += weights[j] if x != 0 else 0.0
        if below != 0:
            result[i] = np.float32(above) / np.float32(below)
    return result


@kernel
def subtract_signal(
    data: Array,
    lines: Array,
    row_times: Array,
    column_times: Array,
    amplifiers: Array,
    offsets: Array,
    result: Array,
) -> None:
    """Subtract drift and correction from the deviations of each pixel from its mean.

    ``result`` holds the correction, which the result replaces.

    With the mean m over the groups, ``x = data - offset - m``, the time t of a pixel, and the
    drift's intercept a and slope b, ``result = x - (a + b t) - correction + m``; where x is zero,
    a + b t is not subtracted.
    """
    groups, rows, columns = data.shape
    mean = np.empty(columns, np.float64)
    for r in range(rows):
        k = amplifiers[r]
        mean[:] = 0
        for g in range(groups):
            offset = offsets[g, r]
            for c in range(columns):
                mean[c] += np.float32(data[g, r, c] - offset)
        for c in range(columns):
            mean[c] /= groups
        for g in range(groups):
            a, b, offset = lines[g, k, 0], lines[g, k, 1], offsets[g, r]
            for c in range(columns):
                x = np.float32(np.float32(data[g, r, c] - offset) - mean[c])
                line = a + (row_times[r] + column_times[c]) * b
                x = np.float32(x - line) if x != 0 else x
                result[g, r, c] = np.float32(x - result[g, r, c]) + mean[c]
