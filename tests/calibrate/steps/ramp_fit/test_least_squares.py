"""The ramp fit's kernels agree with stcal's for all kinds of ramps."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fitted_ramps import (
    DO_NOT_USE,
    FIELDS,
    FLAGS,
    SATURATED,
    assert_near,
    assert_rates_agree,
    draw,
    every_pattern,
    flag_at_random,
    jwst_fit,
    our_fit,
    our_segments,
    spoil,
    with_zero_frames,
)

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.steps.ramp_fit.least_squares import (
    OPTIONAL,
    are_all_usable,
    find_group_range,
    fit_ramps,
    usable_groups,
)

pytestmark = pytest.mark.agreement


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def compare_rates(ramps, *, suppress=True, window=(None, None), ours=None, group_range=None):
    """Compare our rates with jwst's."""
    wanted = jwst_fit(ramps, suppress=suppress, window=window)
    found = our_fit(ramps, suppress=suppress, window=ours, group_range=group_range)
    assert_rates_agree(found[0], wanted[0])
    assert_rates_agree(found[1], wanted[1])


class TestRates:
    @pytest.mark.parametrize("frames", [(1, 0), (4, 1)], ids=["single", "averaged"])
    @pytest.mark.parametrize("integrations", [1, 3])
    @pytest.mark.parametrize("groups", [1, 2, 3, 4, 5, 10, 120])
    def test_unflagged_ramps(self, rng, groups, integrations, frames):
        compare_rates(draw(rng, integrations, groups, nframes=frames[0], groupgap=frames[1]))

    @pytest.mark.parametrize("suppress", [True, False])
    @pytest.mark.parametrize("frames", [(1, 0), (4, 1)], ids=["single", "averaged"])
    @pytest.mark.parametrize("integrations", [1, 3])
    @pytest.mark.parametrize("groups", [1, 2, 3, 4, 5, 10, 120])
    def test_flagged_and_invalid_ramps(self, rng, groups, integrations, frames, suppress):
        ramps = draw(rng, integrations, groups, nframes=frames[0], groupgap=frames[1])
        compare_rates(spoil(flag_at_random(ramps, rng), rng), suppress=suppress)

    @pytest.mark.parametrize("suppress", [True, False])
    @pytest.mark.parametrize("integrations", [1, 2])
    @pytest.mark.parametrize("groups", [1, 2, 3, 4])
    def test_every_pattern_of_flags(self, rng, groups, integrations, suppress):
        ramps = draw(rng, integrations, groups, 26, 26, nframes=4, groupgap=1)
        compare_rates(every_pattern(ramps), suppress=suppress)

    def test_every_pattern_of_good_groups(self, rng):
        ramps = draw(rng, 1, 9, 16, 32)
        compare_rates(every_pattern(ramps, (0, DO_NOT_USE)), suppress=False)

    def test_more_pixels_than_a_stretch(self, rng):
        compare_rates(flag_at_random(draw(rng, 1, 3, rows=17, columns=73), rng))

    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        integrations=st.integers(1, 4),
        groups=st.integers(1, 14),
        frames=st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(0, 3)),
        chance=st.sampled_from([0.01, 0.1, 0.3, 0.6]),
        flags=st.sets(st.sampled_from(FLAGS)),
        suppress=st.booleans(),
        data=st.data(),
    )
    def test_drawn(self, seed, integrations, groups, frames, chance, flags, suppress, data):
        rng = np.random.default_rng(seed)
        ramps = draw(rng, integrations, groups, 4, 12, nframes=frames[0], groupgap=frames[1])
        ramps = spoil(flag_at_random(ramps, rng, chance, sorted(flags)), rng, chance)
        first = data.draw(st.integers(0, max(groups - 2, 0)))
        last = data.draw(st.integers(min(first + 1, groups - 1), groups - 1))
        if first >= last:
            first, last = 0, groups - 1  # jwst ignores such a choice
        compare_rates(ramps, suppress=suppress, window=(first, last), ours=(first, last + 1))


class TestZeroFrames:
    @pytest.mark.parametrize("suppress", [True, False])
    @pytest.mark.parametrize("integrations", [1, 2])
    @pytest.mark.parametrize("groups", [1, 2, 3, 4])
    def test_every_pattern_of_flags(self, rng, groups, integrations, suppress):
        ramps = every_pattern(draw(rng, integrations, groups, 26, 26, nframes=4, groupgap=1))
        with_frames = with_zero_frames(ramps, rng)
        compare_rates(with_frames, suppress=suppress)
        used = not np.array_equal(
            our_fit(with_frames, suppress=suppress)[0]["data"],
            our_fit(ramps, suppress=suppress)[0]["data"],
            equal_nan=True,
        )
        assert used == (not suppress or groups == 1)

    @pytest.mark.parametrize("groups", [1, 3, 8])
    def test_flagged_and_invalid_ramps(self, rng, groups):
        ramps = spoil(flag_at_random(draw(rng, 3, groups, nframes=4, groupgap=1), rng, 0.4), rng)
        compare_rates(with_zero_frames(ramps, rng), suppress=False)

    def test_optional_results(self, rng):
        ramps = draw(rng, 2, 3, nframes=4, groupgap=1, drop_frames1=2)
        ramps = spoil(flag_at_random(ramps, rng, 0.5), rng)
        TestOptionalResults.compare(with_zero_frames(ramps, rng), False)


