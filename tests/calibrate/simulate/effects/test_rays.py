"""Cosmic rays: their number, order and neighbours."""

import numpy as np
import pytest

from calbatch.calibrate.simulate import Noise, SimulationSpec
from calbatch.calibrate.simulate.effects.rays import Rays, draw_rays, spread_charge
from calbatch.calibrate.simulate.readout_plan import plan_readout

READOUT = plan_readout(
    SimulationSpec(subarray="GENERIC", shape=(40, 50), corner=(901, 901), full_references=False)
)
NOISE = Noise(cosmic_rays=60000.0)


def test_rays_are_in_order_of_arrival_and_only_on_sensitive_pixels():
    light = np.zeros((40, 50), dtype=bool)
    light[10:30] = True
    rays = draw_rays(np.random.default_rng(1), READOUT, NOISE, light)
    assert len(rays.frame) > 20
    assert (np.diff(rays.frame) >= 0).all()
    assert rays.frame.max() < READOUT.total_frames
    assert light[rays.row, rays.col].all()
    assert np.median(rays.electrons) == pytest.approx(1500, rel=0.5)


def test_neighbours_inside_the_frame_receive_a_share():
    light = np.ones((4, 4), dtype=bool)
    light[1, 2] = False
    rays = Rays(np.array([3, 5]), np.array([1, 0]), np.array([1, 0]), np.array([100.0, 10.0]))
    spread = spread_charge(rays, 0.1, light)
    deposits = set(zip(*(getattr(spread, name).tolist() for name in
                         ("frame", "row", "col", "electrons")), strict=True))  # fmt: skip
    assert deposits == {
        (3, 1, 1, 100.0), (3, 0, 1, 10.0), (3, 2, 1, 10.0), (3, 1, 0, 10.0),
        (5, 0, 0, 10.0), (5, 1, 0, 1.0), (5, 0, 1, 1.0),
    }  # fmt: skip
    assert (np.diff(spread.frame) >= 0).all()


def test_without_spreading_rays_are_unchanged():
    rays = Rays(*(np.zeros(1, dtype=int),) * 3, np.ones(1))
    assert spread_charge(rays, 0, np.ones((1, 1), dtype=bool)) is rays
