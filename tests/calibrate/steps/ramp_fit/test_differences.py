"""Differences of groups, with and without zero frames, and the flags of ramps."""

import numpy as np
import pytest
from support.few_ramps import few_ramps

from calbatch.calibrate.steps.ramp_fit.covariance import (
    make_covariance,
    make_regular_times,
    separate_first_read,
)
from calbatch.calibrate.steps.ramp_fit.differences import combine_flags, read_differences
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, PERSISTENCE, SATURATED

TIMES = make_regular_times(4, 2, 0, 1.0)
"""Four groups of two frames of 1 s."""


def differences(samples, flags=0, *, zero=None):
    """Return the differences of one ramp, whether they are used, and their median."""
    times = TIMES if zero is None else separate_first_read(TIMES)
    cov = make_covariance(times)
    exposure = few_ramps(np.reshape(samples, (1, 4, 1)), np.reshape(flags, (1, -1, 1)), zero=zero)
    size = (1, cov.intervals.size)
    d, use, median = np.empty(size), np.empty(size), np.empty(1)
    read_differences(exposure, 0, (0, 1), 2, cov, d, use, median)
    return d[0].tolist(), use[0].tolist(), median[0]


def test_differences_are_per_second():
    assert differences([1, 5, 7, 13]) == ([2, 1, 3], [1, 1, 1], 2)


@pytest.mark.parametrize("flag", [DO_NOT_USE, SATURATED, JUMP_DET, PERSISTENCE])
def test_any_flag_excludes_both_differences(flag):
    _, use, _ = differences([1, 5, 7, 13], [0, flag, 0, 0])
    assert use == [0, 0, 1]


def test_the_zero_frame_is_removed_from_the_first_group():
    # The first group averages the reads 2 (the zero frame) and 6.
    found, use, _ = differences([4, 10, 13, 17], [0, 0, 0, DO_NOT_USE], zero=2)
    assert found == [(6 - 2) / 1, (10 - 6) / 1.5, 1.5, 2]
    assert use == [1, 1, 1, 0]


def test_the_zero_frame_has_the_flags_of_the_first_group():
    _, use, _ = differences([4, 10, 13, 17], [DO_NOT_USE, 0, 0, 0], zero=2)
    assert use == [0, 0, 1, 1]


def test_the_median_with_nan_is_nan():
    assert np.isnan(differences([1, np.nan, 7, 13])[2])


@pytest.mark.parametrize(
    ("flags", "omitted", "wanted"),
    [
        ([0, 0, 0], False, 0),
        ([0, JUMP_DET, 0], False, JUMP_DET),
        ([0, 0, 0], True, JUMP_DET),
        ([0, PERSISTENCE, SATURATED], False, SATURATED),
        ([DO_NOT_USE, SATURATED, DO_NOT_USE], False, DO_NOT_USE | SATURATED),
    ],
)
def test_flags_of_a_ramp(flags, omitted, wanted):
    exposure = few_ramps(np.zeros((1, 3, 1)), np.reshape(flags, (1, 3, 1)), pixeldq=1 << 12)
    before, after, dq = (
        np.ones((1, 2)),
        np.array([[1.0, 0.0 if omitted else 1.0]]),
        np.zeros(1, "u4"),
    )
    combine_flags(exposure, 0, 0, before, after, dq)
    assert dq[0] == wanted | 1 << 12
