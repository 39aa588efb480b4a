"""The forward model's inner loops, compiled: one pass over a band of rows each."""

import numpy as np
from numpy.typing import NDArray

from calbatch.models.jit import kernel

Image = NDArray[np.float32]

DIM = 20.0  # expected electrons up to which Poisson numbers come from inverting one uniform number
RECIPROCALS = 1 / np.arange(1.0, 201.0)


@kernel
def add_dim_counts(
    signal: Image,
    expected: NDArray[np.float64],
    uniform: NDArray[np.float64],
    reciprocals: NDArray[np.float64],
    gain: Image,
) -> None:
    """Add Poisson numbers (electrons, turned into DN) where few electrons are expected.

    The number is the inverse of the cumulative distribution at a uniform random number, found by
    sequential search from zero.
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
    """Add to ``counts`` what a read makes of the linear signal: nonlinear, stopped at full well.

    ``coefficients`` (5, rows, cols) are those of the linearity reference; two Newton steps after a
    reversed series invert them.
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
    """Round counts and white noise times its scale to 16 bits."""
    for row in range(counts.shape[0]):
        for col in range(counts.shape[1]):
            value = np.rint(counts[row, col] + white[row, col] * scale[row, col])
            groups[row, col] = np.uint16(min(max(value, 0.0), 65535.0))


@kernel
def add_profiles(image: Image, by_row: Image, by_col: Image) -> None:
    """Add ``sum_k by_row[k, row] by_col[k, col]`` to the image."""
    for row in range(image.shape[0]):
        for term in range(by_row.shape[0]):
            height = by_row[term, row]
            for col in range(image.shape[1]):
                image[row, col] += height * by_col[term, col]
