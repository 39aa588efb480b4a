"""The noise of a difference: agreement with jwst's function."""

import numpy as np
import pytest

from calbatch.calibrate.steps.clean_flicker_noise import lines
from calbatch.calibrate.steps.clean_flicker_noise.background import Background
from calbatch.calibrate.steps.clean_flicker_noise.lines import find_background, measure_lines


def draw(shape, seed=0):
    """Return a difference with stripes, sources and NaN, and a mask of some sources."""
    rng = np.random.default_rng(seed)
    frame = rng.normal(20, 4, shape) + rng.normal(0, 3, (shape[0], 1)) + np.arange(shape[1]) * 0.01
    sources = rng.random(shape) < 0.1
    frame[sources] += rng.exponential(100, sources.sum())
    frame[rng.random(shape) < 0.03] = np.nan
    mask = ~sources | (rng.random(shape) < 0.3)
    mask[shape[0] // 2] = False
    return frame.astype("f4"), mask


def clean(frame, mask, axis, channels=1, **options):
    pixels = find_background(frame.copy(), mask, Background(**options))
    stripes = measure_lines(pixels, axis, channels)
    return frame - np.repeat(stripes, frame.shape[axis] // channels, axis=axis)


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize(
        "options",
        [
            {}, {"n_sigma": 0.0}, {"n_sigma": 1.2}, {"method": "None"}, {"method": "model"},
            {"method": "model", "box": (8, 12), "n_sigma": 0.0},
        ],
        ids=str,
    )  # fmt: skip
    def test_cleaned_frames_agree(self, axis, options):
        frame, mask = draw((40, 48))
        found = clean(frame, mask, axis, **options)
        self.compare(frame, mask, found, axis, options)

    @pytest.mark.parametrize(("shape", "axis"), [((8, 2048), 1), ((2048, 8), 0)])
    def test_channels_are_cleaned_by_themselves(self, shape, axis):
        frame, mask = draw(shape)
        found = clean(frame, mask, axis, channels=4)
        self.compare(frame, mask, found, axis, {}, by_channel=True)

    def compare(self, frame, mask, found, axis, options, by_channel=False):
        from jwst.clean_flicker_noise.clean_flicker_noise import _clean_one_image

        method, box = options.get("method", "median"), options.get("box")
        wanted, _, _ = _clean_one_image(
            frame.copy(), mask.copy(), method, box, options.get("n_sigma", 2.0), "median", "NIS",
            None, axis + 1, by_channel, None,
        )  # fmt: skip
        # the background is not subtracted and added again: the last bits of sums differ
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=2e-5)


class TestRules:
    @pytest.mark.parametrize("axis", [0, 1])
    def test_medians_do_not_depend_on_how_many_lines_are_sorted_together(self, monkeypatch, axis):
        pixels = find_background(*draw((40, 48)), Background())
        wanted = measure_lines(pixels, axis, 4)
        monkeypatch.setattr(lines, "LINES_AT_ONCE", 7)
        np.testing.assert_array_equal(measure_lines(pixels, axis, 4), wanted)

    def test_a_frame_without_background_has_no_noise(self):
        frame, mask = draw((6, 8))
        assert find_background(frame, mask & False, Background()) is None
        assert find_background(np.full_like(frame, np.nan), mask, Background()) is None

    def test_a_line_without_background_has_no_stripe(self):
        frame, mask = draw((6, 8))
        stripes = measure_lines(find_background(frame, mask, Background()), 1, 1)
        assert stripes[3, 0] == 0
        assert np.count_nonzero(stripes) >= 4

    def test_no_pixel_may_be_left_by_clipping(self):
        frame = np.array([[0, 1, 3, 7]], "f4")
        pixels = find_background(frame, np.ones((1, 4), bool), Background(n_sigma=1e-9))
        np.testing.assert_array_equal(measure_lines(pixels, 1, 1), [[0]])
