"""What a batch will need, before any pixel is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from calbatch.calibrate import hooks
from calbatch.cluster.display.fetch_progress import TO_BE_FETCHED
from calbatch.cluster.exposure.job import ExposureOptions, Job, build_products
from calbatch.cluster.exposure.outcome import collect_remarks, describe_failure
from calbatch.cluster.planning.planner import SHAPE, TYPE, PlannedExposure
from calbatch.models.budget import TileBudget, tile_budget
from calbatch.models.storage.location import Location

_KIND = (
    "instrument.name",
    "instrument.detector",
    "exposure.type",
    "exposure.readpatt",
    "subarray.name",
)
_SIZES = ("exposure.nints", "exposure.ngroups", "subarray.ysize", "subarray.xsize")
"""Metadata that, with the references, decide what a tile of an exposure costs."""


@dataclass(frozen=True)
class ExposureGroup:
    """Exposures that are alike.

    Attributes
    ----------
    title : str
        What they are.
    members : int
        How many.
    budget : TileBudget
        What a tile costs.
    output_bytes : int
        Bytes of one exposure's products, without headers.
    """

    title: str
    members: int
    budget: TileBudget
    output_bytes: int


@dataclass
class Forecast:
    """What a batch will need.

    Attributes
    ----------
    groups : list of FailureKind
        What can be calibrated.
    references : mapping
        (type, file) to the number of exposures that use it; None stands for ``N/A``.
    kept : int
        Exposures that were done before, and are intact.
    unknown : int
        Exposures whose references are to be fetched before more can be told.
    errors : mapping
        Exposures that will fail, and why.
    changed : mapping
        Exposures that will be done again though their sizes and times are the same, and why.
    """

    groups: list[ExposureGroup] = field(default_factory=list)
    references: Counter[tuple[str, Path | None]] = field(default_factory=Counter)
    kept: int = 0
    unknown: int = 0
    errors: dict[Location, str] = field(default_factory=dict)
    changed: dict[Location, str] = field(default_factory=dict)


def forecast(exposures: Iterable[PlannedExposure]) -> Forecast:
    """Run a pipeline lazily on one exposure of each kind that is to be calibrated."""
    found = Forecast()
    groups: dict[Hashable, list[PlannedExposure]] = {}
    for planned in exposures:
        if planned.rerun_reason:
            found.changed[planned.path] = planned.rerun_reason
        if planned.error is not None:
            found.errors[planned.path] = describe_failure(planned.error, planned.path)
        elif planned.earlier_products:
            found.kept += 1
        elif any(TO_BE_FETCHED in reason for reason in planned.references.missing.values()):
            found.unknown += 1
        else:
            alike = groups.setdefault(_kind(planned), [])
            planned.header = planned.header if not alike else {}  # of many, they are large
            alike.append(planned)
        for name, chosen in planned.references.chosen.items():
            found.references[name, chosen.path] += 1
    for members in groups.values():
        _add(found, members)
    return found


def _kind(planned: PlannedExposure) -> Hashable:
    facts = (
        *(planned.header.get(f"meta.{name}") for name in _KIND),
        planned.header.get(TYPE),
        _size(planned.header),
    )
    files = frozenset((n, c.path) for n, c in planned.references.chosen.items())
    return facts, files, planned.settings.digest


def _add(found: Forecast, members: list[PlannedExposure]) -> None:
    first = members[0]
    try:
        with collect_remarks([]):
            step = hooks.without_commands(first.settings.step)  # nothing is to be done
            job = Job(
                number=0,
                path=first.path,
                step=step,
                references=first.references,
                options=ExposureOptions(),
                batch="plan",
            )
            models = [model for model, _ in build_products(job)]
            budget = tile_budget(models)
    except Exception as error:  # as running it would: the fault is the exposures'
        found.errors |= {e.path: describe_failure(error, first.path) for e in members}
        return
    frames = {model.frame for model in models if model.shape is not None}
    rows = max((frame[0] for frame in frames), default=0)
    kind = ExposureGroup(_title(first), len(members), budget, budget.row.outputs * rows)
    found.groups.append(kind)


def _title(exposure: PlannedExposure) -> str:
    """Return a kind in words, such as NRCA1 FULL BRIGHT2, 1 x 10 x 2048 x 2048."""

    def fact(name: str) -> str:
        return str(exposure.header.get(f"meta.{name}", "?"))

    names = ("instrument.detector", "subarray.name", "exposure.readpatt")
    return f"{' '.join(map(fact, names))}, {_size(exposure.header)}"


def _size(header: Mapping[str, Any]) -> str:
    """Return the size of an exposure's array, as its header says it where nobody looked."""
    said = " x ".join(str(header.get(f"meta.{name}", "?")) for name in _SIZES)
    return str(header.get(SHAPE, said))
