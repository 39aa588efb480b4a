"""Random numbers that depend on their purpose, not on the order in which they are drawn."""

import zlib

import numpy as np


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the random generator of a purpose.

    Parameters
    ----------
    seed : int
        The seed of the whole set, 0 or more.
    *purpose : str or int
        Names and numbers, such as ``"ramp", exposure, band``. Generators of different purposes are
        independent.

    Returns
    -------
    numpy.random.Generator
    """
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose]
    return np.random.default_rng([seed, *words])
