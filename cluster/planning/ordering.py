"""Exposures that are calibrated one after another, each with the state of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.outcome import collect_warnings
from calbatch.cluster.planning.unit_graph import DraftUnit
from calbatch.models import datamodels
from calbatch.models.errors import ModelError, format_count
from calbatch.models.storage.location import Location

READERS = 4
"""Number of files that are examined at the same time."""

MOST_NAMED = 5
"""Maximum number of unreadable exposures that an error names."""


def find_ordering_step(steps: Iterable[Step]) -> Step | None:
    """Return the first step for which the order of exposures matters, or None.

    Steps within the given ones count, too; skipped steps do not.
    """
    for step in steps:
        for part in (step, *step.steps().values()):
            if part.orders_by and not part.skip and not step.skip:
                return part
    return None


def require_state_names(steps: Iterable[Step], ordering: Step) -> None:
    """Refuse a suffix that renames what is handed on, since the next exposure would not find it.

    Parameters
    ----------
    steps : iterable of Step
        The steps of a unit; those in them are included.
    ordering : Step
        The one that hands on products.

    Raises
    ------
    RequestError
        If there is such a suffix.
    """
    for step in steps:
        for part in (step, *step.steps().values()):
            handed = [s for s in part.suffixes or [part.name] if s in ordering.hands_on]
            if part.suffix and handed and handed != [part.suffix]:
                label = f"{part.name}." if part.parent is not None else ""
                raise RequestError(
                    f"{label}suffix = {part.suffix!r}: {ordering.name} hands on the product "
                    f"{handed[0]!r} to the next exposure by this name: leave {label}suffix out"
                )


def group_exposures(drafts: Sequence[DraftUnit], ordering: Step) -> list[list[DraftUnit]]:
    """Return groups of exposures that are calibrated in order.

    Parameters
    ----------
    drafts : sequence of DraftUnit
        The exposures.
    ordering : Step
        The step for which the order matters.

    Raises
    ------
    RequestError
        If one of several exposures cannot be read: it may belong between any two of the others,
        of which the later would receive a wrong state.
    """
    with ThreadPoolExecutor(READERS, "calbatch-ordering") as pool, collect_warnings([]):
        keys = list(pool.map(lambda draft: _read_keys(draft.path, ordering), drafts))
    errors = [key for key in keys if isinstance(key, str)]
    if errors and len(drafts) > 1:  # calibrating a single one reports why
        raise RequestError(_describe_unreadable(ordering, errors))
    groups: dict[Any, list[tuple[Any, int]]] = {}
    for number, key in enumerate(keys):
        if not isinstance(key, str):
            groups.setdefault(key[0], []).append((key[1], number))
    return [[drafts[number] for _, number in sorted(group)] for group in groups.values()]


def _describe_unreadable(ordering: Step, errors: Sequence[str]) -> str:
    named = "; ".join(errors[:MOST_NAMED])
    more = len(errors) - MOST_NAMED
    further = f"; and {format_count(more, 'more exposure')}" if more > 0 else ""
    return (
        f"{ordering.name} takes exposures in order, but {format_count(len(errors), 'exposure')} "
        f"cannot be read, so that the order is unknown: {named}{further}: repair these files, or "
        "leave them out"
    )


def _read_keys(path: Location, ordering: Step) -> tuple[Any, Any] | str:
    """Return the keys that group and order an exposure, or why it cannot be read."""
    try:
        with datamodels.open(path) as model:
            values = model.to_flat_dict()
    except (ModelError, OSError) as error:
        return str(error)
    except Exception as error:  # of a library, which may not name the file
        return f"{path}: {type(error).__name__}: {error}"
    return _key(values, ordering.groups_by), _key(values, ordering.orders_by)


def _key(values: dict[str, Any], names: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """Return a sort key, in which missing values come first."""
    found = [values.get(name) for name in names]
    return tuple(("", 0) if v is None else (type(v).__name__, v) for v in found)
