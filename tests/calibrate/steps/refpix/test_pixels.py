"""Reference pixels of a region are gathered, and their signal is subtracted from a region."""

import numpy as np
import pytest

from calbatch.calibrate.steps.refpix.combine import ReferenceSignal
from calbatch.calibrate.steps.refpix.geometry import DetectorPlacement
from calbatch.calibrate.steps.refpix.pixels import (
    gather_flagged,
    gather_usable,
    subtract_reference,
)
from calbatch.models.dq import DO_NOT_USE, REFERENCE_PIXEL
from calbatch.models.tiling.plan import Region

REGION = Region((0, 2), (3, 6))


def samples():
    """Return two integrations of three groups, their zero frames, and flags of six pixels."""
    data = np.arange(36.0, dtype="f4").reshape(2, 3, 2, 3)
    pixeldq = np.full((2, 3), REFERENCE_PIXEL, "u4")
    pixeldq[0, 1] |= DO_NOT_USE
    return data, pixeldq, data[:, 0] - 100


def test_flagged_pixels_follow_the_region():
    data, pixeldq = np.arange(6.0).reshape(1, 1, 2, 3), np.zeros((2, 3), dtype=np.uint32)
    pixeldq[1, 2] |= DO_NOT_USE
    place = DetectorPlacement((2, 9), (0, 100), 1, 2)
    region = Region((0, 2), (3, 6))
    samples, columns = gather_flagged(data, pixeldq, region=region, placement=place, columns=4)
    assert samples.tolist() == [[[0, 2, 3]]]
    assert columns.tolist() == [103, 105, 103]


@pytest.mark.parametrize("blocks", [(1, 1), (3, 1), (1, 4), (3, 4)], ids=str)
def test_columns_of_a_region_do_not_change_results(blocks):
    rng = np.random.default_rng(0)
    data = rng.normal(0, 1, (2, 3, 6, 8)).astype(np.float32)
    rows, cols = (rng.normal(0, 1, (2, 3, b, n)) for b, n in zip(blocks, (20, 30), strict=True))
    signal = ReferenceSignal(rows, cols)
    (whole,) = subtract_reference(data, signal=signal, region=Region((5, 11), (10, 18)))
    inner = Region((7, 10), (11, 17))
    (part,) = subtract_reference(data[..., 2:5, 1:7], signal=signal, region=inner)
    assert np.array_equal(part, whole[..., 2:5, 1:7])
    assert whole.dtype == np.float32
    across, along = np.arange(10, 18) * blocks[0] // 30, np.arange(5, 11) * blocks[1] // 20
    wanted = data - rows[..., across, 5:11].swapaxes(-1, -2) - cols[..., along, 10:18]
    np.testing.assert_allclose(whole, wanted, rtol=1e-6, atol=1e-6)


def test_inputs_are_unchanged():
    data = np.ones((1, 1, 4, 4), dtype=np.float32)
    data.flags.writeable = False
    signal = ReferenceSignal(np.ones((1, 1, 1, 4)), np.ones((1, 1, 1, 4)))
    (result,) = subtract_reference(data, signal=signal, region=Region((0, 4), (0, 4)))
    assert (result == -1).all()
    assert (data == 1).all()


def test_zero_frames_are_gathered_as_a_last_group():
    data, pixeldq, zero = samples()
    found, good = gather_usable(data, pixeldq, zero)
    wanted, usable = gather_usable(data, pixeldq)
    np.testing.assert_array_equal(found[:, :-1], wanted)
    np.testing.assert_array_equal(found[:, -1], zero)
    np.testing.assert_array_equal(good, usable)


def test_flagged_pixels_of_zero_frames_are_a_last_group():
    place = {"region": REGION, "placement": DetectorPlacement((2, 9), (0, 100), 1, 2), "columns": 0}
    data, pixeldq, zero = samples()
    found, columns = gather_flagged(data, pixeldq, zero, **place)
    wanted, same = gather_flagged(data, pixeldq, **place)
    np.testing.assert_array_equal(found[:, :-1], wanted)
    np.testing.assert_array_equal(
        found[:, -1], gather_flagged(zero[:, None], pixeldq, **place)[0][:, 0]
    )
    np.testing.assert_array_equal(columns, same)


def test_zero_frames_lose_the_signal_of_the_last_group_unless_unusable():
    data, _, zero = samples()
    zero[1, 1, 2] = 0
    rows, cols = np.zeros((2, 4, 2)), np.zeros((2, 4, 9))
    rows[:, :3], rows[:, 3], cols[:, 3, 5] = 1, 5, 2
    signal = ReferenceSignal(rows, cols)
    found, first = subtract_reference(data, zero, signal=signal, region=REGION)
    np.testing.assert_array_equal(found, data - 1)
    wanted = zero - 5 - np.array([0, 0, 2])
    wanted[1, 1, 2] = 0
    np.testing.assert_array_equal(first, wanted)
    assert first.dtype == np.float32


def test_without_a_signal_nothing_changes():
    data, _, zero = samples()
    found = subtract_reference(data, zero, signal=None, region=REGION)
    np.testing.assert_array_equal(found[0], data)
    np.testing.assert_array_equal(found[1], zero)
