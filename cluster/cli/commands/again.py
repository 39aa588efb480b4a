"""`calbatch recalibrate` and `calbatch watch`: changed references and new files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from calbatch.calibrate.step import Step
from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.arrivals import Arrivals, UnitSelection
from calbatch.cluster.batch.liveness import EXIT_STATUS
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.reconfiguring import reconfigure
from calbatch.cluster.batch.registering import begin_batch, input_patterns, load_dependencies
from calbatch.cluster.batch.result import Result
from calbatch.cluster.batch.session import drive
from calbatch.cluster.cli.commands._endings import conclude
from calbatch.cluster.display.fetch_progress import fetch_references
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console, print_text
from calbatch.cluster.folder import find_batch
from calbatch.cluster.ledger import HeldLedgerError, View
from calbatch.cluster.ledger.records import OPEN
from calbatch.cluster.ledger.sqlite_errors import decoding
from calbatch.cluster.planning.inputs import require_writable_place
from calbatch.cluster.planning.planned_exposure import PlannedExposure
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.planning.unit_collection import require_any_order
from calbatch.cluster.planning.unit_graph import UnitGraph
from calbatch.cluster.sites import placement
from calbatch.models.errors import format_count
from calbatch.models.storage.location import location

EVERY = 2.0
"""Seconds between scans of a folder."""


def recalibrate(batch: str | None, context: str, *, dry_run: bool) -> int:
    """Calibrate exposures of a batch again if their references differ in another context."""
    folder = find_batch(batch)
    folder.secure()
    console = Console(stderr=True, soft_wrap=True)
    with View(folder.state) as view:
        row = view.batch(folder.name)
        step = reconfigure(folder, row)
        with decoding(view.path):
            order = Order.from_json(row.request)
        rerun = replace(order.rerun, force=False, only_failed=False)
        order = replace(order, context=context, rerun=rerun)
        changes = list(_find_changes(view, row.id, step, order, console))
        has_members = view.has_members(row.id)
        graph = _load_graph(view, row.id) if has_members else None
    notes = {path: reason for _, path, reason in changes}
    for path, reason in notes.items():
        console.print(escape_text(f"{path}: {reason}"))
    exposures = format_count(row.total, "exposure")
    console.print(f"{len(changes)} of {exposures} with other references in {context}")
    if dry_run or not changes:
        return 0
    if not has_members:  # otherwise, what they wait for is an input, too
        order = replace(order, inputs=tuple(notes))
    if graph is not None:
        graph = graph.select(graph.find_dependents(number for number, _, _ in changes))
    registered = begin_batch(step, order, notes, graph=graph, hold=True)
    return conclude(drive(registered, console))


def _find_changes(
    view: View, batch: int, step: Step, order: Order, console: Console
) -> Iterator[tuple[int, str, str]]:
    """Yield number and path of the exposures whose references change, and what has changed."""
    rows = {row.number: row for row in view.exposures(batch, "done", "kept")}
    planner = Planner(
        step,
        open_references(step, order.context),
        use_pars=order.pars,
        fetch=partial(fetch_references, console=console),
        history=view,
        dependencies=load_dependencies(view, batch, "done", "kept"),
    )
    inputs = [(number, location(row.path)) for number, row in rows.items()]
    for block in planner.plan_blocks(inputs):
        for planned in block:
            row = rows[planned.number]
            change = _difference(view.references(row.id), planned)
            if change:
                yield row.number, row.path, change


def _load_graph(view: View, batch: int) -> UnitGraph | None:
    """Return the units of a batch; None if damage to the ledger has cost it some of them."""
    paths = {row.number: location(row.path) for row in view.exposures(batch)}
    if list(paths) != list(range(len(paths))):
        return None
    return UnitGraph(paths=list(paths.values()), units=list(view.units(batch)))


def _difference(before: Mapping[str, Sequence[str]], planned: PlannedExposure) -> str:
    """Return a description of changes in an exposure's references; empty if there are none."""
    if planned.error is not None:
        return f"cannot be planned: {planned.error}"
    if planned.references.fault:
        return f"references cannot be chosen: {planned.references.fault}"
    old = {kind: Path(path).name for kind, (path, _) in before.items()}
    new = {kind: Path(path).name for kind, path in planned.files().items()}
    new |= dict.fromkeys(planned.references.missing, "none")
    kinds = sorted(kind for kind in old.keys() | new.keys() if old.get(kind) != new.get(kind))
    parts = (f"{kind} {old.get(kind, 'none')} -> {new.get(kind, 'none')}" for kind in kinds)
    return ", ".join(parts)


