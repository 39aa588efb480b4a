"""`calbatch recalibrate` and `calbatch watch`: changed references and new files."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from calbatch.calibrate.step import Step
from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.liveness import EXIT_STATUS
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.reconfiguring import reconfigure
from calbatch.cluster.batch.registering import begin_batch, load_dependencies
from calbatch.cluster.batch.result import Result
from calbatch.cluster.batch.session import drive
from calbatch.cluster.cli.commands._endings import conclude
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.folder import find_batch
from calbatch.cluster.ledger import HeldLedgerError, View
from calbatch.cluster.ledger.records import OPEN
from calbatch.cluster.ledger.sqlite_errors import decoding
from calbatch.cluster.planning.associations import PATTERN
from calbatch.cluster.planning.inputs import files_in, natural_key
from calbatch.cluster.planning.planned_exposure import PlannedExposure
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.planning.step_configuration import input_pattern
from calbatch.cluster.planning.unit_collection import (
    accepts_associations,
    require_single_exposures,
)
from calbatch.cluster.sites import placement
from calbatch.models import datamodels
from calbatch.models.errors import ModelError, format_count
from calbatch.models.storage.location import Location, location

EVERY = 2.0
"""Seconds between scans of a folder."""


def recalibrate(batch: str | None, context: str, *, dry_run: bool) -> int:
    """Calibrate exposures of a batch again if their references differ in another context."""
    folder = find_batch(batch)
    folder.secure()
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    with View(folder.state) as view:
        row = view.batch(folder.name)
        step = reconfigure(folder, row)
        with decoding(view.path):
            order = replace(Order.from_json(row.request), context=context)
        changed = dict(_find_changes(view, row.id, step, order))
        has_members = view.has_members(row.id)
    for path, reason in changed.items():
        console.print(escape_text(f"{path}: {reason}"))
    exposures = format_count(row.total, "exposure")
    console.print(f"{len(changed)} of {exposures} with other references in {context}")
    if dry_run or not changed:
        return 0
    if not has_members:  # otherwise, all inputs are named again, and unchanged units are kept
        order = replace(order, inputs=tuple(map(str, changed)))
    notes = {str(path): reason for path, reason in changed.items()}
    registered = begin_batch(step, order, notes, hold=True)
    return conclude(drive(registered, console))


def _find_changes(
    view: View, batch: int, step: Step, order: Order
) -> Iterator[tuple[Location, str]]:
    """Yield the exposures whose references change, each with a description of the change."""
    rows = {row.number: row for row in view.exposures(batch, "done", "kept")}
    planner = Planner(
        step,
        open_references(step, order.context),
        use_pars=order.pars,
        history=view,
        dependencies=load_dependencies(view, batch, "done", "kept"),
    )
    inputs = [(number, location(row.path)) for number, row in rows.items()]
    for block in planner.plan_blocks(inputs):
        for planned in block:
            change = _difference(view.references(rows[planned.number].id), planned)
            if change:
                yield planned.path, change


def _difference(before: Mapping[str, Sequence[str]], planned: PlannedExposure) -> str:
    """Return a description of changes in an exposure's references; empty if there are none."""
    if planned.error is not None:
        return f"cannot be planned: {planned.error}"
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
    if not Path(folder).expanduser().is_dir():
        raise RequestError(f"there is no folder {folder}")
    console = Console(stderr=True)
    step, order = build_order(BatchArguments(pipeline, [folder], **options))
    _require_watchable(step)
    place, pattern = Path(folder).expanduser().absolute(), input_pattern(step)
    arrivals = _Arrivals(place, pattern, settle, recursive=order.recursive)
    report_associations = _AssociationReport(console, pipeline, step, place)
    status, last, waiting, reported = 0, time.monotonic(), list[Path](), ""
    with placement.SharedSite(placement.choose_place(order.site, 1000, 2**40)) as site:
        while idle is None or time.monotonic() - last < idle:
            waiting += arrivals.whole()
            report_associations(recursive=order.recursive)
            if not waiting:
                time.sleep(min(EVERY, settle))
                continue
            started = time.monotonic()
            try:
                inputs = tuple(map(str, waiting))
                batch = begin_batch(step, replace(order, inputs=inputs), hold=True)
                result = drive(batch, console, open_site=site.open)
            except HeldLedgerError as error:  # another batch is running, such as a `resume`
                if str(error) != reported:
                    reported = str(error)
                    text = escape_text(f"waiting: {error}")
                    console.print(text, markup=False, highlight=False)
                time.sleep(EVERY)
            else:
                ended, last_inputs, reported = time.monotonic(), waiting, ""
                waiting = _list_unfinished(result)
                if waiting:
                    time.sleep(EVERY)
                else:
                    status = max(status, result.exit_status)  # failed is worse than done
                if waiting == last_inputs:  # attempts without progress do not count as idle
                    last += ended - started
                    continue
            last = time.monotonic()
    return max(status, EXIT_STATUS["interrupted"]) if waiting else status


