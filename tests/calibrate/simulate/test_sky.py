"""The light on a detector: background and stars."""

import numpy as np
import pytest

from calbatch.calibrate.simulate import Sky
from calbatch.calibrate.simulate.readout_plan import Frame
from calbatch.calibrate.simulate.sky import render_sky


def test_the_sky_is_the_same_but_shifted_between_exposures():
    frame = Frame(900, 100, 900, 120)
    first, again, second = (render_sky(Sky(stars=20), frame, 0, n) for n in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 1
    assert first.min() >= 0.6
    spectrum = np.fft.rfft2(first) * np.conj(np.fft.rfft2(second))
    shift = np.unravel_index(np.argmax(np.fft.irfft2(spectrum)), first.shape)
    assert all(min(s, n - s) < 15 for s, n in zip(shift, first.shape, strict=True))


def test_without_stars_there_is_only_the_background():
    light = render_sky(Sky(background=2.5, stars=0), Frame(0, 8, 0, 9), 1, 1)
    assert light.shape == (8, 9)
    assert (light == 2.5).all()


def test_the_light_of_a_star_is_its_flux():
    sky = Sky(background=0.0, stars=1, faintest=5000.0, brightest=5000.0)
    fluxes = [render_sky(sky, Frame(0, 200, 0, 200), seed, 1).sum() for seed in range(8)]
    assert np.median(fluxes) == pytest.approx(5000, rel=0.03)  # without the faint wings