class TestOptionalResults:
    @pytest.mark.parametrize("suppress", [True, False])
    @pytest.mark.parametrize("integrations", [1, 3])
    @pytest.mark.parametrize("groups", [1, 2, 3, 5, 30])
    def test_segments(self, rng, groups, integrations, suppress):
        ramps = draw(rng, integrations, groups, nframes=4, groupgap=1, drop_frames1=2)
        compared = self.compare(spoil(flag_at_random(ramps, rng), rng), suppress)
        assert compared >= set(OPTIONAL) - {"crmag"}

    def test_every_pattern_of_flags(self, rng):
        assert self.compare(every_pattern(draw(rng, 1, 4, 26, 26)), True) == set(OPTIONAL)

    def test_ramps_without_jumps(self, rng):
        assert self.compare(draw(rng, 1, 5), True) == set(OPTIONAL) - {"crmag"}

    @staticmethod
    def compare(ramps, suppress):
        """Compare all arrays that jwst has with ours, and return their names."""
        wanted = jwst_fit(ramps, suppress=suppress, save_opt=True)[2]
        found = our_segments(ramps, suppress=suppress)
        assert tuple(found) == OPTIONAL
        absent = {name for name in found if 0 in wanted[name].shape}
        for name, array in found.items():
            if name in absent:  # jwst has no planes here; we have one plane of zeros
                assert not array.any()
            else:
                # Intercepts and jumps are differences of samples, whose float32 rounding is
                # 1e-4 DN.
                assert_near(array, wanted[name], 1e-4, name)
        return set(found) - absent


class TestMiri:
    def test_groups_unusable_in_the_whole_frame_are_excluded(self, rng):
        ramps = self.miri(rng, 2, 9, first=2)
        found = [usable_groups(ramps.groupdq, settings=ramps.settings())]
        group_range = find_group_range(found, where="x")
        assert group_range == (2, 8)
        compare_rates(ramps, group_range=group_range)

    @pytest.mark.parametrize("window", [(0, 5), (3, 6)])
    def test_with_a_window(self, rng, window):
        ramps = self.miri(rng, 1, 9, first=1)
        ours = window[0], window[1] + 1
        found = usable_groups(ramps.groupdq, settings=ramps.settings(window=ours))
        group_range = find_group_range([found], where="x")
        compare_rates(ramps, window=window, ours=ours, group_range=group_range)

    def test_a_group_usable_in_any_pixel_is_fitted(self, rng):
        ramps = self.miri(rng, 1, 6, first=1)
        ramps.groupdq[0, 0, 3, 5] = 0
        found = [
            usable_groups(r.groupdq, settings=r.settings(suppress=False)) for r in halves(ramps)
        ]
        assert find_group_range(found, where="x") == (0, 5)
        assert not are_all_usable(found)
        assert not are_all_usable(found[:1])

    def test_suppressed_ramps_do_not_make_a_group_usable(self, rng):
        ramps = draw(rng, 1, 4)
        ramps.groupdq[:] = DO_NOT_USE
        ramps.groupdq[0, 1:, 0] = 0
        ramps.groupdq[0, 0, 1] = 0  # one good group: suppressed
        for suppress, groups in ((True, (1, 4)), (False, (0, 4))):
            found = usable_groups(ramps.groupdq, settings=ramps.settings(suppress))
            assert find_group_range([found], where="x") == groups

    @pytest.mark.parametrize("left", [0, 1])
    def test_too_few_groups(self, rng, left):
        ramps = draw(rng, 1, 2)
        ramps.groupdq[:, left:] = DO_NOT_USE
        found = usable_groups(ramps.groupdq, settings=ramps.settings(suppress=False))
        with pytest.raises(StepError, match=f"x: MIRI ramps need 2 groups .* have {left}$"):
            find_group_range([found], where="x")

    @staticmethod
    def miri(rng, integrations, groups, first):
        """Draw a ramp like those after MIRI's first-frame and last-frame steps."""
        ramps = spoil(flag_at_random(draw(rng, integrations, groups), rng), rng)
        ramps.groupdq[:, :first] |= np.uint8(DO_NOT_USE)
        ramps.groupdq[:, -1] |= np.uint8(DO_NOT_USE)
        return ramps.__class__(**{**vars(ramps), "instrument": "MIRI"})


def halves(ramps):
    return ramps.rows(0, 4), ramps.rows(4, 8)


def test_tiles_equal_the_whole(rng):
    ramps = spoil(flag_at_random(draw(rng, 2, 7, rows=40, columns=33), rng, 0.05), rng)
    whole = our_fit(ramps)
    for height in (1, 3, 16):
        parts = [our_fit(ramps.rows(r, min(r + height, 40))) for r in range(0, 40, height)]
        for product, name in itertools.product(range(2), FIELDS):
            joined = np.concatenate([part[product][name] for part in parts], axis=-2)
            assert joined.tobytes() == whole[product][name].tobytes(), (height, name)


def test_inputs_may_be_read_only_and_strided(rng):
    ramps = flag_at_random(draw(rng, 2, 5, rows=12), rng)
    arrays, references = ramps.rows(3, 9).ours()  # views into larger arrays
    for array in (*arrays, *references.values()):
        array.flags.writeable = False
    found = fit_ramps(*arrays, **references, settings=ramps.settings())
    whole, each = our_fit(ramps)
    wanted = [*whole.values(), *each.values()]
    for array, all_rows in zip(found, wanted, strict=False):
        np.testing.assert_array_equal(array, all_rows[..., 3:9, :])


def test_unsaturated_ramps_are_counted(rng):
    ramps = draw(rng, 2, 4, rows=3, columns=5)
    ramps.groupdq[:, 0] = SATURATED
    ramps.groupdq[1, 0, 2, 1] = 0
    arrays, references = ramps.ours()
    *_, counts = fit_ramps(*arrays, **references, settings=ramps.settings())
    assert counts.tolist() == [0, 0, 1]
