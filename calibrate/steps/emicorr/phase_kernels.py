"""Compiled loops of the fit and the subtraction of interference.

Source: jwst 3.0.0 ``emicorr``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import inner_kernel, kernel

Array = npt.NDArray[Any]


@inner_kernel
def _wave_at(coefficients: Array, phase: float) -> float:
    """Return the spline of `fit_spline` at a phase in periods."""
    p = phase - np.floor(phase)
    t = (p if p < 1.0 else 0.0) * (coefficients.shape[0] - 1) + 0.5
    m = int(t)
    u = t - m
    c = coefficients[m]
    return c[0] + u * (c[1] + u * (c[2] + u * c[3]))


@kernel
def subtract_phased(
    data: Array, coefficients: Array, phases: Array, shifts: Array, amplitudes: Array, result: Array
) -> None:
    """Subtract a wave: ``result = data - A[i] f(phase[row, k] + shift[i, g])``.

    ``k`` is the column divided by 4, for columns from a multiple of 4 on.
    """
    ints, groups, rows, columns = data.shape
    count = phases.shape[1]
    levels, spread = np.empty(count), np.empty(4 * count)
    for i in range(ints):
        for g in range(groups):
            first, second = shifts[i, g]
            for r in range(rows):
                _fill_levels(coefficients, phases[r], first, second, amplitudes[i], levels, spread)
                _subtract_levels(data[i, g, r], spread[:columns], result[i, g, r])


@inner_kernel
def _fill_levels(
    coefficients: Array,
    phases: Array,
    first: float,
    second: float,
    amplitude: float,
    levels: Array,
    spread: Array,
) -> None:
    """Compute the wave of a row at each phase, and repeat it for the four columns of a phase."""
    for k in range(phases.size):
        levels[k] = amplitude * _wave_at(coefficients, (phases[k] + first) + second)
    for c in range(spread.size):
        spread[c] = levels[c // 4]


@inner_kernel
def _subtract_levels(row: Array, levels: Array, result: Array) -> None:
    for c in range(row.size):
        result[c] = np.float32(np.float64(row[c]) - levels[c])


@kernel
def compute_scatter(data: Array, scatter: Array) -> None:
    """Compute the standard deviation over groups in single precision, as NumPy does.

    ``scatter = sqrt(sum((data - mean)**2) / groups)``, (integrations, rows, columns)
    """
    ints, groups, rows, columns = data.shape
    count = np.float32(groups)
    mean = np.empty(columns, np.float32)
    for i in range(ints):
        for r in range(rows):
            squares = scatter[i, r]
            mean[:] = np.float32(0)
            squares[:] = np.float32(0)
            for g in range(groups):
                line = data[i, g, r]
                for c in range(columns):
                    mean[c] += line[c]
            for c in range(columns):
                mean[c] /= count
            for g in range(groups):
                line = data[i, g, r]
                for c in range(columns):
                    distance = line[c] - mean[c]
                    squares[c] += distance * distance
            for c in range(columns):
                squares[c] = np.sqrt(squares[c] / count)


@kernel
def add_by_phase(data: Array, good: Array, bins: Array, sums: Array, numbers: Array) -> None:
    """Add the samples of good pixels to the sums of their phases, and count the pixels.

    ``sums`` are (bins, groups, integrations), ``numbers`` (bins, integrations). Pixels of the
    second and third read of a row (columns 4 to 11) are left out.
    """
    ints, groups, rows, _ = data.shape
    for i in range(ints):
        for r in range(rows):
            for k in range(bins.shape[1]):
                if k == 1 or k == 2:
                    continue
                index = bins[r, k]
                for c in range(4 * k, 4 * k + 4):
                    if good[i, r, c]:
                        numbers[index, i] += 1.0
                        for g in range(groups):
                            sums[index, g, i] += np.float64(data[i, g, r, c])


@kernel
def compute_fit_terms(
    sums: Array,
    numbers: Array,
    coefficients: Array,
    template: Array,
    shifts: Array,
    quadratic: Array,
    linear: Array,
) -> None:
    """Compute a and b of chi-squared, ``a A**2 + b A``, for amplitude A and each phase shift.

    z is the wave at a phase, n the number of pixels with this phase, y the sums of their samples,
    S_z, S_tz, … sums over the G groups at the times t, and ``D = G S_tt - S_t**2``:
    ``a = sum(n / D * (-S_tt S_z**2 + 2 S_t S_z S_tz - G S_tz**2 + S_zz D))``,
    ``b = sum(2 / D * (S_tt S_z S_y - S_t S_tz S_y - S_t S_z S_ty + G S_tz S_ty) - 2 S_yz)``.
    """
    bins, groups, ints = sums.shape
    s_t, s_tt = 0.0, 0.0
    for g in range(groups):
        s_t += g
        s_tt += g * g
    determinant = groups * s_tt - s_t * s_t
    s_y, s_ty = np.zeros((bins, ints)), np.zeros((bins, ints))
    for j in range(bins):
        for g in range(groups):
            for i in range(ints):
                s_y[j, i] += sums[j, g, i]
                s_ty[j, i] += g * sums[j, g, i]
    s_yz = np.empty(ints)
    for k in range(shifts.size):
        for j in range(bins):
            s_z, s_tz, s_zz = 0.0, 0.0, 0.0
            s_yz[:] = 0.0
            for g in range(groups):
                z = _wave_at(coefficients, template[j, g] + shifts[k])
                s_z += z
                s_tz += g * z
                s_zz += z * z
                for i in range(ints):
                    s_yz[i] += z * sums[j, g, i]
            curvature = (
                -s_tt * s_z * s_z + 2 * s_t * s_z * s_tz - groups * s_tz * s_tz + s_zz * determinant
            ) / determinant
            of_y = 2 * (s_tt * s_z - s_t * s_tz) / determinant
            of_ty = 2 * (groups * s_tz - s_t * s_z) / determinant
            for i in range(ints):
                quadratic[k, i] += numbers[j, i] * curvature
                linear[k, i] += of_y * s_y[j, i] + of_ty * s_ty[j, i] - 2 * s_yz[i]
