"""Snowballs: agreement with jwst's step, independence of tiles, and individual rules."""

import dask
import numpy as np
import pytest
from astropy.io import fits
from support.cases import long
from support.detector_steps import jwst_result
from support.jumps import calm, stormy
from support.snowballs import add_snowballs

from calbatch.calibrate.steps.jump import JumpStep
from calbatch.calibrate.steps.jump.ellipses import draw
from calbatch.calibrate.steps.jump.marks import Kind, mark_flags
from calbatch.calibrate.steps.jump.snowballs import SnowballRules, find_snowballs, pack_bits
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED
from calbatch.models.tiling.tile import Region

SHAPE = (40, 56)
RULES = SnowballRules(
    min_core_area=1.0,
    min_area=5.0,
    factor=2.0,
    needs_core=True,
    min_core_axis=2.5,
    core_growth=4,
    edge=0,
    max_axis=400,
    next_groups=0,
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # stcal computes with NaN and infinities
class TestAgreementWithJwst:
    @pytest.mark.parametrize(
        ("seed", "parameters"),
        [
            (0, {}),
            (1, {"edge_size": 0}),
            (2, {"edge_size": 3, "min_sat_radius_extend": 1.0, "sat_expand": 1}),
            (4, {"sat_required_snowball": False, "min_jump_area": 9.0}),
            long(5, {"min_jump_area": 12.0, "min_sat_area": 9.0, "edge_size": 4}),
            (6, {"max_extended_radius": 3, "snowball_time_masked_next_int": 30}),
            (7, {"mask_snowball_core_next_int": False, "edge_size": 0, "expand_factor": 3.3}),
            long(
                8,
                {"min_jump_area": 1.0, "after_jump_flag_dn1": 20.0, "after_jump_flag_time1": 25.0},
            ),
        ],
    )
    def test_flags_and_rates_are_equal(self, tmp_path, seed, parameters):
        from jwst.jump import JumpStep as JwstStep

        drawn = (calm if seed % 2 else stormy)(2, 7, SHAPE, seed)
        observed = add_snowballs(drawn, seed).as_exposure()
        if seed == 2:
            observed.groupdq[1, 4] |= np.uint8(DO_NOT_USE)  # cores make this group usable
        options = {**drawn.references(tmp_path), "expand_large_events": True, **parameters}
        theirs = jwst_result(JwstStep, observed.theirs(), **options)
        with dask.config.set({"calbatch.tile-rows": 16}):
            ours = JumpStep(**options).run(observed.ours()).save(tmp_path / "ours.fits")
        with fits.open(ours) as hdus:
            np.testing.assert_array_equal(hdus["GROUPDQ"].data, theirs.groupdq)
            np.testing.assert_array_equal(hdus["PIXELDQ"].data, theirs.pixeldq)
            facts = theirs.meta.exposure
            assert hdus[0].header["EXTNCRS"] == facts.extended_emission_events > 0
            assert hdus[0].header["PRIMECRS"] == facts.primary_cosmic_rays


def flags(groups=4, shape=(33, 33), ints=1):
    return np.zeros((ints, groups, *shape), "u1")


def find(groupdq, **changes):
    unusable = np.all(groupdq & DO_NOT_USE, axis=(2, 3))
    return find_snowballs([pack_bits(groupdq, unusable=unusable)], RULES._replace(**changes))


def mark_snowballs(groupdq, **changes):
    whole = Region((0, groupdq.shape[2]), (0, groupdq.shape[3]))
    return mark_flags(groupdq, events=find(groupdq, **changes), region=whole)[0]


def disc(groupdq, group, radius, flag, centre=(16, 16)):
    """Flag a disc in a group, and if it is saturated, in all later groups; return its mask."""
    rows, cols = np.ogrid[: groupdq.shape[2], : groupdq.shape[3]]
    inside = (rows - centre[0]) ** 2 + (cols - centre[1]) ** 2 <= radius**2
    groupdq[0, group : None if flag == SATURATED else group + 1, inside] = flag
    return inside


class TestRules:
    def test_a_jump_with_a_core_grows(self):
        given = flags()
        inside = disc(given, 1, 5, JUMP_DET)
        disc(given, 1, 1, SATURATED)
        after = mark_snowballs(given)
        assert np.sum(after[0, 1] & JUMP_DET != 0) > 3 * inside.sum()
        np.testing.assert_array_equal(after[0, 2:], given[0, 2:])  # a small core stays as it is

    @pytest.mark.parametrize(("edge", "count"), [(0, 0), (16, 0), (17, 1)])
    def test_a_jump_without_a_core_counts_only_near_an_edge(self, edge, count):
        given = flags()
        disc(given, 1, 5, JUMP_DET)
        assert find(given, edge=edge).count == count

    def test_the_width_of_the_edge_depends_on_rows_only(self):
        given = flags(shape=(33, 60))
        disc(given, 1, 5, JUMP_DET, centre=(16, 45))
        assert find(given, edge=0).count == 1  # there is no row 45

    def test_cores_replace_the_flags_of_all_later_groups(self):
        given = flags(5)
        inside = disc(given, 2, 4, SATURATED)
        given[0, 1:] |= np.uint8(DO_NOT_USE)
        after = mark_snowballs(given)
        assert np.all(after[0, 2:, inside] == SATURATED)
        assert np.sum(after[0, 3] == SATURATED) > inside.sum()
        np.testing.assert_array_equal(after[0, 1], given[0, 1])
        assert find(given).usable == 1 + 3  # groups 2 to 4 become usable

    def test_grown_cores_hide_jumps_and_cores_of_later_groups(self):
        given = flags(5)
        disc(given, 1, 4, SATURATED)
        disc(given, 3, 5, JUMP_DET)
        disc(given, 3, 5, SATURATED)
        given[0, 3][given[0, 3] == SATURATED] |= np.uint8(JUMP_DET)
        assert find(given).count == 0

    def test_the_next_integration_is_flagged_at_cores_before_they_grow(self):
        given = flags(5, ints=3)
        inside = disc(given, 2, 4, SATURATED)
        events = find(given, next_groups=3)
        remnants = [mark for mark in events.marks if mark.kind is Kind.REMNANT]
        assert [(m.integration, m.first, m.stop) for m in remnants] == [(1, 1, 3)]
        assert draw(remnants[0].outline, (33, 33)).mask.sum() <= inside.sum()
        assert not any(m.kind is Kind.REMNANT for m in find(given, next_groups=1).marks)

    def test_bands_are_joined(self):
        given = add_snowballs(calm(2, 5, SHAPE), 3).groupdq
        given[0, 1:, 8:14, 20:29] |= np.uint8(JUMP_DET)
        unusable = np.zeros((2, 5), bool)
        bands = [pack_bits(given[:, :, r : r + 9], unusable=unusable) for r in range(0, 40, 9)]
        rules = RULES._replace(next_groups=9)
        one, other = find_snowballs(bands, rules), find(given, next_groups=9)
        assert (one.count, one.usable) == (other.count, other.usable)
        assert one.marks == other.marks
