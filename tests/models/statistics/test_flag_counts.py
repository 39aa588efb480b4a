"""Counts of DQ flags: as NumPy counts them, for any shape and type."""

import numpy as np
import pytest

from calbatch.models import dq
from calbatch.models.statistics.flag_counts import count_flags, name_counts


@pytest.mark.parametrize("kind", [np.uint8, np.uint32, np.int16])
@pytest.mark.parametrize("shape", [(7, 9), (2, 7, 9), (2, 3, 7, 9), (0, 9)])
def test_the_flags_of_each_value_are_counted(kind, shape):
    rng = np.random.default_rng(3)
    top = min(np.iinfo(kind).max, 2**31)
    array = np.where(rng.random(shape) < 0.5, 0, rng.integers(0, top, shape)).astype(kind)
    counts = count_flags(array)
    for bit in range(31):
        assert counts[bit] == np.count_nonzero(array.astype(np.int64) & (1 << bit))
    assert counts[32] == np.count_nonzero(array == 0)


def test_the_highest_flag_is_counted():
    array = np.full((2, 3), dq.REFERENCE_PIXEL | dq.DO_NOT_USE, np.uint32)
    assert name_counts(count_flags(array)) == {"DO_NOT_USE": 6, "REFERENCE_PIXEL": 6}


def test_rows_of_a_larger_array_are_counted_alone():
    array = np.zeros((2, 8, 8), np.uint32)
    array[:, 4:] = dq.JUMP_DET
    assert name_counts(count_flags(array[:, 3:6])) == {"GOOD": 16, "JUMP_DET": 32}


def test_more_distinct_values_than_slots_are_counted():
    array = np.arange(3000, dtype=np.uint32).reshape(3, 1000)
    counts = count_flags(array)
    for bit in range(12):
        assert counts[bit] == np.count_nonzero(array & (1 << bit))
