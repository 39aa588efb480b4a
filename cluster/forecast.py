"""What a batch will need, before any pixel is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from calbatch.calibrate.references import Chosen
from calbatch.cluster.driver import Batch, Exposure
from calbatch.cluster.job import pipelined
from calbatch.cluster.outcome import reason, remarks
from calbatch.models.budget import TileBudget, tile_budget

_KIND = (
    "instrument.name",
    "instrument.detector",
    "exposure.type",
    "exposure.readpatt",
    "exposure.nints",
    "exposure.ngroups",
    "subarray.name",
    "subarray.xsize",
    "subarray.ysize",
)
"""Metadata that, with the references, decide what a tile of an exposure costs."""


@dataclass(frozen=True)
class Kind:
    """Exposures that are alike.

    Attributes
    ----------
    title : str
        What they are.
    members : list of Exposure
        Them.
    budget : TileBudget
        What a tile costs.
    output_bytes : int
        Bytes of one exposure's products, without headers.
    """

    title: str
    members: list[Exposure]
    budget: TileBudget
    output_bytes: int


@dataclass
class Forecast:
    """What a batch will need.

    Attributes
    ----------
    kinds : list of Kind
        What can be calibrated.
    references : mapping
        (type, file) to the number of exposures that use it; None stands for ``N/A``.
    faults : mapping
        Exposures that will fail, and why.
    """

    kinds: list[Kind] = field(default_factory=list)
    references: Counter[tuple[str, Path | None]] = field(default_factory=Counter)
    faults: dict[Path, str] = field(default_factory=dict)


def forecast(batch: Batch) -> Forecast:
    """Run a batch's pipeline lazily on one exposure of each kind."""
    found = Forecast()
    for exposure in batch.found:
        if exposure.fault is not None:
            found.faults[exposure.path] = reason(exposure.fault, exposure.path)
        for name, chosen in _chosen(batch, exposure).items():
            found.references[name, chosen.path] += 1
    for members in _alike(batch):
        _add(found, batch, members)
    return found


def _chosen(batch: Batch, exposure: Exposure) -> Mapping[str, Chosen]:
    references = batch.references.get(exposure.number)
    return references.chosen if references is not None else {}


def _alike(batch: Batch) -> Iterator[list[Exposure]]:
    groups: dict[Hashable, list[Exposure]] = {}
    for exposure in batch.found:
        if exposure.fault is None:
            facts = tuple(exposure.header.get(f"meta.{name}") for name in _KIND)
            files = frozenset((n, c.path) for n, c in _chosen(batch, exposure).items())
            groups.setdefault((facts, files), []).append(exposure)
    yield from groups.values()


def _add(found: Forecast, batch: Batch, members: list[Exposure]) -> None:
    first = members[0]
    try:
        with remarks([]):
            models = [model for model, _ in pipelined(batch.job(first))]
            budget = tile_budget(models)
    except Exception as error:  # as running it would: the fault is the exposures'
        found.faults |= {e.path: reason(error, first.path) for e in members}
        return
    frames = {model.frame for model in models if model.shape is not None}
    rows = max((frame[0] for frame in frames), default=0)
    kind = Kind(_title(first), members, budget, budget.row.outputs * rows)
    found.kinds.append(kind)


def _title(exposure: Exposure) -> str:
    """Return a kind in words, such as NRCA1 FULL BRIGHT2, 1 x 10 x 2048 x 2048."""

    def fact(name: str) -> str:
        return str(exposure.header.get(f"meta.{name}", "?"))

    names = ("instrument.detector", "subarray.name", "exposure.readpatt")
    sizes = ("exposure.nints", "exposure.ngroups", "subarray.ysize", "subarray.xsize")
    return f"{' '.join(map(fact, names))}, {' x '.join(map(fact, sizes))}"
