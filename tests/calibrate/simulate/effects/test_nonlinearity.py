"""Nonlinearity of a detector, and its inverse."""

import numpy as np
import pytest

from calbatch.calibrate.simulate import Noise
from calbatch.calibrate.simulate.effects.nonlinearity import (
    delinearise,
    inverse_coefficients,
    linearise,
)
from calbatch.calibrate.simulate.instruments import DETECTORS
from calbatch.calibrate.simulate.maps import make_maps
from calbatch.calibrate.simulate.readout_plan import Frame

FRAME = Frame(500, 40, 500, 50)


@pytest.fixture(params=[0.0, 0.06, 0.12])
def maps(request):
    return make_maps(DETECTORS["NRCA1"], FRAME, Noise(nonlinearity=request.param), seed=1)


def test_linearising_inverts_delinearising(maps):
    largest = linearise(maps.full_well, maps.coefficients)
    for part in (0.0, 0.001, 0.1, 0.5, 0.99):
        signal = (largest * np.float32(part)).astype(np.float32)
        counts = delinearise(signal, maps.full_well, maps.coefficients)
        # 1e-6 of the signal is a few units in float32's last place
        np.testing.assert_allclose(
            linearise(counts, maps.coefficients), signal, rtol=1e-6, atol=1e-3
        )


def test_the_loss_at_full_well_is_the_requested_one():
    maps = make_maps(DETECTORS["NRCA1"], FRAME, Noise(nonlinearity=0.06), seed=1)
    lost = 1 - maps.full_well / linearise(maps.full_well, maps.coefficients)
    # the strength scatters by 10 % from pixel to pixel: 2000 pixels give the mean to 0.3 %
    assert lost.mean() == pytest.approx(0.06, rel=0.01)


def test_counts_stop_at_full_well(maps):
    counts = delinearise(maps.full_well * 3, maps.full_well, maps.coefficients)
    np.testing.assert_array_equal(counts, maps.full_well)


def test_inverse_polynomial_follows_the_inverse(maps):
    inverse = inverse_coefficients(maps.full_well, maps.coefficients)
    signal = linearise(maps.full_well, maps.coefficients) * np.float32(0.7)
    counts = delinearise(signal, maps.full_well, maps.coefficients)
    # the residuals of a fifth-order fit of a 12 % loss are far below the read noise
    np.testing.assert_allclose(linearise(signal, inverse), counts, rtol=5e-5)
