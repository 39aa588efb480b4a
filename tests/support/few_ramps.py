"""A few ramps and plans for the kernels of the ramp fit, as they receive them."""

import re

import numpy as np

from calbatch.calibrate.steps.ramp_fit.plan import FitSettings, Plan, make_plan
from calbatch.calibrate.steps.ramp_fit.segments import Pixel
from calbatch.calibrate.steps.ramp_fit.work import Exposure, Rates
from calbatch.models.dq import JUMP_DET, PERSISTENCE

GROUP_TIME, ONE_GROUP_TIME, FRAME_TIME = 8.0, 3.0, 2.0
"""Seconds between groups, and from the reset to the mean times of the first group and frame."""


def few_groups(groups, window=None, group_range=None, *, suppress=True) -> Plan:
    """Return the plan of an exposure with two frames of 2 s in a group, and two between groups.

    The noise of a group is half that of a difference of frames.
    """
    settings = FitSettings(
        frame_time=FRAME_TIME,
        group_time=GROUP_TIME,
        nframes=2,
        groupgap=2,
        drop_frames1=0,
        window=window or (0, groups),
        suppress_one_group=suppress,
    )
    return make_plan(settings, groups, group_range)


def few_ramps(
    data, groupdq=0, *, pixeldq=0, gain=2.0, readnoise=3.0, dark=0.0, zero=None
) -> Exposure:
    """Return ramps (integrations, groups, pixels); other values are broadcast to their shapes."""
    data = np.array(data, np.float32)
    arrays = [data, np.zeros(data.shape, np.uint8) | np.asarray(groupdq, np.uint8)]
    for value, dtype in ((pixeldq, "u4"), (gain, "f4"), (readnoise, "f4"), (dark, "f4")):
        arrays.append(np.array(np.broadcast_to(value, data.shape[2:]), dtype))
    frames = (data.shape[0], 0 if zero is None else data.shape[2])
    arrays.append(np.array(np.broadcast_to(0 if zero is None else zero, frames), np.float32))
    for array in arrays:
        array.flags.writeable = False  # numba compiles read-only arrays separately
    return Exposure(*arrays)


def empty_rates(integrations, pixels) -> Rates:
    """Return rates to fill."""
    shape = integrations, pixels
    data, err, var_poisson, var_rnoise = (np.full(shape, -9, np.float32) for _ in range(4))
    return Rates(data, err, np.zeros(shape, np.uint32), var_poisson, var_rnoise)


def good_runs(flags):
    """Return the runs of good groups with a jump just before them, from a pattern of letters."""
    plain = [int(flag) & ~PERSISTENCE for flag in flags]
    letters = "".join({0: "g", JUMP_DET: "j"}.get(flag, "x") for flag in plain)
    return [match.span() for match in re.finditer("j?g+", letters)]


def read_variances(n, pixel: Pixel, time=GROUP_TIME):
    """Return the read-noise variance of the slope of ``n`` groups, by jwst's description."""
    return 12 * pixel.noise**2 / ((n**3 - n) * time**2 * pixel.gain**2)


def poisson_variances(n, pixel: Pixel, time=GROUP_TIME):
    """Return the Poisson variance of the slope of ``n`` groups, by jwst's description."""
    return pixel.current / (time * pixel.gain * (n - 1))


def weighted_slope(samples, pixel: Pixel):
    """Return the slope (DN/s) of successive samples by weighted least squares.

    The weights are those of Fixsen et al. 2000, PASP 112, 1350, table 2.
    """
    y = np.asarray(samples, np.float64)
    if y.size == 2:
        return (y[1] - y[0]) / GROUP_TIME
    x, middle = np.arange(y.size), (y.size - 1) / 2
    signal = (y[-1] - y[0]) * pixel.gain
    ratio = signal / np.sqrt(pixel.noise**2 + signal) if signal > 0 else 0.0
    power = np.select(
        [ratio < 5, ratio < 10, ratio < 20, ratio < 50, ratio < 100], [0, 0.4, 1, 3, 6], 10
    )
    w = np.abs((x - middle) / middle) ** power
    s, sx, sxx = np.sum(w), np.sum(w * x), np.sum(w * x * x)
    return (s * np.sum(w * x * y) - sx * np.sum(w * y)) / (s * sxx - sx**2) / GROUP_TIME


def segment_sums(samples, flags, pixel: Pixel):
    """Return sums over the segments of a ramp, as in jwst's description of the ramp fit.

    They are those of ``slope / var^R``, ``1 / var^R``, ``1 / var^P`` and ``1 / var^C``.
    """
    segments = [run for run in good_runs(flags) if run[1] - run[0] > 1]
    sums = np.zeros(4)
    for start, stop in segments:
        read = read_variances(stop - start, pixel)
        poisson = poisson_variances(stop - start, pixel)
        slope = weighted_slope(samples[start:stop], pixel)
        sums += slope / read, 1 / read, 1 / poisson, 1 / (read + poisson)
    return sums
