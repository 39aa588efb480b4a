"""The polynomial that linearises counts, and its inverse.

The polynomial is the one of the linearity reference (jwst 3.0.0 ``linearity`` step): counts above
the bias go in, linear DN come out. The simulator needs the other direction.
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
    """Return the counts above the bias that ``linearise`` turns into ``signal``.

    Parameters
    ----------
    signal : ndarray, shape (rows, cols)
        Linear DN.
    full_well : ndarray, shape (rows, cols)
        Counts at which a pixel stops: the result is never larger.
    coefficients : ndarray, shape (5, rows, cols)
        The polynomial must grow up to full well, and its powers above the first must be small there
        (a loss of 10 % leaves an error below 1e-6 of the signal).
    """
    counts = np.zeros_like(signal)
    add_counts(counts, signal, full_well, coefficients)
    return counts


def inverse_coefficients(full_well: Image, coefficients: Image) -> Image:
    """Return polynomials, one per pixel, that approximate ``delinearise`` up to full well.

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
