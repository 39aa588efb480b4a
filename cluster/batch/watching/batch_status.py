"""The status of a batch while it runs: counts, rate, time left, failures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from calbatch.cluster.batch import liveness
from calbatch.cluster.display.quantities import RECENT, describe_left, format_time
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import BatchRow, ExposureRow, View
from calbatch.cluster.ledger.records import FAILED, OPEN

SHOWN = 3
"""Maximum number of waiting units to show, and of makers to name for each."""

SHOWN_FAILURES = 10
"""Maximum number of failing exposures to name."""

EVERY = 2.0
"""Seconds between updates, while following."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An exposure that has failed or is quarantined, and the reason."""

    path: str
    state: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Status:
    """The progress of a batch.

    Attributes
    ----------
    rate : float
        Exposures calibrated per minute, recently.
    left : float, optional
        Seconds left at that rate.
    workers : str
        The place where the batch runs, with its workers; empty until they are started.
    held : int
        Number of waiting units that wait for others.
    waits_for : mapping
        Paths of the makers of the first few, by the unit's product or path.
    failures : sequence of Failure
        The first few exposures that have failed or are quarantined.
    """

    batch: str
    state: str
    reason: str
    pipeline: str
    output: str
    total: int
    waiting: int
    running: int
    done: int
    before: int
    failed: int
    quarantined: int
    rate: float
    left: float | None
    dashboard: str
    updated: float
    workers: str = ""
    held: int = 0
    waits_for: Mapping[str, Sequence[str]] = field(default_factory=dict)
    failures: Sequence[Failure] = ()

    @property
    def exit_status(self) -> int:
        """The exit status for the state."""
        return liveness.EXIT_STATUS[self.state]

    def line(self) -> str:
        """Return a one-line summary."""
        parts = [f"{self.done + self.before}/{self.total} done"]
        parts += [f"{self.before} of them earlier"] if self.before else []
        parts += [f"{self.running} running"] if self.running else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.quarantined} quarantined"] if self.quarantined else []
        if self.left is not None:
            parts += [f"{self.rate:.3g} per minute", f"{describe_left(self.left)}"]
        parts += [f"{self.held} waiting for others"] if self.held else []
        return f"{self.batch} {self.state}: {', '.join(parts)}"

    def counts(self) -> dict[str, int]:
        """Return the number of exposures in each state that occurs."""
        counts = {
            "done": self.done,
            "done earlier": self.before,
            "running": self.running,
            "waiting": self.waiting,
            "failed": self.failed,
            "quarantined": self.quarantined,
        }
        return {state: count for state, count in counts.items() if count}

    def details(self) -> Iterator[str]:
        """Yield lines on the waiting units, the failing exposures and the batch."""
        for name, makers in self.waits_for.items():
            names = [maker.rpartition("/")[2] for maker in makers]
            more = len(names) - SHOWN
            text = ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
            yield f"{name.rpartition('/')[2]} waits for {text}"
        for each in self.failures:
            yield f"{each.state}: {each.path.rpartition('/')[2]}: {each.reason}"
        more = self.failed + self.quarantined - len(self.failures)
        if self.failures and more > 0:
            yield f"and {more} more: `calbatch status {self.batch} --exposures` lists all exposures"
        yield f"products of {self.pipeline} are in {self.output}"
        if self.dashboard and self.state == "running":
            yield f"dashboard: {self.dashboard}"


def read_status(folder: BatchFolder) -> Status:
    """Return the current progress of a batch."""
    with View(folder.state) as view:
        row = view.batch(folder.name)
        counts = view.counts(row.id)
        state = liveness.batch_state(folder, row)
        rate = _rate(view, row) if state == "running" else 0.0
        held = view.count_held(row.id)
        waits_for = view.find_held(row.id, SHOWN) if held else {}
        has_failures = any(counts.get(name) for name in FAILED)
        site = view.last_event(row.id, "site")
        failures = tuple(_find_failures(view, row.id)) if has_failures else ()
    open_ = sum(counts.get(name, 0) for name in OPEN)
    return Status(
        batch=row.name,
        state=state,
        reason=row.reason,
        pipeline=row.pipeline,
        output=str(folder.output),
        total=row.total,
        waiting=counts.get("waiting", 0),
        running=counts.get("running", 0) + counts.get("retrying", 0),
        done=counts.get("done", 0),
        before=counts.get("kept", 0),
        failed=counts.get("failed", 0),
        quarantined=counts.get("quarantined", 0),
        rate=rate,
        left=60 * open_ / rate if rate else None,
        dashboard=row.dashboard if state == "running" else "",
        updated=time.time(),
        workers=site.text if site else "",
        held=held,
        waits_for=waits_for,
        failures=failures,
    )


def _find_failures(view: View, batch: int) -> Iterator[Failure]:
    for row in islice(view.exposures(batch, *FAILED), SHOWN_FAILURES):
        yield Failure(path=row.path, state=row.state, reason=short_reason(row))


def _rate(view: View, row: BatchRow) -> float:
    now = time.time()
    since = max(now - RECENT, row.started or now)
    return 60 * view.count_ended(row.id, since) / max(now - since, 1.0)


def short_reason(row: ExposureRow) -> str:
    """Return the reason for an exposure's state, without the path with which errors begin."""
    return row.reason.removeprefix(f"{row.path}: ")


def describe_exposure(row: ExposureRow) -> dict[str, Any]:
    """Return the record of an exposure as plain values by name."""
    return {
        "number": row.number,
        "exposure": row.path,
        "state": row.state,
        "reason": row.reason,
        "note": row.note,
        "tries": row.attempts,
        "seconds": row.seconds,
        "cpu": row.cpu,
        "memory": row.peak,
        "warnings": row.warnings,
    }


def describe(progress: Status) -> Group:
    """Return the summary, the table of states and the details of a batch."""
    table = Table("state", "exposures", "%")
    for column in table.columns[1:]:
        column.justify = "right"
    for state, count in progress.counts().items():
        table.add_row(state, str(count), f"{100 * count / max(progress.total, 1):.3g}")
    lines = [progress.line(), *([escape_text(progress.reason)] if progress.reason else [])]
    details = map(escape_text, progress.details())
    return Group(*map(Text, lines), table, *map(Text, details))


def follow(folder: BatchFolder, console: Console, show: Callable[[Status], None]) -> Status:
    """Show the progress at intervals until the batch has ended, or the output is closed."""
    while True:
        progress = read_status(folder)
        show(progress)
        if console.quiet or progress.exit_status != liveness.EXIT_STATUS["running"]:
            return progress
        time.sleep(EVERY)


def watch_batch(folder: BatchFolder, console: Console) -> Status:
    """Show the progress until the batch has ended: in place in a terminal, else its changes."""
    if not console.is_terminal:
        return _print_changes(folder, console)
    with Live(console=console, auto_refresh=False) as live:
        return follow(
            folder, console, lambda progress: live.update(describe(progress), refresh=True)
        )


def _print_changes(folder: BatchFolder, console: Console) -> Status:
    """Print a line with the time whenever a count has changed, and the table at the end."""
    last: Any = None

    def show(progress: Status) -> None:
        nonlocal last
        counts = progress.state, progress.counts(), progress.held  # the rate changes by itself
        if counts != last:
            console.print(Text(f"{format_time(progress.updated)} {progress.line()}"))
        last = counts

    progress = follow(folder, console, show)
    console.print(describe(progress))
    return progress
