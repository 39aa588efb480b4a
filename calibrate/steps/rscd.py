"""RSCD: exclude the groups of MIRI that reset switch charge decay affects.

Source: jwst 3.0.0 ``rscd`` step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.step import SkipStep, Step
from calbatch.calibrate.steps._miri import as_miri_ramp
from calbatch.models.arrays import DeferredMetadata
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import DO_NOT_USE, FLUX_ESTIMATED, SATURATED
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

MIN_GROUPS = 3
"""Minimum number of groups of an exposure; with fewer, no group is excluded."""
FEW_GROUPS = 5
"""With at most this number of groups, the reference's numbers are reduced to 1."""
LEFT_OVER = 3
"""Groups that remain in every ramp: two for a slope, and the last one, which is excluded, too."""
FORMER_NAMES = {"SUBPRISM": "SLITLESSPRISM"}
"""Current names of subarrays, which references use, by the names in old exposures."""

FIRST, LATER = "first", "later"
"""Names of the counts for the first integration, and for the later ones."""
KEYWORDS = {
    FIRST: ("meta.rscd.keep_groups_saturation_int1", "meta.rscd.keep_bright_firstgroup_int1"),
    LATER: ("meta.rscd.keep_groups_saturation_int2p", "meta.rscd.keep_bright_firstgroup_int2p"),
}
"""Metadata of the numbers of pixels with fewer excluded groups, and with none."""


