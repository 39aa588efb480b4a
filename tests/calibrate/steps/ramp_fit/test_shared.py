"""Ramps whose segment most ramps share get the results that they get among other ramps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.few_ramps import empty_rates, few_groups, few_ramps, good_runs

from calbatch.calibrate.steps.ramp_fit import frame, shared
from calbatch.calibrate.steps.ramp_fit.work import make_stretch
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, PERSISTENCE, SATURATED
from calbatch.models.jit import kernel

GROUPS = 8
LEADING = [DO_NOT_USE, DO_NOT_USE, 0, 0, 0, 0, 0, 0]
OTHERS = [[0, 0, 0, 0, JUMP_DET, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, DO_NOT_USE]]
"""Flags of other segments."""


@kernel
def find_runs(count, flags, runs, starts, stops):
    shared.find_runs(count, flags, runs, starts, stops)


def fit(samples, flags, *, readnoise=3.0, gain=2.0):
    """Return the rates of ramps, (ramps, groups), fitted as one stretch."""
    exposure = few_ramps(
        [np.transpose(samples)], [np.transpose(flags)], gain=gain, readnoise=readnoise
    )
    pixels, plan = len(samples), few_groups(GROUPS)
    rate, rateints = empty_rates(1, pixels), empty_rates(1, pixels)
    frame.fit_pixels(exposure, plan, rate, rateints, make_stretch(pixels, 1, plan))
    return np.array([*rate, *rateints], np.float64)[:, 0]


def assert_as_among_others(samples, **options):
    """Compare ramps that share a segment with the same ones among ramps that do not."""
    samples = np.array(samples, np.float32)
    together = fit(samples, [LEADING] * len(samples), **options)
    for j, ramp in enumerate(samples):
        apart = fit([ramp] * 3, [LEADING, *OTHERS], **options)
        np.testing.assert_array_equal(apart[:, 0], together[:, j])


runs = st.lists(
    st.sampled_from([0, 0, 0, PERSISTENCE, JUMP_DET, DO_NOT_USE, SATURATED]),
    min_size=GROUPS,
    max_size=GROUPS,
)


@given(st.lists(runs, min_size=1, max_size=9))
def test_segments_are_counted_and_the_last_is_found(ramps):
    found = np.zeros((3, len(ramps)), np.int32)
    find_runs(len(ramps), np.array(ramps, "u1").T.copy(), *found)
    for flags, (count, start, stop) in zip(ramps, found.T, strict=True):
        expected = [] if flags[0] & SATURATED else good_runs(flags)
        assert count == len(expected)
        if expected:
            assert (start, stop) == expected[-1]


@given(
    st.lists(
        st.lists(st.integers(-50, 9000), min_size=GROUPS, max_size=GROUPS), min_size=3, max_size=5
    )
)
def test_results_do_not_depend_on_other_ramps(samples):
    assert_as_among_others(samples)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("group", [1, 2, 4, 5, 7])
def test_unusual_samples(value, group):
    samples = np.arange(3)[:, None] + 8.0 * np.arange(GROUPS)
    samples[1, group] = value
    assert_as_among_others(samples)


@pytest.mark.parametrize("readnoise", [0.0, np.inf, np.nan])
def test_unusual_noise(readnoise):
    assert_as_among_others(8.0 * np.arange(GROUPS) * np.ones((3, 1)), readnoise=readnoise)


@pytest.mark.parametrize("gain", [0.0, -1.0, np.inf, np.nan])
def test_unusual_gain(gain):
    assert_as_among_others(8.0 * np.arange(GROUPS) * np.ones((3, 1)), gain=gain)