def _require_watchable(step: Step) -> None:
    """Refuse a step that cannot calibrate exposures as they arrive."""
    if step.output_file:
        raise RequestError(
            f"output_file = {step.output_file}: every exposure needs a name of its own; suffix "
            "changes how products' names end"
        )
    require_single_exposures(step)


def _list_unfinished(result: Result) -> list[Path]:
    """Return the exposures that an interrupted batch has not finished; none if it was cancelled."""
    if result.state != "interrupted":
        return []
    with View(result.folder.state) as view:
        paths = [Path(row.path) for row in view.exposures(result.batch.id, *OPEN)]
    return [path for path in paths if path.exists()]


class _AssociationReport:
    """Names the associations in a watched folder, each once: they are not calibrated."""

    def __init__(self, console: Console, pipeline: str, step: Step, folder: Path) -> None:
        self.console, self.step, self.folder = console, step, folder
        where = ["-o", step.output_dir] if step.output_dir else []
        self._command = shlex.join(["calbatch", "run", pipeline, str(folder), *where])
        self._named: set[Path] = set()

    def __call__(self, *, recursive: bool) -> None:
        """Print those that are new, if the pipeline takes associations at all."""
        found: set[Path] = set()
        if accepts_associations(self.step):
            with suppress(OSError):  # the folder may be temporarily unavailable
                found.update(files_in(self.folder, PATTERN, recursive=recursive))
        for path in sorted(found - self._named, key=natural_key):
            text = (
                f"{path}: watch does not calibrate associations: when all members are there, use "
                f"{self._command}{' --recursive' if recursive else ''}"
            )
            self.console.print(escape_text(text), markup=False, highlight=False, soft_wrap=True)
        self._named |= found


class _Arrivals:
    """Detects files that have arrived completely in a folder.

    A file is complete if it can be opened and has not changed for ``settle`` seconds. A file that
    stays damaged is returned after ten times as long, and then fails.
    """

    def __init__(
        self, folder: Path, pattern: str, settle: float, *, recursive: bool = False
    ) -> None:
        self.folder, self.pattern, self.settle = folder, pattern, settle
        self.recursive = recursive
        self._seen: dict[Path, tuple[tuple[int, int], float]] = {}
        self._given: dict[Path, tuple[int, int]] = {}

    def whole(self) -> list[Path]:
        """Return the files that have become complete since the last call, in natural order."""
        now, complete = time.monotonic(), []
        candidates: list[Path] = []
        with suppress(OSError):  # the folder may be temporarily unavailable
            candidates += files_in(self.folder, self.pattern, recursive=self.recursive)
        for path in sorted(candidates, key=natural_key):
            try:
                status = path.stat()
            except OSError:  # already removed
                continue
            stamp = status.st_size, status.st_mtime_ns
            if self._given.get(path) == stamp:
                continue
            before, since = self._seen.get(path, (None, now))
            if before != stamp:
                self._seen[path] = stamp, now
            elif now - since >= self.settle and (_opens(path) or now - since >= 10 * self.settle):
                self._given[path] = stamp
                complete.append(path)
        return complete


def _opens(path: Path) -> bool:
    try:
        with datamodels.open(path):
            return True
    except (ModelError, OSError):
        return False
