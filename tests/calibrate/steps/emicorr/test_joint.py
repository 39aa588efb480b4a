"""The joint fit: its selection of pixels, and the minimum of chi-squared."""

import numpy as np
import pytest

from calbatch.calibrate.steps.emicorr.clocks import Clocks, Sampling
from calbatch.calibrate.steps.emicorr.joint import (
    TRIAL_PHASES,
    FittedWave,
    WaveSetting,
    cut_bands,
    find_best_phase,
    find_scatter_limit,
    solve_amplitudes,
    subtract_wave,
)
from calbatch.calibrate.steps.emicorr.waves import Wave
from calbatch.models.tiling.plan import Region


def setting(shape=(1, 3, 9, 32)):
    sampling = Sampling(shape=shape, samples=1, clocks=Clocks(28, 8512), has_reset_frame=True)
    samples = np.sin(2 * np.pi * (np.arange(100) + 0.5) / 100)
    return WaveSetting.of(sampling, Wave(390.625, samples))


def test_the_limit_is_twice_the_median_of_all_bands():
    bands = [np.array([[1, 9]], "f4"), np.array([[2, 3], [4, 5]], "f4")]
    assert find_scatter_limit(bands) == 7
    assert np.isnan(find_scatter_limit([*bands, np.array([[np.nan]], "f4")]))


@pytest.mark.parametrize("vertex", [0.25, 0.2507, 0.0003, 0.9996])
def test_the_best_phase_is_the_vertex_of_a_parabola(vertex):
    trials = np.arange(TRIAL_PHASES) / TRIAL_PHASES
    distance = (trials - vertex + 0.5) % 1 - 0.5
    assert find_best_phase(distance**2 - 4) % 1 == pytest.approx(vertex, abs=1e-9)


def test_phases_without_a_minimum():
    assert find_best_phase(np.full(TRIAL_PHASES, np.nan)) == 0
    assert find_best_phase(np.ones(TRIAL_PHASES)) == 0
    some = np.full(TRIAL_PHASES, np.nan)
    some[5] = 1
    assert find_best_phase(some) == 5 / TRIAL_PHASES


def test_amplitudes_minimize_chi_squared():
    least, amplitude = solve_amplitudes(np.array([2.0, 0.0, np.nan]), np.array([-8.0, 1.0, 1.0]))
    np.testing.assert_array_equal(amplitude, [2, 0, 0])
    np.testing.assert_array_equal(least, [-8, np.nan, np.nan])


@pytest.mark.parametrize("shape", [(1, 3, 9, 32), (3, 40, 1024, 1032), (500, 10, 1024, 1032)])
def test_bands_cover_the_frame_in_bounded_memory(shape):
    bands = cut_bands(setting(shape))
    assert [row for band in bands for row in range(*band.rows)] == list(range(shape[2]))
    of_band = shape[0] * shape[1] * shape[3] * (bands[0].rows[1] - bands[0].rows[0]) * 4
    of_sums = len(bands) * shape[0] * shape[1] * 100 * 8
    assert of_band + of_sums < 1 << 30


@pytest.mark.parametrize("cols", [(0, 32), (4, 13), (6, 7), (1, 31)])
def test_any_part_of_the_frame_is_corrected_alike(cols):
    one = setting()
    data = np.random.default_rng(2).normal(0, 9, one.sampling.shape).astype("f4")
    fitted = FittedWave(np.array([5.0]), np.array([0.4]))
    whole = subtract_wave(data, fitted=fitted, setting=one, region=Region((0, 9), (0, 32)))
    rows = (2, 7)
    part = subtract_wave(
        data[..., slice(*rows), slice(*cols)], fitted=fitted, setting=one, region=Region(rows, cols)
    )
    np.testing.assert_array_equal(part, whole[..., slice(*rows), slice(*cols)])
