"""Quantities shared by the fits of all pixels: times, groups to fit, weights, sorting network.

The compiled kernels receive a `Plan`. Its tables replace powers and sums that depend only on the
number of groups in a segment and on its class of signal-to-noise ratio.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

POWERS = (0.0, 0.4, 1.0, 3.0, 6.0, 10.0)
"""Exponents P of the weights, by class of signal-to-noise ratio (Fixsen et al. 2000)."""

EDGES = (5.0, 10.0, 20.0, 50.0, 100.0)
"""Signal-to-noise ratios at which the next class begins."""


@dataclass(frozen=True)
class FitSettings:
    """Times and options of a ramp fit.

    Parameters
    ----------
    frame_time, group_time : float
        Seconds between frames, and between groups.
    nframes, groupgap, drop_frames1 : int
        Frames averaged into a group, dropped between groups, dropped before the first group.
    window : tuple of int
        The half-open range of groups to fit; groups outside count as DO_NOT_USE.
    suppress_one_group : bool
        True if ramps with one good group get no rate, unless the exposure has one group.
    """

    frame_time: float
    group_time: float
    nframes: int
    groupgap: int
    drop_frames1: int
    window: tuple[int, int]
    suppress_one_group: bool = True

    @property
    def one_group_time(self) -> float:
        """Mean integration time (s) of the first group: ``(nframes + 1) / 2 * frame_time``."""
        return (float(self.nframes) + 1.0) * float(np.float32(self.frame_time)) / 2.0

    @property
    def pedestal_factor(self) -> float:
        """Factor f of the pedestal, ``first group - f * rate``, as in jwst."""
        return ((self.nframes + 1) / 2.0 + self.drop_frames1) / (self.nframes + self.groupgap)


class Plan(NamedTuple):
    """Parameters of the kernels that all pixels of an exposure share.

    Attributes
    ----------
    group_time, one_group_time, frame_time : float
        Seconds: between groups, to the middle of the first group, and to the zero frame.
    frames_root : float
        ``sqrt(2 * nframes)``: the noise of a difference of two frames over that of one group.
    start, stop : int
        The groups in use (half-open); groups outside are treated as never read.
    first, last : int
        The groups to fit (half-open), within those in use.
    suppress : bool
        True if a ramp with one good group gets no rate.
    estimators : ndarray of float64, (6, coefficients)
        Result of `slope_estimators` for segments of up to ``last - first`` groups.
    full : ndarray of float64, (pairs, 6)
        The same for a segment of all fitted groups, but per second, laid out for looking up many
        pixels at once.
    network : ndarray of intp, (exchanges, 2)
        Result of `median_network` for the differences of all fitted groups.
    uneven_network : ndarray of intp, (exchanges, 2)
        The same with ``lower``, for differences of which some are not usable.
    """

    group_time: float
    one_group_time: float
    frame_time: float
    frames_root: float
    start: int
    stop: int
    first: int
    last: int
    suppress: bool
    estimators: npt.NDArray[np.float64]
    full: npt.NDArray[np.float64]
    network: npt.NDArray[np.intp]
    uneven_network: npt.NDArray[np.intp]


@lru_cache(maxsize=8)
def make_plan(
    settings: FitSettings, ngroups: int, group_range: tuple[int, int] | None = None
) -> Plan:
    """Return the plan for ramps of ``ngroups`` groups, of which ``group_range`` is in use."""
    start, stop = group_range or (0, ngroups)
    first, last = max(settings.window[0], start), min(settings.window[1], stop)
    length = max(last - first, 0)
    estimators = slope_estimators(max(length, 2))
    tail = table_offset(max(length, 2))
    group_time = float(np.float32(settings.group_time))  # float32 in jwst's fit
    return Plan(
        group_time=group_time,
        one_group_time=settings.one_group_time,
        frame_time=float(np.float32(settings.frame_time)),
        frames_root=math.sqrt(2.0 * settings.nframes),
        start=start,
        stop=stop,
        first=first,
        last=last,
        suppress=settings.suppress_one_group and ngroups > 1,
        estimators=estimators,
        full=np.ascontiguousarray(estimators[:, tail : tail + length // 2].T) / group_time,
        network=median_network(max(length - 1, 1)),
        uneven_network=median_network(max(length - 1, 1), lower=True),
    )


def table_offset(length: int) -> int:
    """Return the index of the first coefficient of segments of ``length`` groups in the table."""
    return (length - 1) ** 2 // 4


def slope_estimators(longest: int) -> npt.NDArray[np.float64]:
    """Return the coefficients of the slopes of segments, by class of signal-to-noise ratio.

    Group i has the weight ``w[i] = |(i - m) / m|**P`` with ``m = (n - 1) / 2`` (F1 of
    docs/steps/ramp_fit.md; Fixsen et al. 2000, PASP 112, 1350). The least-squares slope with these
    symmetric weights (F2) is ``sum(c[p] * (y[n - 1 - p] - y[p]))`` over the pairs of groups p, from
    the outside inwards, with ``c[p] = w[p] * (m - p) / (2 * sum(w[q] * (m - q)**2))``.

    Parameters
    ----------
    longest : int
        Groups in the longest segment.

    Returns
    -------
    ndarray of float64, (6, coefficients)
        ``n // 2`` coefficients for each length n from 2, from ``table_offset(n)`` on; per group.
    """
    table = np.zeros((len(POWERS), table_offset(longest + 1)))
    for length in range(2, longest + 1):
        pairs = length // 2
        distance = (length - 1) / 2.0 - np.arange(pairs)
        near = np.abs(distance / distance[0]).astype(np.float32)
        for row, power in enumerate(POWERS):
            weighted = near ** np.float32(power) * distance
            scale = 2.0 * np.sum(weighted * distance)
            table[row, table_offset(length) : table_offset(length) + pairs] = weighted / scale
    return table


def median_network(count: int, *, lower: bool = False) -> npt.NDArray[np.intp]:
    """Return the exchanges that move the median of ``count`` values to the middle.

    With ``lower``, the value just below the middle is found, too, if ``count`` is odd.

    Merge exchange (Batcher 1968; Knuth, The Art of Computer Programming, vol. 3, section 5.2.2,
    algorithm M), without exchanges that do not affect the middle value or the middle two.

    Returns
    -------
    ndarray of intp, (exchanges, 2)
        Pairs of positions, lower first: the smaller value moves to the lower position.
    """
    needed = {(count - 1) // 2, count // 2} | ({max(count // 2 - 1, 0)} if lower else set())
    exchanges: list[tuple[int, int]] = []
    for low, high in reversed(_merge_exchange(count)):
        if low in needed or high in needed:
            needed |= {low, high}
            exchanges.append((low, high))
    return np.array(exchanges[::-1], dtype=np.intp).reshape(-1, 2)


def _merge_exchange(count: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    top = 1 << max((count - 1).bit_length() - 1, 0)
    bit = top
    while bit > 0:
        stride, phase, gap = top, 0, bit
        while True:
            pairs += [(i, i + gap) for i in range(count - gap) if i & bit == phase]
            if stride == bit:
                break
            gap, stride, phase = stride - bit, stride >> 1, bit
        bit >>= 1
    return pairs
