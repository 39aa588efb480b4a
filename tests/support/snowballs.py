"""Ramps with snowballs: large jumps with saturated cores of all sizes, at all places."""

import numpy as np

from calbatch.models.dq import SATURATED
from support.jumps import Ramps


def add_snowballs(ramps: Ramps, seed: int, count: int = 6) -> Ramps:
    """Add snowballs to every integration; cores saturate in the same or in the next group."""
    rng = np.random.default_rng(seed)
    ints, groups, rows, cols = ramps.data.shape
    y, x = np.mgrid[:rows, :cols]
    for i, _ in np.ndindex(ints, count):
        group, radius = rng.integers(1, groups), rng.uniform(1, 7)
        distance = np.hypot(
            (y - rng.uniform(0, rows)) * rng.uniform(0.7, 1.3), x - rng.uniform(0, cols)
        )
        ramps.data[i, group:][:, distance < radius] += 4000
        start = group + rng.integers(0, 2)
        ramps.groupdq[i, start:][:, distance < rng.uniform(0, radius)] |= np.uint8(SATURATED)
    return ramps
