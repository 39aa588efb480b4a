"""Watching a batch: live in a terminal or a notebook, in plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console

from calbatch.cluster.job import Outcome

PLAIN_EVERY = 10.0
"""Seconds between lines where nothing can be redrawn."""


class Watcher(Protocol):
    """Is told of outcomes."""

    def __call__(self, outcome: Outcome) -> None: ...


class Tally:
    """Counts of a batch under way."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.failed, self.peak = total, 0, 0, 0
        self.start = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.done += not outcome.failed
        self.failed += outcome.failed
        self.peak = max(self.peak, outcome.peak_memory)

    @property
    def ended(self) -> int:
        """Exposures that are done or failed."""
        return self.done + self.failed

    @property
    def rate(self) -> float:
        """Exposures a minute so far."""
        return 60 * self.ended / max(time.monotonic() - self.start, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take, at this rate; None before the first has ended."""
        return 60 * (self.total - self.ended) / self.rate if self.ended else None

    def line(self) -> str:
        """Return it all in one line."""
        left = "-" if self.left is None else duration(self.left)
        return (
            f"{self.done}/{self.total} done, {self.failed} failed, {self.rate:.1f} a minute, "
            f"{left} left, peak {megabytes(self.peak)} a process"
        )


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss, or with one decimal below a minute."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def megabytes(count: float) -> str:
    """Return bytes as MB."""
    return f"{count / 1e6:.0f} MB"


@contextmanager
def watching(total: int, dashboard: str | None, console: Console) -> Iterator[Watcher]:
    """Give a function that shows outcomes as they come."""
    if dashboard:
        console.print(f"dashboard: {dashboard}")
    tally = Tally(total)
    live = console.is_terminal or console.is_jupyter
    with _bar(tally, console) if live else _lines(tally, console) as refresh:

        def watch(outcome: Outcome) -> None:
            tally.add(outcome)
            if outcome.failed:
                console.print(f"FAILED {outcome.error}", style="red", markup=False, soft_wrap=True)
            refresh()

        yield watch


@contextmanager
def _bar(tally: Tally, console: Console) -> Iterator[Any]:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = BarColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(tally.line(), total=tally.total)

        def refresh() -> None:
            progress.update(task, completed=tally.ended, description=tally.line())

        yield refresh


@contextmanager
def _lines(tally: Tally, console: Console) -> Iterator[Any]:
    last = time.monotonic()

    def refresh() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_EVERY or tally.ended == tally.total:
            last = now
            console.print(tally.line(), markup=False, soft_wrap=True)

    yield refresh
