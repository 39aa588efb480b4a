"""What the jump step decides for an exposure as a whole: how jumps are told from noise.

Source: stcal 1.20 ``twopoint_difference`` (``groups_all_set_dnu``, ``check_group_counts``).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps.jump.flags import Search
from calbatch.models import dq

Array = npt.NDArray[Any]

NOT_SEARCHED, ALL_AT_ONCE, ONE_BY_ONE, CLIPPING = range(4)
"""How jumps are told from noise."""

FEWEST_GROUPS = 3
"""With fewer usable groups there is nothing to tell a jump by."""


class JumpRules(NamedTuple):
    """The step's parameters, as its arithmetic takes them.

    Attributes
    ----------
    threshold, three_differences, two_differences : float
        How many sigma a difference must stand out by, with four or more usable differences in a
        pixel, with three and with two.
    frames : float
        Frames averaged in a group.
    neighbours : bool
        Whether the four neighbours of a jump are flagged too,
    least, most : float
        if it stands out by more than ``least`` and less than ``most`` sigma.
    after : tuple of (float, int)
        Limits (DN), and how many groups are flagged after a jump that reaches each.
    single_pass : int
        With so many differences all jumps are found at once, with fewer one by one.
    clip_groups : int
        With so many groups, or integrations, jumps are found by sigma clipping.
    clip_integrations : bool
        Whether clipping compares the same group of all integrations, or all groups.
    """

    threshold: float
    three_differences: float
    two_differences: float
    frames: float
    neighbours: bool
    least: float
    most: float
    after: tuple[tuple[float, int], ...]
    single_pass: int
    clip_groups: int
    clip_integrations: bool


def unusable_groups(groupdq: Array) -> Array:
    """Return which groups are DO_NOT_USE in every pixel, (integrations, groups)."""
    return np.all(groupdq & np.uint8(dq.DO_NOT_USE), axis=(2, 3))


def true_everywhere(found: list[Array]) -> Array:
    """Combine regions: return what is true in all of them."""
    return np.logical_and.reduce(found)


def true_nowhere(found: list[Array]) -> bool:
    """Return whether nothing is true in all regions so far."""
    return not true_everywhere(found).any()


def median_gain(found: list[Array]) -> float:
    """Return the median gain of the frame (electrons per DN) from its rows; NaN without any."""
    gain = np.concatenate(found)
    return np.nan if np.isnan(gain).all() else float(np.nanmedian(gain))


def gather_gain(data: Array) -> Array:
    """Return the gain itself."""
    return data


def choose_method(unusable: Array, rules: JumpRules) -> int:
    """Return how jumps are to be found, from which groups are unusable over the whole frame."""
    integrations, groups = unusable.shape
    compared = integrations if rules.clip_integrations else int(np.sum(~unusable))
    if compared >= rules.clip_groups:
        return CLIPPING
    fewest = groups - int(unusable.sum(axis=1).max())
    if fewest < FEWEST_GROUPS:
        return NOT_SEARCHED
    return ALL_AT_ONCE if fewest - 1 >= rules.single_pass else ONE_BY_ONE


def number_differences(unusable: Array) -> Array:
    """Return the number of each group's difference, -1 where there is none."""
    usable = ~unusable
    usable[:, 1:] &= usable[:, :-1]
    usable[:, 0] = False
    return np.where(usable, np.cumsum(usable).reshape(usable.shape) - 1, -1)


def make_search(method: int, unusable: Array, clear: Array | None, rules: JumpRules) -> Search:
    """Return what the kernels need to know."""
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
        least=rules.least if rules.neighbours else np.inf,
        most=rules.most,
    )
