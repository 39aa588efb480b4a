"""Estimates of the time and memory that a batch takes, from exposures calibrated before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from calbatch.cluster.ledger import LedgerError, View
from calbatch.cluster.planning.forecast import ExposureGroup, describe_kind

MOST_EXPOSURES = 200
"""Maximum number of exposures of a ledger that are considered: the latest."""

MOST_LEDGERS = 5
"""Maximum number of other ledgers that are searched."""


@dataclass(frozen=True, kw_only=True)
class MeasuredExposure:
    """The time and memory that an exposure took.

    Attributes
    ----------
    title : str
        Description of its mode and size, as that of an `ExposureGroup`.
    work : float
        Seconds that it would take on one thread.
    peak : int, optional
        Peak memory of its process in bytes.
    """

    title: str
    work: float
    peak: int | None

    @property
    def values(self) -> int | None:
        """Number of values of its array."""
        return count_values(self.title)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The time and memory that a batch will probably take.

    Attributes
    ----------
    work : float
        Seconds for all exposures on one thread.
    measured : int
        Number of exposures from which this is known: those of the same kinds, or all if scaled.
    is_scaled : bool
        True if some exposures are of other kinds, so that the time is in proportion to their sizes.
    peak : int, optional
        Peak memory of a process in bytes.
    """

    work: float
    measured: int
    is_scaled: bool
    peak: int | None


def count_values(title: str) -> int | None:
    """Return the number of values of an array from its description; None if it has no size."""
    with suppress(ValueError):
        return math.prod(int(length) for length in title.rpartition(", ")[2].split(" x "))
    return None


def read_experience(view: View, pipeline: str) -> list[MeasuredExposure]:
    """Return the exposures of a ledger that a pipeline has calibrated, the latest ones first."""
    return [
        MeasuredExposure(title=describe_kind(header), work=max(seconds, cpu), peak=peak)
        for header, seconds, cpu, peak in view.find_measured(pipeline, MOST_EXPOSURES)
        if 0 < max(seconds, cpu) < math.inf
    ]


def find_experience(
    own: View | None, others: Iterable[Path], pipeline: str
) -> list[MeasuredExposure]:
    """Return exposures that a pipeline has calibrated before.

    Parameters
    ----------
    own : View, optional
        The ledger of the output folder.
    others : iterable of Path
        Folders of other ledgers, which are searched in turn if that one has no such exposures.
    pipeline : str
        Name of the pipeline.
    """
    found = read_experience(own, pipeline) if own is not None else []
    return found or next(filter(None, _search(others, pipeline)), [])


def _search(folders: Iterable[Path], pipeline: str) -> Iterator[list[MeasuredExposure]]:
    for folder in islice(dict.fromkeys(folders), MOST_LEDGERS):
        with suppress(LedgerError, OSError), View(folder) as view:  # pruned, damaged, unreadable
            yield read_experience(view, pipeline)


def estimate(
    groups: Iterable[ExposureGroup], measured: Sequence[MeasuredExposure]
) -> Estimate | None:
    """Return the time and memory that exposures will probably take; None if nothing is known.

    Parameters
    ----------
    groups : iterable of ExposureGroup
        The exposures. The time of each is the median of those of its kind or, if there are none, in
        proportion to its size.
    measured : sequence of MeasuredExposure
        Exposures calibrated before.
    """
    paces = [each.work / each.values for each in measured if each.values]
    total, is_scaled, titles = 0.0, False, set()
    for group in groups:
        titles.add(group.title)
        alike = [each.work for each in measured if each.title == group.title]
        values = count_values(group.title)
        if not alike and not (paces and values):
            return None
        is_scaled = is_scaled or not alike
        total += group.members * (median(alike) if alike else median(paces) * (values or 0))
    if not measured:
        return None
    used = [each for each in measured if is_scaled or each.title in titles]
    peaks = [each.peak for each in used if each.peak]
    return Estimate(
        work=total, measured=len(used), is_scaled=is_scaled, peak=max(peaks, default=None)
    )
