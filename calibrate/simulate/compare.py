"""Agreement of calibrated products with the truth of simulated exposures."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.effects.bursts import measure_distance
from calbatch.calibrate.simulate.truth import Truth
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED

BRIGHT_RAY = 10.0  # standard deviations of two groups' difference


@dataclass(frozen=True)
class RateScore:
    """Statistics of (rate - truth) / error over the compared pixels."""

    pixels: int
    mean: float
    scatter: float


@dataclass(frozen=True)
class RayScore:
    """Completeness and purity of the detected cosmic rays.

    Attributes
    ----------
    bright : int
        Rays above 10 standard deviations of two groups' difference, in good and unsaturated pixels,
        whose group and the group before are used.
    found : float
        Fraction of these that are flagged in their group.
    false : float
        Fraction of all samples that are flagged as jumps without a ray within one pixel and group.
    """

    bright: int
    found: float
    false: float


def score_rate(
    truth: Truth, rate: NDArray[Any], error: NDArray[Any], dq: NDArray[Any]
) -> RateScore:
    """Compare a rate image (DN/s, arrays of shape (rows, cols)) with the truth.

    Pixels are excluded if they are flagged DO_NOT_USE or SATURATED, have no value, or are not good
    in the truth.
    """
    used = truth.good & np.isfinite(rate) & np.isfinite(error) & (error > 0)
    used &= (dq & (DO_NOT_USE | SATURATED)) == 0
    pull = (rate[used].astype(np.float64) - truth.rate[used]) / error[used]
    return RateScore(int(used.sum()), float(pull.mean()), float(pull.std()))


def score_rays(truth: Truth, groupdq: NDArray[np.uint8]) -> RayScore:
    """Compare jump flags, shape (nints, ngroups, rows, cols), with the true cosmic rays."""
    rays = truth.rays
    place = rays["integration"], rays["group"], rays["row"], rays["col"]
    pixel = rays["row"], rays["col"]
    flags = groupdq[place]
    bright = (rays["dn"] > BRIGHT_RAY * truth.sigma[pixel]) & _mask_with_differences(groupdq)[place]
    bright &= truth.good[pixel] & ((flags & SATURATED) == 0)
    flagged = (flags[bright] & JUMP_DET) != 0
    jumps = (groupdq & JUMP_DET) != 0
    false = jumps & ~_mask_near(rays, groupdq.shape)
    count = int(bright.sum())
    return RayScore(count, float(flagged.mean()) if count else 1.0, float(false.mean()))


def _mask_with_differences(groupdq: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the mask of samples whose difference from the group before is known.

    Jumps are found in differences: without one, as in the first group and after groups that the
    pipeline excludes, no detection can be expected.
    """
    used = (groupdq & DO_NOT_USE) == 0
    known = np.zeros(groupdq.shape, dtype=bool)
    known[:, 1:] = used[:, 1:] & used[:, :-1]
    return known


def _mask_near(rays: NDArray[np.void], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of samples within one pixel and one group of a ray."""
    _, ngroups, rows, cols = shape
    near = np.zeros(shape, dtype=bool)
    for step in np.ndindex(3, 3, 3):
        group, row, col = (
            np.clip(rays[name] + move - 1, 0, size - 1)
            for name, move, size in zip(
                ("group", "row", "col"), step, (ngroups, rows, cols), strict=True
            )
        )
        near[rays["integration"], group, row, col] = True
    return near


@dataclass(frozen=True)
class BurstScore:
    """Completeness and purity of the flags of snowballs and showers.

    Attributes
    ----------
    bursts : int
        Bursts that arrived after the first group.
    found : float
        Fraction of the good pixels of these bursts that are flagged as jumps or saturated in the
        group of the burst.
    false : float
        Fraction of all samples that are flagged as jumps although neither a burst is within three
        of its radii nor a ray nearby.
    """

    bursts: int
    found: float
    false: float


def score_bursts(truth: Truth, groupdq: NDArray[np.uint8]) -> BurstScore:
    """Compare jump flags, shape (nints, ngroups, rows, cols), with the true bursts."""
    _, ngroups, *frame = groupdq.shape
    jumps = (groupdq & JUMP_DET) != 0
    explained = _mask_near(truth.rays, groupdq.shape)
    flagged, pixels, count = 0, 0, 0
    for burst in truth.bursts:
        relative, group = measure_distance(burst, (frame[0], frame[1])), burst["group"]
        explained[burst["integration"], :, relative < 3] = True
        if not 0 < group < ngroups:
            continue
        flags = groupdq[burst["integration"], group][(relative < 1) & truth.good]
        flagged += int(np.count_nonzero(flags & (JUMP_DET | SATURATED)))
        pixels, count = pixels + flags.size, count + 1
    found = flagged / pixels if pixels else 1.0
    return BurstScore(count, found, float(np.mean(jumps & ~explained)))
