"""Compiled loops of the linearity step: a polynomial per pixel, for groups or for their reads.

The polynomial ``sum(coeffs[k] * x**k)`` (L1) is evaluated by Horner's rule. Every loop runs along a
row, in the precision and order of operations of stcal, so that results agree to the last bits.
Equations are numbered in docs/steps/linearity.md. Source: stcal 1.20 ``linearity``
(``linearity_correction``, ``apply_polynomial``).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models import dq
from calbatch.models.jit import inner_kernel, inner_view_kernel, kernel

NONE = np.uint8(0)
SATURATED = np.uint8(dq.SATURATED)
NO_LIN_CORR = np.uint32(dq.NO_LIN_CORR)

Array = npt.NDArray[Any]


# Loops along a row are separate functions so that all of them are vectorized. They add two terms at
# a time, since each pass along the row costs as much as the arithmetic in it.


@inner_view_kernel
def _clear(total: Array) -> None:
    for x in range(total.size):
        total[x] = 0


@inner_view_kernel
def _begin(values: Array, factor: Array, result: Array) -> None:
    for x in range(values.size):
        result[x] = factor[x] * values[x]


@inner_view_kernel
def _begin_with_two(values: Array, factor: Array, lower: Array, result: Array) -> None:
    for x in range(values.size):
        value = values[x]
        result[x] = (factor[x] * value + lower[x]) * value


@inner_view_kernel
def _begin_with_four(
    values: Array, first: Array, second: Array, third: Array, fourth: Array, result: Array
) -> None:
    for x in range(values.size):
        value = values[x]
        high = (first[x] * value + second[x]) * value
        result[x] = ((high + third[x]) * value + fourth[x]) * value


@inner_view_kernel
def _continue(values: Array, factor: Array, lower: Array, result: Array) -> None:
    for x in range(values.size):
        value = values[x]
        result[x] = ((result[x] + factor[x]) * value + lower[x]) * value


@inner_view_kernel
def _add(more: Array, result: Array) -> None:
    for x in range(more.size):
        result[x] += more[x]


@inner_view_kernel
def _finish(values: Array, factor: Array, groupdq: Array, powers: Array) -> None:
    """Add the constant term to ``powers``; saturated samples keep their measured values."""
    for x in range(values.size):
        measured, linear = values[x], powers[x] + factor[x]
        powers[x] = measured if groupdq[x] & SATURATED != NONE else linear


@inner_view_kernel
def _copy(row: Array, copy: Array) -> None:
    for x in range(row.size):
        copy[x] = row[x]


@inner_view_kernel
def _evaluate_powers(values: Array, coeffs: Array, result: Array) -> None:
    """Evaluate a row of polynomials by Horner's rule, without the constant term.

    ``result = (...(c[K] * x + c[K-1]) * x + ... + c[1]) * x``
    """
    last = coeffs.shape[0] - 1
    if last % 2 == 1:
        _begin(values, coeffs[last], result)
        last -= 1
    elif last == 2:
        _begin_with_two(values, coeffs[2], coeffs[1], result)
        last = 0
    else:
        high, low = coeffs[last - 1], coeffs[last - 2]
        _begin_with_four(values, coeffs[last], high, low, coeffs[last - 3], result)
        last -= 4
    for term in range(last, 1, -2):
        _continue(values, coeffs[term], coeffs[term - 1], result)


@inner_view_kernel
def _find_bad(coeffs: Array, bad: Array) -> None:
    for x in range(bad.size):
        bad[x] |= coeffs[x] != coeffs[x]


@inner_view_kernel
def _replace(coeffs: Array, bad: Array, identity: np.float32, usable: Array) -> None:
    for x in range(bad.size):
        given = coeffs[x]
        usable[x] = identity if bad[x] else given


@inner_view_kernel
def _copy_usable(
    coeffs: Array, y: int, ref_dq: Array, bad: Array, usable: Array, flags: Array
) -> None:
    """Copy one row of coefficients to ``usable``, or the identity where they are unusable.

    ``bad`` is scratch: True for unusable ones.
    """
    terms, cols = usable.shape
    for x in range(cols):
        bad[x] = (ref_dq[x] & NO_LIN_CORR != 0) | (coeffs[1, y, x] == 0)
    for term in range(terms):
        _find_bad(coeffs[term, y], bad)
    for term in range(terms):
        _replace(coeffs[term, y], bad, np.float32(term == 1), usable[term])
    for x in range(cols):
        flags[x] |= ref_dq[x] | (NO_LIN_CORR if bad[x] else np.uint32(0))


@inner_view_kernel
def _linearize_row(groupdq: Array, y: int, usable: Array, powers: Array, data: Array) -> None:
    """Apply the polynomials of a row to all groups, in place; ``powers`` is scratch."""
    for i in range(data.shape[0]):
        for group in range(data.shape[1]):
            values = data[i, group, y]
            _evaluate_powers(values, usable, powers)
            # In place, the compiler would emit masked stores, several times slower.
            _finish(values, usable[0], groupdq[i, group, y], powers)
            _copy(powers, values)


@kernel
def linearize_groups(
    groupdq: Array, coeffs: Array, ref_dq: Array, data: Array, flags: Array
) -> None:
    """Apply each pixel's polynomial to all its unsaturated groups, in place."""
    _, _, rows, cols = data.shape
    usable, bad = np.empty((coeffs.shape[0], cols), np.float32), np.empty(cols, np.bool_)
    powers = np.empty(cols, data.dtype)
    for y in range(rows):
        _copy_usable(coeffs, y, ref_dq[y], bad, usable, flags[y])
        _linearize_row(groupdq, y, usable, powers, data)


