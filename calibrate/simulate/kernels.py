"""Compiled loops of the forward model, each of which makes one pass over a band of rows.

Equations are numbered in docs/simulate.md.
"""

import numpy as np
from numpy.typing import NDArray

from calbatch.models.jit import kernel

Image = NDArray[np.float32]

DIM = 20.0
"""Largest mean, in electrons, of the Poisson numbers that `add_dim_counts` draws."""

RECIPROCALS = 1 / np.arange(1.0, 201.0)
"""``1 / k`` of the terms of (M1), because divisions are slow."""


@kernel
def add_dim_counts(
    signal: Image,
    expected: NDArray[np.float64],
    uniform: NDArray[np.float64],
    reciprocals: NDArray[np.float64],
    gain: Image,
) -> None:
    """Add Poisson numbers of electrons, converted to DN, to pixels whose mean is small.

    A number is the inverse of the cumulative distribution at a uniform random number (M1), found by
    sequential search from zero. Pixels with a mean above `DIM` stay unchanged.

    Parameters
    ----------
    signal : ndarray of float32, (rows, columns)
        Linear signal (DN), to which the numbers are added.
    expected : ndarray of float64, (rows, columns)
        Means, in electrons.
    uniform : ndarray of float64, (rows, columns)
        Random numbers, uniform in [0, 1).
    reciprocals : ndarray of float64
        `RECIPROCALS`.
    gain : ndarray of float32, (rows, columns)
        Gain, electron/DN.
    """
    for row in range(signal.shape[0]):
        for col in range(signal.shape[1]):
            mean = expected[row, col]
            if mean <= 0 or mean > DIM:
                continue
            probability = np.exp(-mean)
            left = uniform[row, col]
            number = 0
            while left > probability and number < reciprocals.size:
                left -= probability
                probability *= mean * reciprocals[number]
                number += 1
            signal[row, col] += number / gain[row, col]


@kernel
def add_counts(counts: Image, signal: Image, full_well: Image, coefficients: Image) -> None:
    """Add the nonlinear counts of a linear signal, limited to full well.

    The counts x solve ``c0 + c1 * x + c2 * x**2 + c3 * x**3 + c4 * x**4 = signal`` (M2). The
    reversed series gives the first approximation, and two steps of Newton's method improve it.

    Parameters
    ----------
    counts : ndarray of float32, (rows, columns)
        Counts (DN), to which the result is added.
    signal, full_well : ndarray of float32, (rows, columns)
        Linear signal, and the counts at full well, DN.
    coefficients : ndarray of float32, (5, rows, columns)
        Coefficients of the linearity reference.
    """
    for row in range(signal.shape[0]):
        for col in range(signal.shape[1]):
            c0, c1 = coefficients[0, row, col], coefficients[1, row, col]
            c2, c3 = coefficients[2, row, col], coefficients[3, row, col]
            c4 = coefficients[4, row, col]
            well = full_well[row, col]
            largest = (((c4 * well + c3) * well + c2) * well + c1) * well + c0
            true = signal[row, col]
            if true >= largest:
                counts[row, col] += well
                continue
            x = true * (1 - true * (c2 - (2 * c2 * c2 - c3) * true))
            for _ in range(2):
                value = (((c4 * x + c3) * x + c2) * x + c1) * x + c0
                slope = ((4 * c4 * x + 3 * c3) * x + 2 * c2) * x + c1
                x -= (value - true) / slope
            counts[row, col] += x


@kernel
def digitise(counts: Image, white: Image, scale: Image, groups: NDArray[np.uint16]) -> None:
    """Round the sum of counts and scaled white noise to 16 bits (M3)."""
    for row in range(counts.shape[0]):
        for col in range(counts.shape[1]):
            value = np.rint(counts[row, col] + white[row, col] * scale[row, col])
            groups[row, col] = np.uint16(min(max(value, 0.0), 65535.0))


@kernel
def add_profiles(image: Image, by_row: Image, by_col: Image) -> None:
    """Add ``sum_k by_row[k, row] * by_col[k, col]`` (M4) to the image."""
    for row in range(image.shape[0]):
        for term in range(by_row.shape[0]):
            height = by_row[term, row]
            for col in range(image.shape[1]):
                image[row, col] += height * by_col[term, col]
