"""Exposures that are calibrated one after another, each with the state of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from calbatch.calibrate import hooks
from calbatch.calibrate.step import Step
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.outcome import collect_warnings
from calbatch.cluster.planning.unit_graph import DraftUnit
from calbatch.models import datamodels
from calbatch.models.errors import ModelError, format_count
from calbatch.models.storage.location import Location
from calbatch.models.threads import ThreadPool

READERS = 4
"""Number of files that are examined at the same time."""

MOST_NAMED = 5
"""Maximum number of unreadable exposures that an error names."""


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """The order in which steps take exposures.

    Attributes
    ----------
    name : str
        The names of the steps.
    groups_by, orders_by, hands_on : sequence of str
        See `calbatch.calibrate.products.UnitAccess`. ``hands_on`` lists the products of all steps.
    """

    name: str
    groups_by: Sequence[str]
    orders_by: Sequence[str]
    hands_on: Sequence[str]


def find_ordering(steps: Iterable[Step]) -> Ordering | None:
    """Return the order in which steps take exposures, or None if it does not matter.

    Steps within the given ones count, too; skipped steps do not.

    Raises
    ------
    RequestError
        If two steps need different orders, or a hook needs one.
    """
    found = [part for step in steps for part in _list_ordering_steps(step)]
    if not found:
        return None
    first = found[0]
    for other in found[1:]:
        for name in ("groups_by", "orders_by"):
            wanted, differing = tuple(getattr(first, name)), tuple(getattr(other, name))
            if wanted != differing:
                raise RequestError(
                    f"{first.name} and {other.name} take exposures in different orders: {name} is "
                    f"{', '.join(wanted)} and {', '.join(differing)}: run them as two batches"
                )
    return Ordering(
        name=" and ".join(part.name for part in found),
        groups_by=first.groups_by,
        orders_by=first.orders_by,
        hands_on=tuple(dict.fromkeys(suffix for part in found for suffix in part.hands_on)),
    )


def _list_ordering_steps(step: Step) -> Iterator[Step]:
    """Yield a step and the steps in it that need an order and are not skipped."""
    if step.skip:
        return
    if step.orders_by:
        yield step
    for hook in hooks.steps_of([*step.pre_hooks, *step.post_hooks]):
        if next(_list_ordering_steps(hook), None) is not None:
            raise RequestError(
                f"{step.name}: the hook {hook.name} takes exposures in order, which only the steps "
                "of a pipeline can do: add it to the step_defs of your own pipeline"
            )
    for part in step.steps().values():
        yield from _list_ordering_steps(part)


def require_state_names(steps: Iterable[Step], ordering: Ordering) -> None:
    """Refuse a suffix that renames the state product, which the next exposure would not find.

    Parameters
    ----------
    steps : iterable of Step
        The steps of a unit; those in them are included.
    ordering : Ordering
        The order in which they take exposures, with the products that they hand on.

    Raises
    ------
    RequestError
        If there is such a suffix.
    """
    for step in steps:
        for part in (step, *step.steps().values()):
            handed = [s for s in part.suffixes or [part.name] if s in ordering.hands_on]
            if part.suffix and handed and handed != [part.suffix]:
                label = parameter_prefix(part)
                raise RequestError(
                    f"{label}suffix = {part.suffix!r}: {ordering.name} hands on the product "
                    f"{handed[0]!r} to the next exposure by this name: leave {label}suffix out"
                )


def parameter_prefix(part: Step) -> str:
    """Return the prefix of the parameters of a step in a pipeline; "" for one by itself."""
    return f"{part.name}." if part.parent is not None else ""


def group_exposures(drafts: Sequence[DraftUnit], ordering: Ordering) -> list[list[DraftUnit]]:
    """Return groups of exposures that are calibrated in order.

    Parameters
    ----------
    drafts : sequence of DraftUnit
        The exposures.
    ordering : Ordering
        Their order.

    Raises
    ------
    RequestError
        If the place of one of several exposures is unknown, because it cannot be read, or its
        header lacks a value: it may belong between any two of the others, of which the later would
        receive a wrong state.
    """
    with ThreadPool(READERS, "calbatch-ordering") as pool, collect_warnings([]):
        keys = pool.map_in_chunks(lambda d: _read_keys(d.find_main_file(), ordering), drafts)
    groups: dict[Any, list[tuple[Any, int]]] = {}
    for number, key in enumerate(keys):
        if not isinstance(key, str):
            groups.setdefault(key.group, []).append((key.place, number))
    shared = {number for group in groups.values() if len(group) > 1 for _, number in group}
    errors = [
        key if isinstance(key, str) else key.fault or key.missing
        for number, key in enumerate(keys)
        if isinstance(key, str) or key.fault or (key.missing and number in shared)
    ]
    if errors and len(drafts) > 1:  # calibrating a single one reports why
        raise RequestError(_describe_unreadable(ordering, errors))
    return [[drafts[number] for _, number in sorted(group)] for group in groups.values()]


def _describe_unreadable(ordering: Ordering, errors: Sequence[str]) -> str:
    named = "; ".join(errors[:MOST_NAMED])
    more = len(errors) - MOST_NAMED
    further = f"; and {format_count(more, 'more exposure')}" if more > 0 else ""
    return (
        f"{ordering.name} takes exposures in order, but {format_count(len(errors), 'exposure')} "
        f"cannot be placed, so that the order is unknown: {named}{further}: repair these files, or "
        "leave them out"
    )


class _Keys(NamedTuple):
    """Keys that group and order an exposure, and reasons why they are unknown.

    ``fault`` names a card of a wrong type, and ``missing`` the first ordering keyword if the file
    lacks it; they are "" otherwise.
    """

    group: Any
    place: Any
    fault: str
    missing: str


def _read_keys(path: Location, ordering: Ordering) -> _Keys | str:
    """Return the keys that group and order an exposure, or why it cannot be read."""
    names, first = (*ordering.groups_by, *ordering.orders_by), ordering.orders_by[0]
    try:
        with datamodels.open(path) as model:
            values = model.to_flat_dict()
            faults = [fault for name in names if (fault := model.misread_reason(name))]
            spec = model.schema.keywords.get(first)
    except (ModelError, OSError) as error:
        return str(error)
    except Exception as error:  # of a library, which may not name the file
        return f"{path}: {type(error).__name__}: {error}"
    return _Keys(
        group=_key(values, ordering.groups_by),
        place=_key(values, ordering.orders_by),
        fault=f"{path}: {faults[0]}" if faults else "",
        missing="" if first in values else f"{path}: it lacks {spec.keyword if spec else first}",
    )


def _key(values: dict[str, Any], names: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """Return a sort key, in which missing values come first, and 60001 before 60001.5."""
    found = [values.get(name) for name in names]
    kinds = ["number" if isinstance(v, (int, float)) else type(v).__name__ for v in found]
    return tuple(("", 0) if v is None else (k, v) for k, v in zip(kinds, found, strict=True))
