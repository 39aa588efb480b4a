"""What every pixel's ramp fit shares: times, the groups to fit, weights and the sorting network.

The compiled kernels receive one `Plan`. Its tables replace powers and sums that depend only on how
many groups a segment has and on its class of signal to noise.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

POWERS = (0.0, 0.4, 1.0, 3.0, 6.0, 10.0)
"""Exponents of the weights, by class of signal to noise (Fixsen et al. 2000, PASP 112, 1350)."""

EDGES = (5.0, 10.0, 20.0, 50.0, 100.0)
"""Signal to noise at which the next class begins."""


@dataclass(frozen=True)
class FitSettings:
    """What a ramp fit needs besides the pixels.

    Parameters
    ----------
    frame_time, group_time : float
        Seconds between frames, and between groups.
    nframes, groupgap, drop_frames1 : int
        Frames averaged into a group, dropped between groups, dropped before the first group.
    window : tuple of int
        The groups to fit, half-open; those outside count as DO_NOT_USE.
    suppress_one_group : bool
        Give no rate to a ramp that has one good group, unless the exposure has one group.
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
        """Seconds that the first group, an average of frames, has integrated for on average."""
        return (float(self.nframes) + 1.0) * float(np.float32(self.frame_time)) / 2.0

    @property
    def pedestal_factor(self) -> float:
        """How many rates (DN/s) the pedestal is below the first group (DN), as jwst has it."""
        return ((self.nframes + 1) / 2.0 + self.drop_frames1) / (self.nframes + self.groupgap)


class Plan(NamedTuple):
    """What the kernels need, the same for all pixels of an exposure.

    Attributes
    ----------
    group_time, one_group_time : float
        Seconds.
    frames_root : float
        What the noise of a difference of two frames is divided by for the noise of one group.
    start, stop : int
        The groups kept: those outside are as if they had never been read.
    first, last : int
        The groups fitted, ``last`` excluded, within those kept.
    suppress : bool
        Whether a ramp with one good group gets no rate.
    estimators : ndarray of float64, (6, packed)
        `slope_estimators` for segments of up to ``last - first`` groups.
    full : ndarray of float64, (pairs, 6)
        The same for a segment of all groups fitted, but per second, laid out for looking up many
        pixels at once.
    network : ndarray of intp, (exchanges, 2)
        `median_network` for the differences of all groups fitted.
    """

    group_time: float
    one_group_time: float
    frames_root: float
    start: int
    stop: int
    first: int
    last: int
    suppress: bool
    estimators: npt.NDArray[np.float64]
    full: npt.NDArray[np.float64]
    network: npt.NDArray[np.intp]


@lru_cache(maxsize=8)
def make_plan(settings: FitSettings, ngroups: int, kept: tuple[int, int] | None = None) -> Plan:
    """Return the plan for ramps of ``ngroups`` groups, of which ``kept`` (half-open) are there."""
    start, stop = kept or (0, ngroups)
    first, last = max(settings.window[0], start), min(settings.window[1], stop)
    length = max(last - first, 0)
    estimators = slope_estimators(max(length, 2))
    tail = table_offset(max(length, 2))
    group_time = float(np.float32(settings.group_time))  # jwst's fit takes it as float32
    return Plan(
        group_time=group_time,
        one_group_time=settings.one_group_time,
        frames_root=math.sqrt(2.0 * settings.nframes),
        start=start,
        stop=stop,
        first=first,
        last=last,
        suppress=settings.suppress_one_group and ngroups > 1,
        estimators=estimators,
        full=np.ascontiguousarray(estimators[:, tail : tail + length // 2].T) / group_time,
        network=median_network(max(length - 1, 1)),
    )


def table_offset(length: int) -> int:
    """Return where the coefficients of segments of ``length`` groups start in the table."""
    return (length - 1) ** 2 // 4


def slope_estimators(longest: int) -> npt.NDArray[np.float64]:
    """Return the coefficients that make slopes of segments, by class of signal to noise.

    A weighted least-squares slope over evenly spaced groups with weights symmetric about the middle
    is ``sum(c[p] * (y[n - 1 - p] - y[p]))`` over the pairs of groups p, from the outside inwards.

    Parameters
    ----------
    longest : int
        Groups in the longest segment.

    Returns
    -------
    ndarray of float64, (6, packed)
        ``n // 2`` coefficients for each length n from 2, starting at ``packed(n)``; per group.
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


def median_network(count: int) -> npt.NDArray[np.intp]:
    """Return the exchanges that bring the middle of ``count`` values to its place.

    Merge exchange (Batcher 1968; Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M),
    without the exchanges that the middle value, or the middle two, do not depend on.

    Returns
    -------
    ndarray of intp, (exchanges, 2)
        Pairs of places, lower first: the smaller value goes to the first place.
    """
    needed = {(count - 1) // 2, count // 2}
    kept: list[tuple[int, int]] = []
    for low, high in reversed(_merge_exchange(count)):
        if low in needed or high in needed:
            needed |= {low, high}
            kept.append((low, high))
    return np.array(kept[::-1], dtype=np.intp).reshape(-1, 2)


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
