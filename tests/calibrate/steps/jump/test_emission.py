"""Emission: medians and means over rings as in NumPy and stcal, from any band of rows."""

import warnings

import numpy as np
import pytest
from astropy.convolution import Ring2DKernel
from stcal.jump.jump import convolve_fast
from support.jumps import calm, stormy

from calbatch.calibrate.steps.jump.emission import (
    INVALID,
    EmissionRules,
    _find_bright,
    _find_medians,
    find_emission,
    make_ring,
)
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED
from calbatch.models.tiling.tile import Region


@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning"
)  # stcal divides by zero where a ring has no pixels
@pytest.mark.parametrize(("inner", "width"), [(1.0, 2.6), (2.0, 1.5), (0.0, 1.0)])
def test_means_are_those_of_stcals_convolution(inner, width):
    rng = np.random.default_rng(4)
    ratio = rng.gamma(2, 1, (30, 41))
    ratio[rng.random(ratio.shape) < 0.2] = np.nan
    ratio[5:12, 5:16] = np.nan
    kernel = Ring2DKernel(inner, width).array
    wanted = convolve_fast(ratio.copy(), kernel)
    for threshold in (1.5, 2.0, 2.5):
        found = np.zeros(ratio.shape, bool)
        _find_bright(ratio.copy(), make_ring(inner, width), 0, threshold, found)
        clear = np.abs(wanted / threshold - 1) > 1e-9  # the FFT rounds otherwise
        np.testing.assert_array_equal(found[clear], (wanted > threshold)[clear])
        assert 0 < found.sum() < found.size


@pytest.mark.parametrize(("ints", "groups"), [(1, 6), (2, 7), (3, 210)])
def test_medians_are_those_of_numpy(ints, groups):
    ramps = stormy(ints, groups, (4, 9), seed=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        electrons = ramps.data * ramps.gain
        electrons[np.isin(ramps.groupdq, [1, 2, 3, 4, 5])] = np.nan
        wanted = np.nanmedian(np.diff(electrons, axis=1), axis=(0, 1))
    found = _find_medians(ramps.data, ramps.groupdq, ramps.gain, INVALID)
    np.testing.assert_array_equal(found, wanted)


def test_flags_are_compared_as_a_whole():
    lost = DO_NOT_USE, SATURATED, JUMP_DET, JUMP_DET | DO_NOT_USE, SATURATED | DO_NOT_USE
    assert np.flatnonzero(INVALID).tolist() == sorted(lost)


@pytest.mark.parametrize("clip", [2, 100])
def test_bands_with_halo_equal_the_whole(clip):
    ramps = calm(3, 6, (24, 30), seed=6)
    ramps.groupdq[...] = stormy(3, 6, (24, 30), seed=6).groupdq
    rules = EmissionRules(1.0, clip, make_ring(1.0, 2.6), 0.9)

    def search(first, last):
        region = Region((max(0, first - 3), min(24, last + 3)), (0, 30))
        rows = slice(*region.rows)
        return find_emission(
            *(ramps.data[:, :, rows], ramps.groupdq[:, :, rows], ramps.pixeldq[rows]),
            gain=ramps.gain[rows], readnoise=ramps.readnoise[rows], rules=rules,
            region=region, core=Region((first, last), (0, 30)),
        )  # fmt: skip

    whole = search(0, 24)
    bands = [search(*rows) for rows in [(0, 7), (7, 8), (8, 24)]]
    joined = np.concatenate([band.emission for band in bands], axis=2)
    np.testing.assert_array_equal(joined, whole.emission)
    assert whole.emission.any()
    np.testing.assert_array_equal(np.all([b.unusable for b in bands], axis=0), whole.unusable)
