"""Quick-looks: levels between two percentiles, and damaged ones."""

from dataclasses import replace

import numpy as np
import pytest

from calbatch.models.statistics.quick_look import QuickLook


def test_levels_rise_with_the_values_and_mark_those_that_are_missing():
    means = np.linspace(0, 100, 101, dtype="f4").reshape(1, 101)
    means[0, 50] = np.nan
    found = QuickLook.from_means(means)
    levels = found.levels()
    assert levels.shape == (1, 101)
    assert levels[0, 50] == 0
    assert (levels[0, 0], levels[0, -1]) == (1, 255)
    assert (np.diff(np.delete(levels[0].astype(int), 50)) >= 0).all()
    assert (found.low, found.high) == pytest.approx((1.0, 99.5), abs=0.1)  # one value is missing


def test_equal_values_have_one_level():
    assert np.unique(QuickLook.from_means(np.full((4, 4), 7.0)).levels()).tolist() == [1]


def test_without_a_value_there_is_no_quick_look():
    assert QuickLook.from_means(np.full((4, 4), np.nan)) is None


@pytest.mark.parametrize(
    "changes",
    [{"packed": b"x"}, {"height": 5}, {"width": 3}, {"height": 10**9}, {"width": 0}],
)
def test_a_damaged_quick_look_is_an_error(changes):
    good = QuickLook.from_means(np.eye(4))
    with pytest.raises(ValueError, match="quick-look"):
        replace(good, **changes).levels()