class RSCDStep(Step):
    """Flag the first groups of each integration as DO_NOT_USE.

    The reference gives their number for the first integration of the exposure and for the later
    ones. Ramps that saturate early keep more groups.
    """

    reference_file_types = ("rscd",)
    cal_step = "rscd"

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with its first groups flagged."""
        ramp = as_miri_ramp(exposure, "decaying reset charge")
        listed = look_up_groups(self.open_reference(ramp, "rscd").rscd_group_skip_table, ramp)
        groups = ramp.shape[1]
        if groups < MIN_GROUPS:
            raise SkipStep(f"{groups} groups are too few to exclude the first ones")
        plan = plan_exclusion(listed, ramp)
        result = ramp.map_tiles(
            exclude_first_groups,
            outputs=("groupdq", "pixeldq"),
            row_counts=(FIRST, LATER),
            plan=plan,
        )
        if plan.first is not None:
            result.meta.rscd.ngroups_skip_int1 = plan.first
            result.defer_meta(_count_metadata(FIRST))
        if plan.later is not None:
            result.meta.rscd.ngroups_skip_int2p = plan.later
            result.defer_meta(_count_metadata(LATER))
        return result


@dataclass(frozen=True, kw_only=True)
class ExclusionPlan:
    """The numbers of groups to exclude.

    Attributes
    ----------
    first : int or None
        In the exposure's first integration; None if that is not in the file.
    later : int or None
        In all other integrations; None if the exposure has one integration only.
    """

    first: int | None
    later: int | None


def look_up_groups(table: Array, ramp: RampModel) -> tuple[int, int]:
    """Return the numbers of groups that a reference lists for an exposure.

    Parameters
    ----------
    table : structured ndarray
        The reference's rows: SUBARRAY, READPATT, GROUP_SKIP and, except in old references,
        GROUP_SKIP1.
    ramp : RampModel
        The exposure.

    Returns
    -------
    tuple of int
        For the first integration and for the later ones. As in jwst, the former is one group if
        the reference does not list it.

    Raises
    ------
    SkipStep
        If there is no row for the exposure's subarray and readout pattern.
    """
    subarray, pattern = str(ramp.meta.subarray.name), str(ramp.meta.exposure.readpatt)
    names = {name.lower(): name for name in table.dtype.names or ()}
    wanted = FORMER_NAMES.get(subarray.upper(), subarray), pattern
    for row in table:
        if (str(row[names["subarray"]]).strip(), str(row[names["readpatt"]]).strip()) == wanted:
            first = int(row[names["group_skip1"]]) if "group_skip1" in names else -1
            return first if first >= 0 else 1, int(row[names["group_skip"]])
    raise SkipStep(f"its rscd reference has no row for SUBARRAY {wanted[0]}, READPATT {pattern}")


def plan_exclusion(listed: tuple[int, int], ramp: RampModel) -> ExclusionPlan:
    """Return the numbers of groups to exclude from an exposure.

    NINTS is the number of integrations of the exposure, of which the file may be a segment that
    begins with integration INTSTART.
    """
    integrations, groups = ramp.shape[:2]
    if groups <= FEW_GROUPS:
        listed = 1, 1
    first, later = (min(count, groups - LEFT_OVER) for count in listed)
    start = header_number(ramp, "meta.exposure.integration_start")
    total = header_number(ramp, "meta.exposure.nints") or integrations
    return ExclusionPlan(
        first=first if start in (None, 1) else None, later=later if total > 1 else None
    )


def exclude_first_groups(
    groupdq: Array, pixeldq: Array, *, plan: ExclusionPlan
) -> tuple[Array, Array, Array, Array]:
    """Return flags with DO_NOT_USE in the first groups.

    Parameters
    ----------
    groupdq : ndarray
        Flags, (integrations, groups, rows, columns).
    pixeldq : ndarray
        Flags, (rows, columns).
    plan : ExclusionPlan
        The numbers of groups to exclude.

    Returns
    -------
    groupdq, pixeldq : ndarray
        The flags; FLUX_ESTIMATED marks pixels that keep more groups because they saturate early.
    first, later : ndarray
        int64, (rows, 3), for the first and for the later integrations: the numbers of ramps that
        saturate early, of pixels that therefore keep more groups, and of pixels that keep all.
    """
    flags, estimated = groupdq.copy(), np.zeros(pixeldq.shape, np.bool_)
    start = 0 if plan.first is None else 1
    counts = []
    for which, count in ((slice(0, start), plan.first), (slice(start, None), plan.later)):
        if count is None:
            counts.append(np.zeros((pixeldq.shape[0], 3), np.int64))
            continue
        excluded, early = count_groups_to_exclude(groupdq[which], count)
        numbers = np.arange(groupdq.shape[1])[:, None, None]
        flags[which] |= np.where(numbers < excluded[:, None], np.uint8(DO_NOT_USE), np.uint8(0))
        fewer = np.any(excluded < count, axis=0)
        estimated |= fewer
        per_row = (
            np.count_nonzero(early, axis=(0, 2)),
            fewer.sum(1),
            np.any(excluded == 0, 0).sum(1),
        )
        counts.append(np.stack(per_row, axis=1))
    pixeldq = pixeldq | np.where(estimated, np.uint32(FLUX_ESTIMATED), np.uint32(0))
    return flags, pixeldq, counts[0], counts[1]


def count_groups_to_exclude(groupdq: Array, count: int) -> tuple[Array, Array]:
    """Return the number of groups to exclude from each ramp.

    A ramp that would be left with fewer than two groups before saturation excludes fewer: one less
    as long as the group after the next is saturated. Ramps that are saturated in their first group
    are lost anyway, and exclude all.

    Parameters
    ----------
    groupdq : ndarray
        Flags, (integrations, groups, rows, columns), of more than ``count + 1`` groups.
    count : int
        Number of groups to exclude from ramps that do not saturate early.

    Returns
    -------
    excluded, early : ndarray
        (integrations, rows, columns): the number of groups, and True for ramps that saturate early.
    """
    saturated = groupdq[:, : max(count + 2, 1)] & np.uint8(SATURATED) != 0
    affected = ~saturated[:, 0]
    early = affected & saturated[:, -1]
    excluded = np.full(early.shape, count)
    for group in range(count + 1, 0, -1):
        affected &= saturated[:, group]
        excluded = np.where(affected, np.maximum(excluded - 1, 0), excluded)
    return excluded, early


def count_kept(counts: Mapping[str, Array], *, which: str) -> dict[str, int]:
    """Return the counts for the header: of pixels that keep more groups, and that keep all.

    As in jwst, the second count is zero if no ramp saturates early.
    """
    early, fewer, whole = (int(number) for number in counts[which].sum(axis=0))
    return dict(zip(KEYWORDS[which], (fewer, whole if early else 0), strict=True))


def _count_metadata(which: str) -> DeferredMetadata:
    return DeferredMetadata(partial(count_kept, which=which), KEYWORDS[which])
