"""The properties of a detector by pixel."""

import numpy as np
import pytest
from support.simulated import without_noise

from calbatch.calibrate.simulate import Noise
from calbatch.calibrate.simulate.instruments import DETECTORS
from calbatch.calibrate.simulate.maps import BIAS, PEDESTAL, make_maps
from calbatch.calibrate.simulate.readout_plan import Frame

CORNER = Frame(0, 60, 0, 80)


def maps_of(detector="NRCA1", frame=CORNER, seed=1, noise=None):
    return make_maps(DETECTORS[detector], frame, noise or Noise(), seed)


def test_the_same_arguments_give_the_same_maps():
    first, again, other = maps_of(), maps_of(), maps_of(seed=2)
    np.testing.assert_array_equal(first.bias, again.bias)
    assert (first.gain != other.gain).any()


def test_a_part_is_a_view_of_the_whole():
    whole = maps_of()
    part = whole.cut(Frame(10, 20, 30, 40))
    assert part.gain.base is not None
    np.testing.assert_array_equal(part.coefficients, whole.coefficients[:, 10:30, 30:70])
    np.testing.assert_array_equal(whole.band(slice(5, 9)).dead, whole.dead[5:9])


def test_reference_pixels_see_no_light_and_have_no_dark_current():
    maps = maps_of()
    assert maps.reference.sum() == 60 * 80 - 56 * 76
    assert not (maps.dead | maps.hot)[maps.reference].any()
    assert (maps.dark_rate[maps.reference] == 0).all()
    assert (maps.flat[maps.reference] == 1).all()
    assert (maps.coefficients[2:, maps.reference] == 0).all()


@pytest.mark.parametrize(("detector", "is_miri"), [("NRCA1", False), ("MIRIMAGE", True)])
def test_miri_has_a_pedestal_instead_of_a_bias(detector, is_miri):
    maps = maps_of(detector)
    assert np.median(maps.bias) == pytest.approx(0 if is_miri else BIAS, abs=900)
    assert np.median(maps.pedestal) == pytest.approx(PEDESTAL if is_miri else 0, rel=0.01)
    assert (maps.reset > 0).any() == is_miri


def test_the_noise_sets_the_values():
    noise = without_noise(gain=3.0, read_noise=8.0, full_well=50000.0)
    maps = maps_of(noise=noise)
    assert np.median(maps.gain) == pytest.approx(3.0, rel=0.01)
    assert np.median(maps.read_noise[~maps.reference]) == pytest.approx(8.0, rel=0.01)
    assert np.median(maps.full_well) == pytest.approx(50000, rel=0.01)
