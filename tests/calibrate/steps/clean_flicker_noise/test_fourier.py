"""Noise in frequency space: agreement with jwst's classes, and individual rules."""

import numpy as np
import pytest

from calbatch.calibrate.steps.clean_flicker_noise import fourier
from calbatch.calibrate.steps.clean_flicker_noise.lines import BackgroundPixels


def draw(shape, seed=0, used=0.7):
    """Return a frame with slow noise in the order of readout, and a mask of used pixels."""
    rng = np.random.default_rng(seed)
    slow = np.cumsum(rng.normal(0, 0.3, shape), axis=None).reshape(shape)
    image = slow - slow.mean() + rng.normal(0, 1, shape)
    mask = rng.random(shape) < used
    image[rng.random(shape) < 0.01] += 50
    return image.astype("f4"), mask


def pixels_of(image, mask):
    return BackgroundPixels(image, mask, (-np.inf, np.inf), np.zeros((1, 1), "f4"))


@pytest.mark.agreement
class TestAgreementWithJwst:
    @pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
    def test_frames_fitted_line_by_line(self, detector):
        """A small square: jwst's class does not look at the size."""
        from jwst.clean_flicker_noise.nsclean import NSClean

        image, mask = draw((512, 512), used=0.8)
        mask[200:230] &= np.random.default_rng(7).random((30, 512)) < 0.3
        wanted = NSClean(detector, mask.copy()).clean(image.copy())
        oriented = [fourier._as_read(a, detector) for a in (image, mask)]
        noise = fourier._as_read(fourier.fit_lines(*oriented), detector, back=True)
        # jwst solves in single precision
        np.testing.assert_allclose(image - noise, wanted, atol=2e-3)
        assert np.abs(noise).max() > 1

    @pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
    @pytest.mark.parametrize("shape", [(32, 160), (64, 24), (16, 10)])
    def test_subarrays(self, detector, shape):
        from jwst.clean_flicker_noise.clean_flicker_noise import fft_clean_subarray

        image, mask = draw(shape, used=0.6)
        wanted = fft_clean_subarray(image.copy(), mask.copy(), detector)
        noise = fourier.fit_noise(pixels_of(image, mask), fourier.FourierRules(detector))
        np.testing.assert_allclose(image - noise, wanted, atol=5e-3)  # single precision in jwst
        assert np.abs(noise).max() > 0.5

    def test_cutoffs(self):
        from jwst.clean_flicker_noise.clean_flicker_noise import fft_clean_subarray

        image, mask = draw((24, 120), used=0.6)
        rules = fourier.FourierRules("NRS1", (150, 200, 49943, 49957))
        wanted = fft_clean_subarray(image.copy(), mask.copy(), "NRS1", fc=rules.cutoffs)
        noise = fourier.fit_noise(pixels_of(image, mask), rules)
        np.testing.assert_allclose(image - noise, wanted, atol=5e-3)  # single precision in jwst

    def test_sections_with_few_used_pixels_stay_as_they_are(self):
        from jwst.clean_flicker_noise.clean_flicker_noise import fft_clean_subarray

        image, mask = draw((40, 300), used=0.03)
        wanted = fft_clean_subarray(image.copy(), mask.copy(), "NRS1")
        noise = fourier.fit_noise(pixels_of(image, mask), fourier.FourierRules("NRS1"))
        np.testing.assert_array_equal(image - noise, wanted.astype("f4"))

    def test_noise_in_gaps_is_much_smaller(self):
        """The used pixels at the end of a long gap hardly determine the noise within."""
        from jwst.clean_flicker_noise.clean_flicker_noise import fft_clean_subarray

        image, mask = draw((40, 600), used=0.6)
        mask[:, 60:540] = False
        wanted = fft_clean_subarray(image.copy(), mask.copy(), "NRS1")
        noise = fourier.fit_noise(pixels_of(image, mask), fourier.FourierRules("NRS1"))
        assert np.abs(noise).max() < 1e-4 * np.abs(image - wanted).max()
        assert np.abs(noise).max() < 20 * np.abs(noise[mask]).max()

    def test_noise_in_short_gaps_agrees(self):
        """There the pixels around determine it."""
        from jwst.clean_flicker_noise.clean_flicker_noise import fft_clean_subarray

        image, mask = draw((32, 512), used=0.6)
        mask[8:30, 60:300] = False
        wanted = fft_clean_subarray(image.copy(), mask.copy(), "NRS1")
        noise = fourier.fit_noise(pixels_of(image, mask), fourier.FourierRules("NRS1"))
        np.testing.assert_allclose(image - noise, wanted, atol=5e-3)  # single precision in jwst


class TestRules:
    def test_no_noise_is_found_without_used_pixels(self):
        image, mask = draw((8, 8))
        rules = fourier.FourierRules("NRS1")
        assert fourier.fit_noise(pixels_of(image, mask & False), rules) is None

    @pytest.mark.parametrize("counts", [[0, 3, 5, 0], [600, 600, 600], [100] * 40, [2000, 0, 0, 1]])
    def test_sections_cover_all_lines_with_used_pixels(self, counts):
        sections = fourier.divide_into_sections(np.array(counts))
        covered = set().union(*(range(*section) for section in sections))
        assert set(np.flatnonzero(counts)) <= covered
        assert sections[-1][1] == np.flatnonzero(counts)[-1] + 1
        assert all(a < b for a, b in sections)

    def test_lines_with_fewer_pixels_than_frequencies_are_not_fitted(self):
        image, mask = draw((512, 512))
        mask[40:60] = False
        mask[50, :2] = True
        noise = fourier.fit_lines(image, mask)
        assert np.abs(noise[50]).max() < 1e-4 < 1 < np.abs(noise[30]).max()

    def test_weights_after_a_line_without_used_pixels_are_equal(self):
        mask = np.ones((16, 64), bool)
        mask[7] = False
        weights = fourier.weigh_pixels(mask)
        assert not weights[7].any()
        np.testing.assert_allclose(weights[8], 1)
