"""The polynomial that linearises counts, and its inverse.

The polynomial of the linearity reference (jwst 3.0.0 ``linearity`` step) converts counts above the
bias to linear DN. The simulator needs the inverse.
"""

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.kernels import add_counts

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


def delinearise(signal: Image, full_well: Image, coefficients: Image) -> Image:
    """Return the counts above the bias that `linearise` converts to ``signal``.

    Parameters
    ----------
    signal : ndarray, shape (rows, cols)
        Linear DN.
    full_well : ndarray, shape (rows, cols)
        Maximum counts of a pixel, which the result does not exceed.
    coefficients : ndarray, shape (5, rows, cols)
        The polynomial must increase up to full well, with a small contribution of its higher
        powers (for a loss of 10 %, the error is below 1e-6 of the signal).
    """
    counts = np.zeros_like(signal)
    add_counts(counts, signal, full_well, coefficients)
    return counts


def inverse_coefficients(full_well: Image, coefficients: Image) -> Image:
    """Return polynomials, one per pixel, that approximate `delinearise` up to full well.

    Parameters
    ----------
    full_well : ndarray, shape (rows, cols)
    coefficients : ndarray, shape (5, rows, cols)

    Returns
    -------
    ndarray, shape (6, rows, cols)
        Lowest power first; the constant term is 0.
    """
    nodes = np.linspace(0.02, 1, 24)
    powers = np.arange(1, 6)
    solve = np.linalg.pinv(nodes[:, np.newaxis] ** powers).astype(np.float32)
    largest = linearise(full_well, coefficients)
    inverse = np.zeros((6, *full_well.shape), dtype=np.float32)
    for node, weights in zip(nodes.astype(np.float32), solve.T, strict=True):
        counts = delinearise(node * largest, full_well, coefficients)
        inverse[1:] += weights[:, np.newaxis, np.newaxis] * counts
    inverse[1:] /= largest ** powers[:, np.newaxis, np.newaxis]
    return inverse