def watch(
    pipeline: str,
    folder: str,
    *,
    settle: float,
    idle: float | None,
    **options: Any,
) -> int:
    """Calibrate the exposures of a folder as they arrive, until interrupted or idle."""
    place, console = _require_folder(folder), Console(stderr=True)
    step, order = build_order(BatchArguments(pipeline, [folder], **options))
    _require_watchable(step, order)
    say = partial(_print_line, console)
    arrivals = Arrivals(place, input_patterns(step), settle, recursive=order.recursive)
    output = require_writable_place(step.output_dir or ".")
    selection = UnitSelection(step, output, arrivals, say)
    status, last, is_behind, reported = EXIT_STATUS["done"], time.monotonic(), False, ""
    where = replace(placement.choose_place(order.site, 1000, 2**40), keeps_references=True)
    with placement.SharedSite(where) as site:  # exposures have no end
        while idle is None or time.monotonic() - last < idle:
            started, units = time.monotonic(), selection.select()
            is_behind = units is not None
            if units is None:
                last = max(last, arrivals.arriving)  # a file that still grows is not idleness
                time.sleep(min(EVERY, settle))
                continue
            request = replace(order, inputs=units.inputs)
            try:
                batch = begin_batch(step, request, graph=units.graph, hold=True)
                result = drive(batch, console, open_site=site.open)
            except HeldLedgerError as error:  # another batch is running, such as a `resume`
                if str(error) != reported:
                    reported = str(error)
                    say(f"waiting: {error}")
                time.sleep(EVERY)
            else:
                ended, reported = time.monotonic(), ""
                unfinished = _list_unfinished(result)
                selection.finish(units, unfinished)
                is_behind = bool(unfinished)
                if is_behind:
                    time.sleep(EVERY)
                else:
                    status = max(status, result.exit_status)  # failed is worse than done
                if unfinished >= units.due:  # attempts without progress do not count as idle
                    last += ended - started
                    continue
            last = time.monotonic()
    return max(status, _status_of(selection, is_behind=is_behind))


def _require_folder(folder: str) -> Path:
    place = Path(folder).expanduser().absolute()
    if not place.is_dir():
        raise RequestError(f"there is no folder {folder}")
    return place


def _status_of(selection: UnitSelection, *, is_behind: bool) -> int:
    """Return the exit status for files that have not been calibrated when watching ends."""
    if is_behind or selection.waiting:
        return EXIT_STATUS["interrupted"]
    return EXIT_STATUS["failed" if selection.refused else "done"]


def _print_line(console: Console, text: str) -> None:
    print_text(console, escape_text(text))


def _require_watchable(step: Step, order: Order) -> None:
    """Refuse an order, or a step, that cannot calibrate exposures as they arrive."""
    if order.rerun.only_failed:
        raise RequestError(
            "--only-failed: exposures that arrive have not failed yet: use `calbatch run` with it"
        )
    if step.output_file:
        raise RequestError(
            f"output_file = {step.output_file}: every exposure needs a name of its own; suffix "
            "changes how products' names end"
        )
    require_any_order(step)


def _list_unfinished(result: Result) -> Set[int]:
    """Return the units that an interrupted batch has not finished; none if it was cancelled."""
    if result.state != "interrupted":
        return set()
    with View(result.folder.state) as view:
        return {row.number for row in view.exposures(result.batch.id, *OPEN)}
