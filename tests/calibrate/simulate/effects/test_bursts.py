"""Bursts: their places, times and charges."""

import numpy as np
import pytest

from calbatch.calibrate.simulate import Noise, SimulationSpec
from calbatch.calibrate.simulate.effects.bursts import (
    CORE_CHARGE,
    FAINT_CHARGE,
    SHOWER_CHARGE,
    draw_bursts,
    join_deposits,
    measure_distance,
)
from calbatch.calibrate.simulate.effects.rays import Rays
from calbatch.calibrate.simulate.readout_plan import plan_readout

READOUT = plan_readout(
    SimulationSpec(subarray="GENERIC", shape=(60, 70), corner=(901, 901), full_references=False)
)
LIGHT = np.ones((60, 70), dtype=bool)
LIGHT[:, :4] = False


def bursts(**noise):
    return draw_bursts(np.random.default_rng(3), READOUT, Noise(**noise), LIGHT, 2)


@pytest.mark.parametrize("kind", ["snowballs", "showers"])
def test_charge_lies_in_the_ellipses_on_sensitive_pixels(kind):
    drawn = bursts(**{kind: 900.0})
    assert len(drawn.table) > 3
    assert np.all(drawn.table["shower"] == (kind == "showers"))
    assert np.all(drawn.table["integration"] == 2)
    deposits = drawn.deposits
    assert np.all(np.diff(deposits.frame) >= 0)
    wanted = sum(np.sum((measure_distance(b, LIGHT.shape) < 1) & LIGHT) for b in drawn.table)
    assert len(deposits.row) == wanted
    assert LIGHT[deposits.row, deposits.col].all()
    low, high = (FAINT_CHARGE, CORE_CHARGE) if kind == "snowballs" else SHOWER_CHARGE
    assert low <= deposits.electrons.min() <= deposits.electrons.max() <= high
    assert (deposits.electrons.max() == CORE_CHARGE) == (kind == "snowballs")


def test_there_are_none_by_default():
    drawn = bursts()
    assert len(drawn.table) == len(drawn.deposits.row) == 0
    rays = Rays(*(np.zeros(1, dtype=int),) * 3, np.ones(1))
    assert join_deposits(rays, drawn.deposits) is rays


def test_deposits_are_joined_in_order_of_arrival():
    rays = Rays(np.array([1, 4]), np.array([1, 1]), np.array([2, 2]), np.array([5.0, 6.0]))
    other = Rays(np.array([0, 3]), np.array([7, 8]), np.array([7, 8]), np.array([9.0, 8.0]))
    joined = join_deposits(rays, other)
    assert joined.frame.tolist() == [0, 1, 3, 4]
    assert joined.electrons.tolist() == [9.0, 5.0, 8.0, 6.0]
