"""Ramps with reference pixels, corrected by calbatch and by jwst."""

import warnings

import numpy as np
from jwst.refpix import RefPixStep as JwstRefPixStep

from calbatch.calibrate.steps.refpix import RefPixStep
from calbatch.models.dq import DO_NOT_USE
from support.placed_ramps import PlacedRamp, flagged_border

READ_NOISE = 10.0
"""Scatter of the samples, in counts."""

EVERY_AXES = [(a * i, b * j) for a, b in ((1, 2), (2, 1)) for i in (1, -1) for j in (1, -1)]
EDGES = {
    "corner": ((40, 24), (0, 0)),
    "far corner": ((40, 24), (2008, 2024)),
    "bottom stripe": ((16, 2048), (0, 0)),
    "top stripe": ((16, 2048), (2032, 0)),
    "middle stripe": ((16, 2048), (700, 0)),
    "left stripe": ((2048, 16), (0, 0)),
    "right stripe": ((2048, 16), (0, 2032)),
    "middle columns": ((2048, 16), (0, 600)),
    "one row and column": ((30, 30), (3, 2017)),
    "nothing": ((30, 30), (900, 1100)),
}


def ramp(seed, shape, origin=(0, 0), nints=1, ngroups=1, **place):
    """Return a ramp with amplifier, parity and row signals, outliers and bad pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.arange(o, o + n) for o, n in zip(origin, shape, strict=True))
    data = rng.normal(100, READ_NOISE, (nints, ngroups, *shape))
    for numbers in (rows[:, None], columns):
        data += 40 * (numbers // 512) + 25 * (numbers % 2) + 15 * np.sin(numbers / 20)
    data[rng.random(data.shape) < 0.01] += 3000
    pixeldq = flagged_border(shape, origin)
    pixeldq[rng.random(shape) < 0.05] |= DO_NOT_USE
    return PlacedRamp(data.astype(np.float32), pixeldq, origin, **place)


def correct(placed, **parameters):
    """Return the data after the step."""
    return RefPixStep(**parameters).run(placed.ours()).data.compute(scheduler="synchronous")


def correct_with_jwst(placed, **parameters):
    """Return jwst's result for a ramp, and its status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means and medians of NaN
        result = JwstRefPixStep(**parameters).process(placed.theirs())
    return result.data, result.meta.cal_step.refpix


def assert_agrees(found, wanted):
    """Assert agreement within 1e-3 of the read noise or 1e-5 relative, the same NaN included.

    jwst sums in float32 in the first group.
    """
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3 * READ_NOISE)


def check(placed, **parameters):
    """Compare with jwst; return the subtracted signal."""
    wanted, status = correct_with_jwst(placed, **parameters)
    assert status == "COMPLETE"
    found = correct(placed, **parameters)
    assert_agrees(found, wanted)
    return placed.data - found
