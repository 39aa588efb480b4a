"""Decisions for a whole exposure: usable groups, method and limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.jumps import DEFAULTS

from calbatch.calibrate.steps.jump.rules import (
    ALL_AT_ONCE,
    CLIPPING,
    NOT_SEARCHED,
    ONE_BY_ONE,
    choose_method,
    gather_gain,
    is_true_nowhere,
    make_search,
    median_gain,
    number_differences,
    true_everywhere,
    unusable_groups,
)
from calbatch.models.dq import DO_NOT_USE, SATURATED

unusable = st.integers(1, 3).flatmap(
    lambda ints: st.lists(
        st.lists(st.booleans(), min_size=ints, max_size=ints), min_size=1, max_size=7
    ).map(lambda groups: np.array(groups).T)
)
"""Arrays of booleans, (integrations, groups)."""


def no_flags(integrations, groups):
    return np.zeros((integrations, groups), bool)


class TestRegions:
    def test_a_group_is_unusable_if_all_its_pixels_are(self):
        groupdq = np.zeros((1, 4, 2, 2), "u1")
        groupdq[0, 1] = DO_NOT_USE
        groupdq[0, 2] = [[DO_NOT_USE, DO_NOT_USE], [DO_NOT_USE, SATURATED]]
        groupdq[0, 3] = DO_NOT_USE | SATURATED
        assert unusable_groups(groupdq).tolist() == [[False, True, False, True]]

    @given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
    def test_regions_are_combined_by_and(self, regions):
        expected = [all(region[g] for region in regions) for g in range(3)]
        arrays = [np.array([region]) for region in regions]
        assert true_everywhere(arrays).tolist() == [expected]
        assert is_true_nowhere(arrays) is not any(expected)

    def test_the_median_gain_is_that_of_all_regions(self):
        regions = [gather_gain(np.array([[1.0, 9.0]])), gather_gain(np.array([[2.0, np.nan]]))]
        assert median_gain(regions) == 2

    def test_a_frame_without_gain_has_no_median(self):
        assert np.isnan(median_gain([np.full((1, 2), np.nan)]))


class TestMethod:
    @pytest.mark.parametrize(
        ("groups", "method"),
        [(2, NOT_SEARCHED), (3, ONE_BY_ONE), (10, ONE_BY_ONE), (11, ALL_AT_ONCE)],
    )
    def test_the_number_of_groups_decides(self, groups, method):
        assert choose_method(no_flags(2, groups), DEFAULTS) == method

    def test_the_integration_with_the_fewest_groups_decides(self):
        groups = no_flags(2, 11)
        groups[1, 4] = True
        assert choose_method(groups, DEFAULTS) == ONE_BY_ONE
        groups[1, :9] = True
        assert choose_method(groups, DEFAULTS) == NOT_SEARCHED

    @pytest.mark.parametrize("across", [True, False])
    @pytest.mark.parametrize(("ints", "groups"), [(5, 3), (4, 3), (1, 5), (1, 4)])
    def test_clipping_needs_many_integrations_or_groups(self, ints, groups, across):
        rules = DEFAULTS._replace(clip_groups=5, clip_integrations=across)
        compared = ints if across else ints * groups
        clips = choose_method(no_flags(ints, groups), rules) == CLIPPING
        assert clips == (compared >= 5)


class TestSearch:
    @given(unusable)
    def test_differences_are_numbered_where_two_groups_are_usable(self, groups):
        numbers = number_differences(groups)
        count = 0
        for (i, g), number in np.ndenumerate(numbers):
            if g == 0 or groups[i, g - 1] or groups[i, g]:
                assert number == -1
            else:
                assert number == count
                count += 1

    def test_thresholds_depend_on_the_number_of_differences(self):
        search = make_search(ONE_BY_ONE, no_flags(1, 5), None, DEFAULTS)
        assert (search.one_by_one, search.clipping) == (True, False)
        assert search.thresholds[2:].tolist() == [6, 5, 4]
        assert np.isinf(search.thresholds[:2]).all()

    def test_a_single_pass_has_one_threshold(self):
        search = make_search(ALL_AT_ONCE, no_flags(1, 11), None, DEFAULTS)
        assert (search.one_by_one, search.clipping) == (False, False)
        assert search.thresholds.tolist() == [4] * 5

    def test_clipping_across_integrations_compares_the_same_groups(self):
        search = make_search(CLIPPING, no_flags(2, 4), None, DEFAULTS)
        assert search.clipping
        assert search.population.tolist() == [0, 1, 2, 0, 1, 2]

    def test_clipping_of_groups_compares_all_of_them(self):
        rules = DEFAULTS._replace(clip_integrations=False)
        assert make_search(CLIPPING, no_flags(2, 4), None, rules).population.tolist() == [0] * 6

    @pytest.mark.parametrize(("neighbours", "smallest"), [(True, 10), (False, np.inf)])
    def test_neighbours_can_be_left_alone(self, neighbours, smallest):
        rules = DEFAULTS._replace(neighbours=neighbours)
        assert make_search(ONE_BY_ONE, no_flags(1, 5), None, rules).min_neighbours == smallest

    def test_no_group_is_cleared_by_default(self):
        cleared = np.array([[False, True, False]])
        assert not make_search(ONE_BY_ONE, no_flags(1, 3), None, DEFAULTS).clear.any()
        search = make_search(ONE_BY_ONE, no_flags(1, 3), cleared, DEFAULTS)
        assert search.clear.tolist() == cleared.tolist()
