"""The polynomial that linearises counts, and its inverse.

The polynomial is the one of the linearity reference (jwst 3.0.0 ``linearity`` step): counts above
the bias go in, linear DN come out. The simulator needs the other direction.
"""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def linearise(counts: Image, coefficients: Image) -> Image:
    """Return linear DN for counts above the bias.

    Parameters
    ----------
    counts : ndarray, shape (..., rows, cols)
    coefficients : ndarray, shape (n, rows, cols)
        Lowest power first.
    """
    result = np.zeros_like(counts) + coefficients[-1]
    for plane in coefficients[-2::-1]:
        result *= counts
        result += plane
    return result


def delinearise(signal: Image, coefficients: Image) -> Image:
    """Return the counts above the bias that ``linearise`` turns into ``signal``.

    The polynomial must be ``x`` plus small terms of higher power that grow up to the largest
    signal. A series reversed to the third power starts two Newton steps, which leave less than 1e-6
    of the signal for a loss of 10 % at the largest signal.
    """
    second, third = coefficients[2], coefficients[3]
    counts = signal * (1 - signal * (second - (2 * second * second - third) * signal))
    for _ in range(2):
        value, slope = _value_and_slope(counts, coefficients)
        counts -= (value - signal) / slope
    return counts


def inverse_coefficients(coefficients: Image, largest: Image) -> Image:
    """Return polynomials, one per pixel, that approximate ``delinearise`` up to ``largest``.

    Parameters
    ----------
    coefficients : ndarray, shape (n, rows, cols)
    largest : ndarray, shape (rows, cols)
        Linear DN up to which the inverse is fitted.

    Returns
    -------
    ndarray, shape (6, rows, cols)
        Lowest power first; the constant term is 0.
    """
    nodes = np.linspace(0.02, 1, 24)
    powers = np.arange(1, 6)
    solve = np.linalg.pinv(nodes[:, np.newaxis] ** powers).astype(np.float32)
    inverse = np.zeros((6, *largest.shape), dtype=np.float32)
    for node, weights in zip(nodes.astype(np.float32), solve.T, strict=True):
        counts = delinearise(node * largest, coefficients)
        inverse[1:] += weights[:, np.newaxis, np.newaxis] * counts
    inverse[1:] /= largest ** powers[:, np.newaxis, np.newaxis]
    return inverse


def _value_and_slope(counts: Image, coefficients: Image) -> tuple[Image, Image]:
    """Return the polynomial and its derivative by Horner's rule."""
    value = np.zeros_like(counts) + coefficients[-1]
    slope = np.zeros_like(counts)
    for plane in coefficients[-2::-1]:
        slope *= counts
        slope += value
        value *= counts
        value += plane
    return value, slope
