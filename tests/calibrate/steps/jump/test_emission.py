"""Emission: medians as in NumPy, and emission from any band of rows."""

import warnings

import numpy as np
import pytest
from support.jumps import calm, stormy

from calbatch.calibrate.steps.jump.emission import (
    EmissionRules,
    _find_medians,
    find_emission,
)
from calbatch.calibrate.steps.jump.rings import make_ring
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, REFERENCE_PIXEL, SATURATED
from calbatch.models.tiling.tile import Region


@pytest.mark.parametrize(("ints", "groups"), [(1, 6), (2, 7), (3, 210)])
def test_medians_are_those_of_numpy(ints, groups):
    ramps = stormy(ints, groups, (4, 9), seed=groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        electrons = ramps.data * ramps.gain
        electrons[np.isin(ramps.groupdq, [1, 2, 3, 4, 5])] = np.nan
        wanted = np.nanmedian(np.diff(electrons, axis=1), axis=(0, 1))
    found = _find_medians(ramps.data, ramps.groupdq, ramps.gain)
    np.testing.assert_array_equal(found, wanted)


def test_flags_are_compared_as_a_whole():
    groupdq = np.zeros((1, 2, 1, 256), "u1")
    groupdq[0, 1, 0] = np.arange(256)
    gain = np.ones((1, 256), "f4")
    found = _find_medians(np.zeros(groupdq.shape, "f4"), groupdq, gain)
    lost = DO_NOT_USE, SATURATED, JUMP_DET, JUMP_DET | DO_NOT_USE, SATURATED | DO_NOT_USE
    assert np.flatnonzero(np.isnan(found[0])).tolist() == sorted(lost)


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


def test_groups_are_idle_if_only_reference_pixels_are_usable():
    ramps = calm(2, 4, (6, 8), seed=1)
    ramps.pixeldq[:, :4] = REFERENCE_PIXEL
    ramps.groupdq[0, 1] |= np.uint8(DO_NOT_USE)
    ramps.groupdq[1, 2, :, 4:] |= np.uint8(DO_NOT_USE)
    whole = Region((0, 6), (0, 8))
    found = find_emission(
        *(ramps.data, ramps.groupdq, ramps.pixeldq), gain=ramps.gain, readnoise=ramps.readnoise,
        rules=EmissionRules(1.0, 100, make_ring(1.0, 2.6), 0.9), region=whole, core=whole,
    )  # fmt: skip
    assert np.argwhere(found.unusable).tolist() == [[0, 1]]
    assert np.argwhere(found.idle).tolist() == [[0, 1], [1, 2]]
