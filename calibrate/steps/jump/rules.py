"""Decisions of the jump step for a whole exposure: its method, limits and usable groups.

Source: stcal 1.20 ``twopoint_difference`` (``groups_all_set_dnu``, ``check_group_counts``).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.flags import Search
from calbatch.models import dq

Array = npt.NDArray[Any]

NOT_SEARCHED, ALL_AT_ONCE, ONE_BY_ONE, CLIPPING = range(4)
"""Methods of finding jumps."""

MIN_GROUPS = 3
"""Minimum number of usable groups for a search."""


class JumpRules(NamedTuple):
    """The step's parameters in the form that its arithmetic uses.

    Attributes
    ----------
    threshold, three_differences, two_differences : float
        Thresholds in sigma for pixels with four or more, three, and two usable differences.
    frames : float
        Frames averaged in a group.
    neighbours : bool
        True if the four neighbours of a jump are also flagged.
    min_neighbours, max_neighbours : float
        Range of jumps, in sigma, whose neighbours are flagged.
    after : tuple of (float, int)
        Limits (DN), and the number of groups to flag after a jump that reaches each.
    single_pass : int
        Number of differences from which all jumps are found in a single pass.
    clip_groups : int
        Number of groups, or integrations, from which sigma clipping is used.
    clip_integrations : bool
        True if clipping compares each group across integrations, instead of all groups.
    """

    threshold: float
    three_differences: float
    two_differences: float
    frames: float
    neighbours: bool
    min_neighbours: float
    max_neighbours: float
    after: tuple[tuple[float, int], ...]
    single_pass: int
    clip_groups: int
    clip_integrations: bool


def unusable_groups(groupdq: Array) -> Array:
    """Return True for groups that are DO_NOT_USE in every pixel, (integrations, groups)."""
    return np.all(groupdq & np.uint8(dq.DO_NOT_USE), axis=(2, 3))


def true_everywhere(regions: list[Array]) -> Array:
    """Return the logical and of the arrays of all regions."""
    return np.logical_and.reduce(regions)


def is_true_nowhere(regions: list[Array]) -> bool:
    """Return whether no element is true in all regions so far."""
    return not true_everywhere(regions).any()


def median_gain(regions: list[Array]) -> float:
    """Return the median gain of the frame (electron/DN), or NaN if no pixel has a gain."""
    gain = np.concatenate(regions)
    return np.nan if np.isnan(gain).all() else float(np.nanmedian(gain))


def gather_gain(data: Array) -> Array:
    """Return the gain of a region."""
    return data


def choose_method(unusable: Array, rules: JumpRules) -> int:
    """Return the method, given the groups that are unusable in the whole frame."""
    integrations, groups = unusable.shape
    compared = integrations if rules.clip_integrations else int(np.sum(~unusable))
    if compared >= rules.clip_groups:
        return CLIPPING
    fewest = groups - int(unusable.sum(axis=1).max())
    if fewest < MIN_GROUPS:
        return NOT_SEARCHED
    return ALL_AT_ONCE if fewest - 1 >= rules.single_pass else ONE_BY_ONE


def number_differences(unusable: Array) -> Array:
    """Return the index of each group's difference, or -1 if it has none."""
    usable = ~unusable
    usable[:, 1:] &= usable[:, :-1]
    usable[:, 0] = False
    return np.where(usable, np.cumsum(usable).reshape(usable.shape) - 1, -1)


def make_search(method: int, unusable: Array, clear: Array | None, rules: JumpRules) -> Search:
    """Return the method and limits of a search for the kernels."""
    difference = number_differences(unusable)
    _, groups = np.nonzero(difference >= 0)
    apart = method == CLIPPING and rules.clip_integrations
    by_count = [np.inf, np.inf, rules.two_differences, rules.three_differences, rules.threshold]
    at_once = method == ALL_AT_ONCE
    return Search(
        clipping=method == CLIPPING,
        one_by_one=method == ONE_BY_ONE,
        difference=difference,
        population=groups - 1 if apart else np.zeros_like(groups),
        clear=np.zeros(unusable.shape, bool) if clear is None else np.array(clear),
        frames=rules.frames,
        thresholds=np.full(5, rules.threshold) if at_once else np.array(by_count, float),
        min_neighbours=rules.min_neighbours if rules.neighbours else np.inf,
        max_neighbours=rules.max_neighbours,
    )
