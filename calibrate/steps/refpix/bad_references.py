"""Bad reference pixels of IRS2: found by their statistics, or listed in a reference, and replaced.

The arrays hold the 128 interleaved reference pixels of each section as (..., sections, 128, rows),
in pairs that are read one after the other.

Source: jwst 3.0.0 ``refpix.irs2_subtract_reference``, ``flag_bad_refpix`` and ``clobber_ref``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._interleaving import BLOCKS, REFERENCES

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

PAIR = 2


def find_bad_pairs(samples: Array, known: Mask, sigmas: float) -> Mask:
    """Return the mask of bad reference pixels: known ones, and pairs with outlying statistics.

    Three numbers describe a pair in an integration: the mean absolute difference of its pixels,
    their mean, and their standard deviation. A pair is bad in all integrations if one of them
    exceeds the clipped mean of its section by more than ``sigmas`` clipped standard deviations in
    any integration.

    Parameters
    ----------
    samples : ndarray
        float32, (integrations, groups, sections, 128, rows).
    known : ndarray of bool
        Pixels known to be bad, whose pairs are left out of all statistics, (sections, 128).
    sigmas : float
        The limit for the statistics, and for clipping them.
    """
    bad = known.copy()
    used: Mask = ~np.any(known.reshape(len(known), -1, PAIR), axis=-1)
    for integration in samples:
        for section, pairs in enumerate(used):
            if pairs.any():
                statistics = _describe_pairs(integration[:, section], np.flatnonzero(pairs))
                outlying = np.zeros(pairs.shape, np.bool_)
                outlying[pairs] = np.logical_or.reduce(
                    [_exceeds(numbers, sigmas) for numbers in statistics]
                )
                bad[section] |= np.repeat(outlying, PAIR)
    return bad


def _describe_pairs(samples: Array, pairs: Array) -> tuple[Array, Array, Array]:
    """Return the three statistics of pairs, (pairs,), for samples (groups, 128, rows)."""
    differences, means, deviations = (np.empty(pairs.size, np.float32) for _ in range(3))
    for i, pair in enumerate(pairs):
        both = samples[:, PAIR * pair : PAIR * (pair + 1)]
        # In the samples' own precision, as in jwst: limits depend on it.
        differences[i] = np.mean(np.abs(both[:, 1] - both[:, 0]))
        means[i], deviations[i] = np.mean(both), np.std(both)
    return differences, means, deviations


def _exceeds(numbers: Array, sigmas: float) -> Mask:
    from astropy.stats import sigma_clipped_stats  # its import is slow

    mean, _, deviation = sigma_clipped_stats(numbers, sigma=sigmas)
    mask: Mask = np.greater(numbers - mean, sigmas * deviation)
    return mask


def replace_bad(samples: Array, bad: Mask, pixels: Iterable[int]) -> None:
    """Replace reference pixels of one section, in place and one after the other.

    The mean of the pixels in the same place of the nearest blocks on both sides is used, or the
    good one of these. If both are bad, a pixel of the block's other pair is used if it is good, and
    otherwise 0, which stands for an unknown value.

    Parameters
    ----------
    samples : ndarray
        Reference pixels, (..., 128, rows); modified.
    bad : ndarray of bool
        All bad pixels of the section, (128,).
    pixels : iterable of int
        The pixels to replace.
    """
    for pixel in pixels:
        near = [n for n in (pixel - REFERENCES, pixel + REFERENCES) if 0 <= n < bad.size]
        good = [n for n in near if not bad[n]]
        other = pixel - PAIR if pixel % REFERENCES >= PAIR else pixel + PAIR
        if not good and not bad[other]:
            good = [other]
        found = [samples[..., n, :] for n in good]
        samples[..., pixel, :] = sum(found) / np.float32(len(found)) if found else 0


def list_bad_pixels(output: int, odd_even: int, mask: int) -> list[int]:
    """Return the reference pixels of an amplifier that a row of the reference's table lists.

    Parameters
    ----------
    output : int
        The amplifier, 1 to 4.
    odd_even : int
        1 or 2: the first or second pair in the order of readout, which alternates from amplifier to
        amplifier.
    mask : int
        Bit b stands for block b.
    """
    pair = 2 - odd_even if output % 2 == 0 else odd_even - 1
    blocks = [b for b in range(BLOCKS) if mask >> b & 1]
    return [b * REFERENCES + PAIR * pair + n for b in blocks for n in range(PAIR)]
