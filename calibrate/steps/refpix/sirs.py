"""Simple improved reference subtraction (SIRS): the sides smoothed by optimal kernels.

The side columns of reference pixels sample the drift that all amplifiers share. SIRS predicts each
amplifier's drift in a row from both sides, with weights that were fitted in Fourier space to dark
exposures of the detector.

Source: jwst 3.0.0 ``refpix.optimized_convolution``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.calibrate.steps.refpix.weights import AMPLIFIERS
from calbatch.models.asdf.asdf_blocks import read_arrays, read_numbers
from calbatch.models.errors import FileError
from calbatch.models.storage.stamps import Stamp

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]

SIGMAS_PER_MAD = 1.48
"""Standard deviations in a median absolute deviation, rounded as in jwst."""


@dataclass(frozen=True, kw_only=True)
class SideKernels:
    """The smoothing kernels of one detector.

    Attributes
    ----------
    left, right : ndarray
        float64, (amplifiers, detector rows): the kernels of the left and of the right side.
    """

    left: Float64
    right: Float64


@lru_cache(maxsize=16)
def read_coefficients(path: str, stamp: Stamp, detector: str) -> tuple[Array, Array] | None:
    """Return the Fourier coefficients of a detector in a sirskernel reference.

    Parameters
    ----------
    path : str
        The file.
    stamp : Stamp
        Its current state: the coefficients are read again when it changes.
    detector : str
        The detector's name, in upper or lower case.

    Returns
    -------
    gamma, zeta : ndarray
        complex128, (amplifiers, frequencies), of the left and of the right side. None if the file
        has no coefficients for the detector.

    Raises
    ------
    ReferenceFileError
        If the file cannot be read, or its coefficients are not two arrays of equal shape for four
        amplifiers.
    """
    try:
        tree = read_arrays(path)
    except FileError as error:
        raise ReferenceFileError(str(error)) from error
    tables = (t for name, t in tree.items() if str(name).lower() == detector.lower())
    table = next(tables, None)
    if not isinstance(table, Mapping) or not {"gamma", "zeta"} <= table.keys():
        return None
    gamma, zeta = (_as_complex(table[name]) for name in ("gamma", "zeta"))
    if gamma is None or zeta is None or gamma.shape != zeta.shape:
        raise ReferenceFileError(
            f"{path}: gamma and zeta of {detector} must be two arrays of the same shape, "
            f"({AMPLIFIERS} amplifiers, frequencies), with at least two frequencies"
        )
    return gamma, zeta


def _as_complex(values: Any) -> Array | None:
    """Return coefficients as an array of two dimensions, or None."""
    try:
        array = read_numbers(values).astype(np.complex128)
    except (TypeError, ValueError):
        return None
    if array.ndim != 2 or array.shape[0] != AMPLIFIERS or array.shape[1] < 2:
        return None
    return array


def make_kernels(gamma: Array, zeta: Array, gaussmooth: float, halfwidth: int) -> SideKernels:
    """Return the smoothing kernels that have given Fourier coefficients.

    Parameters
    ----------
    gamma, zeta : ndarray
        Coefficients of the left and of the right side, (amplifiers, frequencies).
    gaussmooth : float
        Standard deviation in rows of the Gaussian that kernels are convolved with; 0 for none.
    halfwidth : int
        Rows of a kernel on either side of its centre, at most as many as there are.
    """
    offsets = np.arange(-halfwidth, halfwidth + 1)
    gauss = np.exp(-(offsets**2) / (2 * gaussmooth**2)) if gaussmooth > 0 else 1.0 * (offsets == 0)
    gauss /= gauss.sum()
    sides = (_transform(coefficients, halfwidth) for coefficients in (gamma, zeta))
    left, right = (np.stack([np.convolve(k, gauss, mode="same") for k in side]) for side in sides)
    return SideKernels(left=left, right=right)


def _transform(coefficients: Array, halfwidth: int) -> Float64:
    """Return the kernels with the coefficients, cut to their centres."""
    centre = coefficients.shape[1] - 1
    kernels = np.fft.fftshift(np.fft.irfft(coefficients, axis=1), axes=1)
    return kernels[:, max(0, centre - halfwidth) : centre + halfwidth + 1]


def predict_drift(left: Array, right: Array, kernels: SideKernels, sigreject: float) -> Float64:
    """Return the drift of each amplifier in each detector row.

    With the mean ``m`` of a row's good pixels times the share ``w`` of good ones, each side adds
    ``(m * k) (1 * k) / (w * k)``, where ``*`` is a convolution with the amplifier's kernel ``k``.

    Parameters
    ----------
    left, right : ndarray
        Samples of the side columns, (frames, detector rows, columns).
    kernels : SideKernels
        The detector's kernels.
    sigreject : float
        Pixels farther than this many standard deviations from their side's median are left out.
        Flags do not matter, as in jwst.

    Returns
    -------
    ndarray
        float64, (frames, amplifiers, detector rows). NaN throughout a frame with a NaN in a side.
    """
    drift = np.zeros((len(left), len(kernels.left), left.shape[1]))
    for samples, weights in ((left, kernels.left), (right, kernels.right)):
        ones = np.ones(samples.shape[1])
        whole = [np.convolve(ones, kernel, mode="same") for kernel in weights]
        for frame, pixels in enumerate(samples):
            means, shares = _means_of_rows(np.asarray(pixels, np.float64), sigreject)
            for amplifier, kernel in enumerate(weights):
                with np.errstate(divide="ignore", invalid="ignore"):
                    scale = whole[amplifier] / np.convolve(shares, kernel, mode="same")
                    drift[frame, amplifier] += np.convolve(means, kernel, mode="same") * scale
    return drift


def _means_of_rows(pixels: Float64, sigreject: float) -> tuple[Float64, Float64]:
    """Return each row's mean with outliers counted as zero, and its fraction of other pixels."""
    middle = np.median(pixels)
    distance = np.abs(pixels - middle)
    good = distance <= sigreject * (SIGMAS_PER_MAD * np.median(distance))
    # A product, so that a NaN stays one.
    return (pixels * good).sum(axis=1) / pixels.shape[1], good.mean(axis=1)
