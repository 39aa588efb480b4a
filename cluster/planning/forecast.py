"""Forecasts of the memory, disk space and references that a batch will need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from calbatch.calibrate import hooks
from calbatch.calibrate.products import without_files
from calbatch.cluster.display.fetch_progress import TO_BE_FETCHED
from calbatch.cluster.exposure.job import ExposureOptions, Job, build_products
from calbatch.cluster.exposure.outcome import collect_warnings, describe_failure
from calbatch.cluster.planning.planned_exposure import MISREAD, SHAPE, TYPE, PlannedExposure
from calbatch.models.budget import TileBudget, tile_budget
from calbatch.models.errors import escape_text
from calbatch.models.storage.location import Location

_KIND = (
    "instrument.name",
    "instrument.detector",
    "exposure.type",
    "exposure.readpatt",
    "subarray.name",
)
_SIZES = ("exposure.nints", "exposure.ngroups", "subarray.ysize", "subarray.xsize")
"""Metadata that, with the references, decide the memory for a tile of an exposure."""

_SUBARRAY = "meta.subarray."
_READOUT = (
    *("nframes", "groupgap", "frame_divisor", "nsamples", "noutputs", "zero_frame"),
    *("drop_frames1", "gain_factor", "nrs_normal", "nrs_reference", "group_time", "frame_time"),
)
"""Numbers below ``meta.exposure`` that steps may refuse, and that are the same within a mode."""

_OWN = ("integration_time", "start_time")
"""Numbers below ``meta.exposure`` that steps may need, and that differ within a mode."""


@dataclass(frozen=True)
class ExposureGroup:
    """Exposures of the same mode and size that need the same memory and disk space.

    Attributes
    ----------
    title : str
        Description of mode and size.
    members : int
        Number of exposures.
    budget : TileBudget
        Memory for a tile.
    output_bytes : int
        Size of one exposure's products in bytes, without headers.
    example : Path or Url, optional
        One of the exposures; None if it has members.
    """

    title: str
    members: int
    budget: TileBudget
    output_bytes: int
    example: Location | None = None


@dataclass
class Forecast:
    """The needs of a batch.

    Attributes
    ----------
    groups : list of ExposureGroup
        The exposures that can be calibrated.
    references : mapping
        Number of exposures that use a reference, by (type, file); the file is None for ``N/A``.
    kept : int
        Number of exposures whose products exist and are intact.
    unknown : int
        Number of exposures whose references must be fetched first.
    errors : mapping
        Exposures that will fail, with the reasons.
    changed : mapping
        Exposures that will be repeated although their sizes and times are unchanged, with the
        reasons.
    """

    groups: list[ExposureGroup] = field(default_factory=list)
    references: Counter[tuple[str, Path | None]] = field(default_factory=Counter)
    kept: int = 0
    unknown: int = 0
    errors: dict[Location, str] = field(default_factory=dict)
    changed: dict[Location, str] = field(default_factory=dict)

    @property
    def output_bytes(self) -> int:
        """Size of all products in bytes, without headers."""
        return sum(group.output_bytes * group.members for group in self.groups)


def forecast(exposures: Iterable[PlannedExposure]) -> Forecast:
    """Forecast the needs of exposures by running the pipeline lazily on one of each group."""
    result = Forecast()
    groups: dict[Hashable, list[PlannedExposure]] = {}
    for planned in exposures:
        if planned.rerun_reason:
            result.changed[planned.path] = planned.rerun_reason
        if planned.error is not None:
            result.errors[planned.path] = describe_failure(planned.error, planned.path)
        elif planned.earlier_products:
            result.kept += 1
        elif any(TO_BE_FETCHED in reason for reason in planned.references.missing.values()):
            result.unknown += 1
        else:
            group = groups.setdefault(_kind(planned), [])
            planned.header = planned.header if not group else {}  # headers take much memory
            group.append(planned)
        for name, reference in planned.references.chosen.items():
            result.references[name, reference.path] += 1
    for members in groups.values():
        _add(result, members)
    result.groups = list(_merge(result.groups))
    return result


def _merge(groups: Iterable[ExposureGroup]) -> Iterator[ExposureGroup]:
    """Yield the groups, with those that need the same as one: odd cards set some apart."""
    needs: dict[Hashable, list[ExposureGroup]] = {}
    for group in groups:
        needs.setdefault((group.title, group.budget, group.output_bytes), []).append(group)
    for alike in needs.values():
        yield replace(alike[0], members=sum(group.members for group in alike))


def _kind(planned: PlannedExposure) -> Hashable:
    facts = (
        *(planned.header.get(f"meta.{name}") for name in _KIND),
        planned.header.get(TYPE),
        planned.header.get(MISREAD),
        _size(planned.header),
        _readout(planned.header),
    )
    files = frozenset((n, c.path) for n, c in planned.references.chosen.items())
    return facts, files, planned.settings.digest


def _readout(header: Mapping[str, Any]) -> Hashable:
    """Return the numbers of a header for which steps may refuse an exposure.

    Exposures of one mode differ in them only if some are damaged.
    """
    placed = frozenset(item for item in header.items() if item[0].startswith(_SUBARRAY))
    numbers = tuple(header.get(f"meta.exposure.{name}") for name in _READOUT)
    return placed, numbers, tuple(f"meta.exposure.{name}" in header for name in _OWN)


def _add(result: Forecast, members: list[PlannedExposure]) -> None:
    first = members[0]
    try:
        with collect_warnings([]):
            # A forecast has no side effects.
            step = without_files(hooks.without_commands(first.settings.step))
            job = Job(
                number=0,
                path=first.path,
                step=step,
                references=first.references,
                options=ExposureOptions(),
                batch="plan",
                inputs=first.inputs,
                product=first.product,
            )
            models = [model for model, _ in build_products(job)]
            budget = tile_budget(models)
    except Exception as error:  # calibrating these exposures would fail the same way
        reason = describe_failure(error, first.path).removeprefix(escape_text(str(first.path)))
        result.errors |= {e.path: f"{escape_text(str(e.path))}{reason}" for e in members}
        return
    frames = {model.frame for model in models if model.shape is not None}
    rows = max((frame[0] for frame in frames), default=0)
    result.groups.append(
        ExposureGroup(
            title=describe_kind(first.header),
            members=len(members),
            budget=budget,
            output_bytes=budget.row.outputs * rows,
            example=None if first.inputs else first.path,
        )
    )


def describe_kind(header: Mapping[str, Any]) -> str:
    """Return the description of a group, such as NRCA1 FULL BRIGHT2, 1 x 10 x 2048 x 2048."""
    names = ("instrument.detector", "subarray.name", "exposure.readpatt")
    facts = (str(header.get(f"meta.{name}", "?")) for name in names)
    return f"{' '.join(facts)}, {_size(header)}"


def _size(header: Mapping[str, Any]) -> str:
    """Return the size of an exposure's array: measured if known, else from the header."""
    expected = " x ".join(str(header.get(f"meta.{name}", "?")) for name in _SIZES)
    return str(header.get(SHAPE, expected))
