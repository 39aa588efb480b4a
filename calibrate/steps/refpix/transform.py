"""Fourier transforms of the time series of an IRS2 frame.

The N = 89 x 16384 samples of a series make one real transform of an awkward length: a general
routine spends four fifths of its time on the factor 89. With n = 16384 j + m and f = k + 89 q,

(1)  X[k + 89 q] = sum_m exp(-2 pi i q m / 16384) t[k, m] Y[k, m]
(2)  Y[k, m] = sum_j exp(-2 pi i k j / 89) x[16384 j + m],  t[k, m] = exp(-2 pi i k m / N)

(2) is a small real matrix product along contiguous samples, and (1) are transforms of a power of
two. X[N - f] is the conjugate of X[f], so the rows k = 0 ... 44 hold all of a spectrum. It stays in
that order, [k, q]: filters are put into it once.

Source: Cooley & Tukey 1965 (Math. Comput. 19, 297).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # imports scipy.fft, which is slow, when it is used

from calbatch.models.jit import inner_kernel, kernel

Array = npt.NDArray[Any]
Spectrum = npt.NDArray[np.complex64]
Series = npt.NDArray[np.float32]

PRIME = 89
HALF = PRIME // 2
LENGTH = 16384
SAMPLES = PRIME * LENGTH
_CHUNK = 256  # samples that stay in the processor's cache
_UNROLLED = 4  # divides HALF


@inner_kernel
def _weigh_rows(weights: Array, rows: Array, total: Array) -> None:
    """Compute ``total[m] = sum_j weights[j] rows[j, m]``."""
    total[:] = 0
    for j in range(0, HALF, _UNROLLED):
        w0, w1, w2, w3 = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        for m in range(_CHUNK):
            total[m] += (w0 * rows[j, m] + w1 * rows[j + 1, m]) + (
                w2 * rows[j + 2, m] + w3 * rows[j + 3, m]
            )


@kernel
def _sum_columns(x: Array, cosines: Array, sines: Array, twiddles: Array, result: Array) -> None:
    """Compute ``t[k, m] Y[k, m]`` of equation (2).

    With the sums and differences of x[j] and x[89 - j],
    Y[k] = x[0] + sum_j (cos(2 pi j k / 89) s[j] - i sin(2 pi j k / 89) d[j]), j = 1 ... 44.
    """
    s, d = np.empty((HALF, _CHUNK), np.float32), np.empty((HALF, _CHUNK), np.float32)
    re, im = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.float32)
    for start in range(0, LENGTH, _CHUNK):
        for j in range(HALF):
            for m in range(_CHUNK):
                s[j, m] = x[j + 1, start + m] + x[PRIME - 1 - j, start + m]
                d[j, m] = x[j + 1, start + m] - x[PRIME - 1 - j, start + m]
        for k in range(HALF + 1):
            _weigh_rows(cosines[k], s, re)
            _weigh_rows(sines[k], d, im)
            for m in range(_CHUNK):
                y = complex(x[0, start + m] + re[m], -im[m])
                result[k, start + m] = y * twiddles[k, start + m]


@kernel
def _sum_rows(z: Array, cosines: Array, sines: Array, twiddles: Array, x: Array) -> None:
    """Compute the real series whose ``t[k, m] Y[k, m]`` are ``z``, times 89: (2) inverted.

    With Y = z conj(t), C[j] = sum_k cos(2 pi j k / 89) Re Y[k] and S[j] = sum_k sin(...) Im Y[k],
    x[j] = Y[0] + 2 (C[j] - S[j]) and x[89 - j] = Y[0] + 2 (C[j] + S[j]), k = 1 ... 44.
    """
    re, im = np.empty((HALF, _CHUNK), np.float32), np.empty((HALF, _CHUNK), np.float32)
    c, s = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.float32)
    two = np.float32(2)
    for start in range(0, LENGTH, _CHUNK):
        for k in range(HALF):
            for m in range(_CHUNK):
                y = z[k + 1, start + m] * twiddles[k + 1, start + m].conjugate()
                re[k, m] = y.real
                im[k, m] = y.imag
        for j in range(HALF + 1):  # the matrices are symmetric
            _weigh_rows(cosines[j], re, c)
            _weigh_rows(sines[j], im, s)
            for m in range(_CHUNK):
                first = z[0, start + m].real
                x[j, start + m] = first + two * (c[m] - s[m])
                if j > 0:
                    x[PRIME - j, start + m] = first + two * (c[m] + s[m])


@cache
def _tables() -> tuple[Array, Array, Array]:
    """Return cos and sin(2 pi j k / 89), (k = 0 ... 44, j = 1 ... 44), and t[k, m]."""
    angles = 2 * np.pi * np.outer(np.arange(HALF + 1), np.arange(1, HALF + 1)) / PRIME
    phases = np.outer(np.arange(HALF + 1), np.arange(LENGTH)) / SAMPLES
    twiddles = np.exp(-2j * np.pi * phases).astype(np.complex64)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32), twiddles


def transform(series: Series) -> Spectrum:
    """Return the spectrum of a series of `SAMPLES` float32 numbers, as [k, q] of equation (1)."""
    spectrum = np.empty((HALF + 1, LENGTH), np.complex64)
    _sum_columns(series.reshape(PRIME, LENGTH), *_tables(), spectrum)
    result: Spectrum = scipy.fft.fft(spectrum, axis=1, overwrite_x=True)
    return result


def transform_back(spectrum: Spectrum) -> Series:
    """Return the series of a spectrum, which is overwritten."""
    z = scipy.fft.ifft(spectrum, axis=1, overwrite_x=True)
    series = np.empty((PRIME, LENGTH), np.float32)
    _sum_rows(z, *_tables(), series)
    series *= np.float32(1 / PRIME)
    return series.reshape(-1)


def order_frequencies(values: Array) -> Array:
    """Return values for the frequencies f = 0 ... N - 1 in the order of spectra, [k, q]."""
    by_k = values.reshape(LENGTH, PRIME).T[: HALF + 1]
    return np.ascontiguousarray(by_k)


def make_hermitian(values: Array) -> Array:
    """Return the Hermitian part of a filter, which alone affects the real part of the result.

    Where x is real, Re(F^-1[h F(x)]) = F^-1[(h(f) + conj h(N - f)) / 2 F(x)].
    """
    mirrored = np.roll(values[::-1], 1)
    result: Array = (values + mirrored.conj()) / 2
    return result


def warm_kernels() -> None:
    """Compile the kernels, or load them from numba's cache."""
    transform_back(transform(np.zeros(SAMPLES, np.float32)))
