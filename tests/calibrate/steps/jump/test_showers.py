"""Showers: agreement with jwst's step, and individual rules."""

import dask
import numpy as np
import pytest
from astropy.io import fits
from support.detector_steps import jwst_result
from support.jumps import calm, stormy
from support.showers import add_showers
from support.snowballs import add_snowballs

from calbatch.calibrate.steps.jump import JumpStep
from calbatch.calibrate.steps.jump.ellipses import Ellipse, Outline
from calbatch.calibrate.steps.jump.emission import EmissionBits
from calbatch.calibrate.steps.jump.marks import Events, Kind, Mark
from calbatch.calibrate.steps.jump.showers import ShowerRules, find_showers, mark_showers
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, REFERENCE_PIXEL, SATURATED
from calbatch.models.tiling.tile import Region

SHAPE = (48, 56)
RULES = ShowerRules(min_area=90, factor=1.1, max_axis=400, later_groups=2)
COLUMNS = 40


def observe(ramps):
    return ramps.as_exposure(group_time=2.8, nframes=1, groupgap=0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # stcal computes with NaN and infinities
@pytest.mark.filterwarnings("ignore:Input data contains invalid values")  # astropy, of NaN
class TestAgreementWithJwst:
    """Groups whose ellipses depend on rounding in stcal's FFT would differ; none does here."""

    @pytest.mark.parametrize(
        ("seed", "parameters"),
        [
            (1, {}),
            (2, {"extend_snr_threshold": 2.5}),
            (3, {"extend_snr_threshold": 1.6, "extend_min_area": 40, "max_extended_radius": 7}),
            (5, {"time_masked_after_shower": 7.0, "minimum_sigclip_groups": 2}),
            (*(7, {"expand_large_events": True, "extend_ellipse_expand_ratio": 1.5}),),
            (9, {"extend_inner_radius": 2.0, "extend_outer_radius": 1.5}),
        ],
    )
    def test_flags_and_rates_are_equal(self, tmp_path, seed, parameters):
        from jwst.jump import JumpStep as JwstStep

        drawn = (calm if seed % 2 else stormy)(3, 8, SHAPE, seed)
        if parameters.get("expand_large_events"):
            add_snowballs(drawn, seed)
        observed = observe(add_showers(drawn, seed))
        if seed == 3:
            observed.groupdq[:, :2, :, 4:] |= np.uint8(DO_NOT_USE)  # not in reference pixels
        options = {**drawn.references(tmp_path), "find_showers": True, **parameters}
        theirs = jwst_result(JwstStep, observed.theirs(), **options)
        with dask.config.set({"calbatch.tile-rows": 16}):
            ours = JumpStep(**options).run(observed.ours()).save(tmp_path / "ours.fits")
        with fits.open(ours) as hdus:
            np.testing.assert_array_equal(hdus["GROUPDQ"].data, theirs.groupdq)
            facts = theirs.meta.exposure
            assert hdus[0].header["EXTNCRS"] == facts.extended_emission_events
            assert hdus[0].header["PRIMECRS"] == facts.primary_cosmic_rays
        assert (facts.extended_emission_events > 0) == (seed != 2)

    def test_the_maximum_amplitude_has_no_effect(self, tmp_path):
        from jwst.jump import JumpStep as JwstStep

        drawn = add_showers(calm(3, 8, SHAPE, 1), 1)
        options = {**drawn.references(tmp_path), "find_showers": True}
        found = [
            jwst_result(JwstStep, observe(drawn).theirs(), max_shower_amplitude=value, **options)
            for value in (4.0, 0.001)
        ]
        np.testing.assert_array_equal(found[0].groupdq, found[1].groupdq)
        ours = JumpStep(max_shower_amplitude=0.001, **options).run(observe(drawn).ours())
        np.testing.assert_array_equal(ours.groupdq, found[0].groupdq)


def bits(ints=2, groups=7, rows=30):
    """Return images without emission, and the masks of unusable and idle groups."""
    images = np.zeros((ints, groups - 1, rows, COLUMNS), bool)
    none = np.zeros((ints, groups), bool)
    return images, none.copy(), none.copy()


def find(images, unusable, idle, **changes):
    band = EmissionBits(np.packbits(images, axis=-1), unusable, idle)
    return find_showers([band], RULES._replace(**changes))


class TestDecision:
    @pytest.mark.parametrize(("size", "count"), [(9, 0), (10, 1)])
    def test_small_areas_do_not_count(self, size, count):
        images, *groups = bits()
        images[1, 2, 5:15, 5 : 5 + size] = True
        assert find(images, *groups, min_area=91).count == count

    def test_later_groups_are_flagged_for_some_time(self):
        images, *groups = bits()
        images[0, 2, 5:15, 5:15] = images[1, 5, 5:15, 5:15] = True
        marks = find(images, *groups).marks
        assert [(m.integration, m.first, m.stop) for m in marks] == [(0, 3, 6), (1, 6, 7)]
        assert all(m.kind is Kind.EXTENT for m in marks)

    def test_groups_up_to_the_first_usable_one_are_not_searched(self):
        images, unusable, idle = bits()
        images[:, :, 5:15, 5:15] = True
        idle[1, :3] = True
        firsts = [(m.integration, m.first) for m in find(images, unusable, idle).marks]
        assert firsts == [*((0, g) for g in range(1, 7)), *((1, g) for g in range(4, 7))]

    @pytest.mark.parametrize(("dropped", "count"), [(2, 1), (3, 0)])
    def test_ten_differences_are_required(self, dropped, count):
        images, unusable, idle = bits()
        images[0, 2, 5:15, 5:15] = True
        unusable[1, :dropped] = True
        events = find(images, unusable, idle)
        assert (events.count, events.usable) == (count, 14 - dropped)

    def test_bands_are_joined(self):
        images, *groups = bits()
        images[0, 2, 5:25, 5:15] = True
        packed = np.packbits(images, axis=-1)
        bands = [EmissionBits(packed[:, :, r : r + 7], *groups) for r in range(0, 30, 7)]
        (one,), (other,) = find_showers(bands, RULES).marks, find(images, *groups).marks
        assert one == other


class TestFlags:
    """A ramp of slope 10 with one group 30 higher."""

    @pytest.fixture
    def data(self):
        data = np.zeros((1, 6, 2, 3), "f4") + np.arange(0, 60, 10, dtype="f4")[:, None, None]
        data[0, 3:] += 30
        return data

    def mark_ramps(self, data, limit, *, groupdq=None, pixeldq=None, first=3, stop=4):
        outline = Outline.of(Ellipse(1.0, 1.0, (8.0, 8.0), 0.0))  # all pixels
        mark = Mark(Kind.EXTENT, 0, first, stop, outline)
        flags, _ = mark_showers(
            data,
            np.zeros(data.shape, "u1") if groupdq is None else groupdq,
            np.zeros((2, 3), "u4") if pixeldq is None else pixeldq,
            gain=np.full((2, 3), 2, "f4"),
            events=Events(marks=[mark], count=1, usable=6),
            region=Region((0, 2), (0, 3)),
            max_change=limit,
        )
        return flags

    @pytest.mark.parametrize(("limit", "kept"), [(11.9, False), (12.0, True)])
    def test_flags_that_change_the_rate_too_much_are_removed(self, data, limit, kept):
        # the mean falls from 16 to 10 DN, by 12 electrons
        assert np.all(self.mark_ramps(data, limit)[0, 3] == (JUMP_DET if kept else 0))

    def test_a_pixel_without_any_rate_keeps_its_flags(self, data):
        assert not self.mark_ramps(data, 1e9, first=0, stop=6).any()

    def test_reference_pixels_keep_their_flags(self, data):
        pixeldq = np.zeros((2, 3), "u4")
        pixeldq[0, 1] = REFERENCE_PIXEL
        flags = self.mark_ramps(data, 1e9, pixeldq=pixeldq)
        assert flags[0, 3].tolist() == [[JUMP_DET, 0, JUMP_DET], [JUMP_DET] * 3]

    def test_saturated_pixels_are_not_flagged(self, data):
        groupdq = np.zeros(data.shape, "u1")
        groupdq[0, 3, 1, 1] = SATURATED
        assert self.mark_ramps(data, 1e9, groupdq=groupdq)[0, 3, 1, 1] == SATURATED