@inner_view_kernel
def _find_last_good(
    data: Array, groupdq: Array, y: int, middles: Array, raw: Array, flags: Array, span: Array
) -> None:
    """Find each pixel's last good group: its counts, flags, and time since the first."""
    for x in range(data.shape[2]):
        count = 0
        for group in range(data.shape[0]):
            count += groupdq[group, y, x] & SATURATED == NONE
        final = max(count - 2, 1)  # the last unsaturated group may be partly saturated
        raw[x], flags[x] = data[final, y, x], groupdq[final, y, x]
        span[x] = middles[final] - middles[0]


@inner_kernel
def _find_steady_rate(
    data: Array, groupdq: Array, y: int, coeffs: Array, middles: Array, first: Array, rate: Array
) -> None:
    """Find each pixel's first linear value, and its rate per read up to the last good group.

    ``rate = (linear[last] - linear[0]) / (t[last] - t[0])`` (L2), with t in reads.
    """
    cols = data.shape[2]
    last, raw = np.empty(cols, np.float32), np.empty(cols, np.float32)
    flags, span = np.empty(cols, np.uint8), np.empty(cols, np.float64)
    _find_last_good(data, groupdq, y, middles, raw, flags, span)
    _evaluate_powers(data[0, y], coeffs, first)
    _finish(data[0, y], coeffs[0], groupdq[0, y], first)
    _evaluate_powers(raw, coeffs, last)
    _finish(raw, coeffs[0], flags, last)
    for x in range(cols):
        rate[x] = (last[x] - first[x]) / span[x]


@inner_view_kernel
def _predict(first: Array, rate: Array, time: float, value: Array) -> None:
    for x in range(first.size):
        value[x] = first[x] + rate[x] * time


@inner_view_kernel
def _complete(factor: Array, result: Array, total: Array) -> None:
    """Add the constant term, and add the value to a total."""
    for x in range(result.size):
        value = result[x] + factor[x]
        result[x] = value
        total[x] += value


@inner_view_kernel
def _find_shortfall(measured: Array, total: Array, count: int, offset: Array) -> None:
    for x in range(measured.size):
        offset[x] = measured[x] - total[x] / count


@inner_view_kernel
def _linearize_average(
    measured: Array,
    times: Array,
    first: Array,
    rate: Array,
    coeffs: Array,
    inverse: Array,
    reads: Array,
    scratch: Array,
) -> None:
    """Split one row of averages into reads, linearize these, and leave their sum in scratch[0].

    Read r of a steady ramp is measured as ``m[r] = inverse(first + rate * t[r])`` (L3); the offset
    ``measured - mean(m)`` (L4) makes the average of the reads that of the group.
    """
    total, value, offset = scratch[0], scratch[1], scratch[2]
    _clear(total)
    for read in range(times.size):
        _predict(first, rate, times[read], value)
        _evaluate_powers(value, inverse, reads[read])
        _complete(inverse[0], reads[read], total)
    _find_shortfall(measured, total, times.size, offset)
    _clear(total)
    for read in range(times.size):
        _add(offset, reads[read])
        _evaluate_powers(reads[read], coeffs, value)
        _complete(coeffs[0], value, total)


@inner_view_kernel
def _choose_mean(measured: Array, total: Array, count: int, groupdq: Array, out: Array) -> None:
    for x in range(measured.size):
        linear = np.float32(total[x] / count)
        out[x] = measured[x] if groupdq[x] & SATURATED != NONE else linear


@kernel
def linearize_reads(
    data: Array,
    groupdq: Array,
    coeffs: Array,
    inverse: Array,
    ref_dq: Array,
    frames: int,
    linear: Array,
    flags: Array,
) -> None:
    """Linearize the individual reads of each group, reconstructed along a steady ramp.

    As in stcal's caller, groups are assumed to follow each other without gaps (``groupgap``).
    """
    ints, groups, rows, cols = data.shape
    usable = np.empty((coeffs.shape[0], cols), np.float32)
    back, bad = np.empty((inverse.shape[0], cols), np.float32), np.empty(cols, np.bool_)
    first, rate = np.empty(cols, np.float32), np.empty(cols, np.float64)
    reads, scratch = np.empty((frames, cols), np.float64), np.empty((3, cols), np.float64)
    middles = np.arange(groups) * frames + (frames + 1) / 2
    for y in range(rows):
        _copy_usable(coeffs, y, ref_dq[y], bad, usable, flags[y])
        _copy_usable(inverse, y, ref_dq[y], bad, back, flags[y])
        for i in range(ints):
            _find_steady_rate(data[i], groupdq[i], y, usable, middles, first, rate)
            for group in range(groups):
                times = np.arange(1, frames + 1) + group * frames - middles[0]
                row, out = data[i, group, y], linear[i, group, y]
                _linearize_average(row, times, first, rate, usable, back, reads, scratch)
                _choose_mean(row, scratch[0], frames, groupdq[i, group, y], out)
