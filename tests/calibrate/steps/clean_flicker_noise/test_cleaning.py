"""The noise of all differences, and its subtraction in tiles."""

import numpy as np
import pytest

from calbatch.calibrate.steps.clean_flicker_noise.background import Background
from calbatch.calibrate.steps.clean_flicker_noise.cleaning import (
    CleaningRules,
    find_noise,
    show_mask,
    show_masks,
    show_noise,
    spread_background,
    subtract_noise,
)
from calbatch.calibrate.steps.clean_flicker_noise.draft import RampRows
from calbatch.calibrate.steps.clean_flicker_noise.scene import SceneRules
from calbatch.models.tiling.plan import Region

FRAME = (12, 16)
WHOLE = Region((0, 12), (0, 16))


def ramp(frame=FRAME, groups=4):
    rng = np.random.default_rng(8)
    data = np.cumsum(rng.normal(9, 2, (2, groups, *frame)), axis=1)
    data += rng.normal(0, 30, (2, groups, frame[0], 1))
    return data.astype("f4")


def rows_of(data, mask, top=0, bottom=None):
    part = data[..., top:bottom, :]
    flags = np.zeros(part.shape, "u1")
    return RampRows(data=part, groupdq=flags, rates={}, mask=mask[..., top:bottom, :])


def rules(**changes):
    wanted = {
        "axis": 1, "by_channel": False, "is_full": True, "single_mask": True, "scene": SceneRules(),
        "background": Background(), "keep_mask": True, "keep_background": True,
    }  # fmt: skip
    return CleaningRules(**{**wanted, **changes})


def find(data, mask=None, **changes):
    mask = np.ones(data.shape[-2:], bool) if mask is None else mask
    return find_noise([rows_of(data, mask)], rules=rules(**changes))


class TestNoise:
    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("method", ["median", "model"])
    def test_it_is_the_same_however_the_frame_is_cut(self, axis, method):
        data, mask = ramp(), np.random.default_rng(1).random(FRAME) < 0.9
        options = {"axis": axis, "background": Background(method=method)}
        bands = [rows_of(data, mask, *b) for b in ((0, 5), (5, 6), (6, None))]
        found, wanted = find_noise(bands, rules=rules(**options)), find(data, mask, **options)
        for i in range(2):
            for j in range(3):
                np.testing.assert_array_equal(found.noise[i][j], wanted.noise[i][j])
                np.testing.assert_array_equal(found.background[i][j], wanted.background[i][j])

    def test_stripes_are_gone(self):
        data = ramp()
        noise = find(data, background=Background(method="None"))
        after = subtract_noise(data, noise=noise, region=WHOLE)
        before, left = (np.diff(d, axis=1).mean(axis=-1).std() for d in (data, after))
        assert left < before / 20

    def test_masks_may_differ_between_integrations(self):
        data = ramp()
        masks = np.ones((2, *FRAME), bool)
        masks[1, :, :8] = False
        found, same = find(data, masks), find(data)
        np.testing.assert_array_equal(found.noise[0][0], same.noise[0][0])
        assert np.any(found.noise[1][0] != same.noise[1][0])

    def test_draft_rates_give_a_mask_for_each_integration(self):
        data = ramp()
        rates = data[:, -1] - data[:, 0]
        rates[1, 2:5, 3:9] += 1e4
        flags = np.zeros(data.shape, "u1")
        rows = RampRows(data=data, groupdq=flags, rates={"rateints.data": rates})
        mask = find_noise([rows], rules=rules(single_mask=False)).mask
        assert mask.shape == (2, *FRAME)
        assert not mask[1, 2:5, 3:9].any()
        assert mask[0, 2:5, 3:9].any()

    def test_a_single_group_has_no_noise(self):
        assert find(ramp(groups=1)).noise == [[], []]


class TestSubtraction:
    @pytest.mark.parametrize(("frame", "axis"), [((3, 2048), 1), ((2048, 3), 0)])
    def test_regions_of_channels(self, frame, axis):
        data = ramp(frame, groups=2)
        noise = find(data, axis=axis, by_channel=True)
        assert noise.noise[0][0].shape == ((3, 4) if axis else (4, 3))
        whole = subtract_noise(data, noise=noise, region=Region((0, frame[0]), (0, frame[1])))
        rows, columns = (1, frame[0] - 1), (1, frame[1] - 1)
        part = data[..., slice(*rows), slice(*columns)]
        np.testing.assert_array_equal(
            subtract_noise(part, noise=noise, region=Region(rows, columns)),
            whole[..., slice(*rows), slice(*columns)],
        )

    def test_a_difference_without_background_stays_as_it_is(self):
        data = ramp()
        data[0, 1] = np.nan
        data[0, 2] = 3
        after = subtract_noise(data, noise=find(data), region=WHOLE)
        np.testing.assert_array_equal(after[0, 1:3], data[0, 1:3])
        assert np.all(np.isfinite(after[0, 3]))

    def test_all_groups_after_a_nan_are_nan_as_in_jwst(self):
        data = ramp()
        data[0, 1, 4, 5] = np.nan
        after = subtract_noise(data, noise=find(data), region=WHOLE)
        assert np.isnan(after[0, 1:, 4, 5]).all()

    def test_stripes_are_multiplied_by_the_flat(self):
        data, flat = ramp(), np.full(FRAME, 2, "f4")
        noise = find(data)
        once, twice = (
            data - subtract_noise(data, noise=noise, region=WHOLE, flat=f) for f in (None, flat)
        )
        np.testing.assert_allclose(twice, 2 * once, atol=1e-4)


class TestProducts:
    def test_noise_is_the_change_of_the_ramp(self):
        data = ramp()
        change, *_ = show_noise(data, noise=find(data), region=WHOLE)
        after = subtract_noise(data, noise=find(data), region=WHOLE)
        np.testing.assert_array_equal(change, after - data)

    @pytest.mark.parametrize("method", ["median", "model", "None"])
    def test_backgrounds_belong_to_the_later_group(self, method):
        data, rows = ramp(), Region((2, 7), (0, 16))
        noise = find(data, background=Background(method=method))
        result, *_ = spread_background(data[..., 2:7, :], noise=noise, region=rows)
        assert not result[:, 0].any()
        usual = 0 if method == "None" else 9
        assert np.median(result[:, 1:]) == pytest.approx(usual, abs=9)

    def test_masks_are_numbers(self):
        data, mask = ramp(), np.random.default_rng(1).random(FRAME) < 0.5
        rows = Region((3, 9), (0, 16))
        shown = show_mask(noise=find(data, mask), region=rows)
        np.testing.assert_array_equal(shown, mask[3:9])
        both = np.stack([mask, ~mask])
        shown, err, flags = show_masks(noise=find(data, both), region=rows)
        np.testing.assert_array_equal(shown, both[:, 3:9])
        assert not err.any()
        assert not flags.any()
