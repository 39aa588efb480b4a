"""Exposures that are calibrated one after another, each with the state of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from calbatch.calibrate.step import Step
from calbatch.cluster.exposure.outcome import collect_warnings
from calbatch.cluster.planning.unit_graph import DraftUnit
from calbatch.models import datamodels
from calbatch.models.storage.location import Location

READERS = 4
"""Number of files that are examined at the same time."""


def find_ordering_step(steps: Iterable[Step]) -> Step | None:
    """Return the first step for which the order of exposures matters, or None.

    Steps within the given ones count, too; skipped steps do not.
    """
    for step in steps:
        for part in (step, *step.steps().values()):
            if part.orders_by and not part.skip and not step.skip:
                return part
    return None


def group_exposures(drafts: Sequence[DraftUnit], ordering: Step) -> list[list[DraftUnit]]:
    """Return groups of exposures that are calibrated in order.

    Exposures that cannot be read are left out: calibrating them reports why.

    Parameters
    ----------
    drafts : sequence of DraftUnit
        The exposures.
    ordering : Step
        The step for which the order matters.
    """
    with ThreadPoolExecutor(READERS, "calbatch-ordering") as pool, collect_warnings([]):
        keys = list(pool.map(lambda draft: _read_keys(draft.path, ordering), drafts))
    groups: dict[Any, list[tuple[Any, int]]] = {}
    for number, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key[0], []).append((key[1], number))
    return [[drafts[number] for _, number in sorted(group)] for group in groups.values()]


def _read_keys(path: Location, ordering: Step) -> tuple[Any, Any] | None:
    """Return the keys that group and order an exposure; None if it cannot be read."""
    try:
        with datamodels.open(path) as model:
            values = model.to_flat_dict()
    except Exception:  # calibrating it reports why
        return None
    return _key(values, ordering.groups_by), _key(values, ordering.orders_by)


def _key(values: dict[str, Any], names: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """Return a sort key, in which missing values come first."""
    found = [values.get(name) for name in names]
    return tuple(("", 0) if v is None else (type(v).__name__, v) for v in found)
