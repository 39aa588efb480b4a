"""Collecting the units of a batch from its exposures, its associations and its pipelines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise

from calbatch.calibrate import hooks
from calbatch.calibrate.chain import SEPARATOR, Chain, select_part
from calbatch.calibrate.step import Step
from calbatch.calibrate.suffixes import product_name
from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.associations import Association, is_association, read_association
from calbatch.cluster.planning.ordering import find_ordering, parameter_prefix
from calbatch.cluster.planning.unit_drafts import Stage, UnitDrafts
from calbatch.cluster.planning.unit_graph import UnitGraph, number_units
from calbatch.models.errors import ModelError
from calbatch.models.storage.location import Location


def collect_units(step: Step, paths: Sequence[Location], output: Location) -> UnitGraph:
    """Return the units of a batch, numbered.

    Parameters
    ----------
    step : Step
        The configured step, pipeline or chain.
    paths : sequence of Path or Url
        Exposures and associations.
    output : Path or Url
        The folder of products.

    Raises
    ------
    RequestError
        If an association is invalid, no pipeline takes its members, a member is missing, two units
        would make the same product or share a file, or the dependencies are circular.
    """
    graph = _collect(step, paths, output)
    counts = Counter(unit.pipeline for unit in graph.units)
    counts[""] += len(graph.paths) - len(graph.units)
    for pipeline, count in counts.items():
        if count > 1:
            _require_distinct_files(select_part(step, pipeline), f"{count} exposures")
    return graph


def _collect(step: Step, paths: Sequence[Location], output: Location) -> UnitGraph:
    parts = _parts_of(step)
    exposures = [path for path in paths if not _is_read_as_association(step, path)]
    associations = [_read(path) for path in paths if _is_read_as_association(step, path)]
    named = len(exposures) + sum(len(each.products) for each in associations)
    if step.output_file and named > 1:
        raise RequestError(f"output_file = {step.output_file}: {named} products need names")
    placed = [(each, _find_position(each, parts)) for each in associations]
    positions = {position for _, position in placed}
    combining = {n for n, part in enumerate(parts.values()) if part.combines}
    stages = _cut(step, positions | combining | _find_ordered(parts, positions | combining))
    first = stages[0]
    ordering = find_ordering(first.parts)
    if not associations and len(stages) == 1 and ordering is None and not first.first.combines:
        return UnitGraph(paths=paths)
    if ordering is not None and len(exposures) > 1:  # before all of them are read
        for part in first.parts:
            _require_distinct_files(part, f"{len(exposures)} exposures", parameter_prefix(part))
    return _draft(UnitDrafts(output), stages, exposures, placed)


def collect_arrived_units(
    step: Step,
    exposures: Sequence[Location],
    associations: Sequence[Association],
    drafts: UnitDrafts,
) -> UnitGraph:
    """Return the units of the exposures and associations that have arrived so far, numbered.

    The chain is cut at each pipeline that takes associations, since these may still arrive: an
    exposure is the same unit before and after. Units that cannot be made are left out, and so are
    associations that lack members; exposures that these name as members wait for them, too.

    Parameters
    ----------
    step : Step
        The configured step, pipeline or chain.
    exposures : sequence of Path or Url
        The exposures.
    associations : sequence of Association
        The associations.
    drafts : UnitDrafts
        Without units; its ``unusable`` is called for each association or exposure left out.

    Raises
    ------
    RequestError
        If parameters of the whole chain are set although it is cut.
    """
    parts = _parts_of(step)
    placed = []
    for association in associations:
        try:
            placed.append((association, _find_position(association, parts)))
        except RequestError as error:
            drafts.refuse(association.path, error)
    stages = _cut(step, {n for n, part in enumerate(parts.values()) if part.roles})
    if len(stages) == 1 and not accepts_associations(step):
        return UnitGraph(paths=exposures)
    return _draft(drafts, stages, exposures, placed)


def _find_ordered(parts: Mapping[str, Step], starts: Set[int]) -> set[int]:
    """Return the positions of pipelines that need an order and follow one with associations.

    They are cut off, since a unit of an association has no place in an order, while a unit that
    takes its product has the place of the exposure from which that is made.
    """
    found, is_cut = set(), False
    for number, part in enumerate(parts.values()):
        if number in starts:
            is_cut = True
        elif is_cut and find_ordering([part]) is not None:
            found.add(number)
            is_cut = False
    return found


def _parts_of(step: Step) -> Mapping[str, Step]:
    return step.parts if isinstance(step, Chain) else {"": step}


def _cut(step: Step, starts: Set[int]) -> list[Stage]:
    """Return the stages of a chain, of which each but the first begins at a given pipeline."""
    parts, cuts = _parts_of(step), sorted({0, *starts})
    if len(cuts) > 1:
        _refuse_chain_parameters(step)
    return [
        Stage(
            parts=list(parts.values())[start:end],
            pipeline="" if len(cuts) == 1 else SEPARATOR.join(list(parts)[start:end]),
            output_file=step.output_file or "",
            start=start,
        )
        for start, end in pairwise([*cuts, len(parts)])
    ]


def _draft(
    drafts: UnitDrafts,
    stages: Sequence[Stage],
    exposures: Sequence[Location],
    placed: Sequence[tuple[Association, int]],
) -> UnitGraph:
    """Return the units of all stages; each association comes with the position that takes it."""
    for stage in stages:
        taken = [association for association, position in placed if position == stage.start]
        if stage.start == 0:
            drafts.add_first(stage, exposures, taken)
        else:
            drafts.add_next(stage, taken)
    return number_units(drafts.list_units())


def _refuse_chain_parameters(chain: Step) -> None:
    """Refuse parameters of the whole chain where it is cut, so that no task runs all of it."""
    for name in ("pre_hooks", "post_hooks", "output_file", "skip"):
        if getattr(chain, name):
            raise RequestError(
                f"{name} cannot be set for the chain {chain.name}, whose pipelines run separately "
                "because associations come between them: set it for one of the pipelines"
            )


def require_any_order(step: Step) -> None:
    """Refuse a step that cannot calibrate exposures as they arrive.

    Raises
    ------
    RequestError
        If it takes exposures in order, names one file for all of them, or has parameters of a
        whole chain that associations may cut.
    """
    _require_distinct_files(step, "all exposures")
    parts = _parts_of(step)
    ordering = find_ordering(parts.values())
    if ordering is not None:
        raise RequestError(
            f"{ordering.name} takes exposures in order: use `calbatch run` when all of them have "
            "arrived"
        )
    _cut(step, {n for n, part in enumerate(parts.values()) if part.roles})


def _require_distinct_files(step: Step, exposures: str, label: str = "") -> None:
    """Refuse parameters that name one file for several exposures, of a step and all in it."""
    if step.skip:
        return
    for name, advice in step.shared_files().items():
        value = getattr(step, name)
        raise RequestError(f"{label}{name} = {value!r}: {exposures} would share it: {advice}")
    for alias, part in step.steps().items():
        _require_distinct_files(part, exposures, f"{label}{alias}.")
    for hook in hooks.steps_of([*step.pre_hooks, *step.post_hooks]):
        _require_distinct_files(hook, exposures, f"{label}hook {hook.name}.")


def accepts_associations(step: Step) -> bool:
    """Return whether a step, or a pipeline of a chain, takes associations."""
    return any(part.roles for part in _parts_of(step).values())


def _is_read_as_association(step: Step, path: Location) -> bool:
    return is_association(path) and accepts_associations(step)


def _read(path: Location) -> Association:
    try:
        return read_association(path)
    except (ModelError, OSError) as error:
        raise RequestError(str(error)) from error


def _find_position(association: Association, parts: Mapping[str, Step]) -> int:
    """Return the position of the pipeline that takes the members of an association."""
    name = association.products[0].science[0]
    for number, part in enumerate(parts.values()):
        if part.roles and _takes(part, name):
            return number
    wanted = {suffix for part in parts.values() if part.roles for suffix in part.takes}
    raise RequestError(
        f"{association.path}: no pipeline takes {name} as a member; they take "
        f"{', '.join(sorted(wanted))} products"
    )


def _takes(part: Step, name: str) -> bool:
    return not part.takes or any(product_name(name, suffix) == name for suffix in part.takes)
