"""Ramps with showers: large areas that are a little brighter from one group on."""

import numpy as np

from calbatch.models.dq import REFERENCE_PIXEL
from support.jumps import Ramps


def add_showers(ramps: Ramps, seed: int, count: int = 3) -> Ramps:
    """Add showers to every integration, and reference pixels at the left edge."""
    rng = np.random.default_rng(seed)
    ints, groups, rows, cols = ramps.data.shape
    y, x = np.mgrid[:rows, :cols]
    for i, _ in np.ndindex(ints, count):
        distance = np.hypot(
            (y - rng.uniform(0, rows)) * rng.uniform(0.7, 1.3), x - rng.uniform(0, cols)
        )
        inside = distance < rng.uniform(5, 14)
        ramps.data[i, rng.integers(1, groups) :] += inside * np.float32(rng.uniform(15, 40))
    ramps.pixeldq[:, :4] = REFERENCE_PIXEL
    return ramps
