"""The progress of a batch: a live bar in a terminal or notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from calbatch.cluster.exposure.messages import escape_lines
from calbatch.cluster.exposure.outcome import MemoryPeak, Outcome, peak_memory

LIVE_EVERY = 0.1
"""Seconds between updates of a live bar."""

PLAIN_EVERY = 10.0
"""Seconds between plain lines."""

DAY = 86400.0


class BatchTally:
    """Counts of a running batch."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.failed, self.kept = total, 0, 0, 0
        self.memory = MemoryUse()
        self.start = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.done += not outcome.failed
        self.failed += outcome.failed
        self.kept += outcome.kept
        self.memory.add(*outcome.peaks)

    @property
    def ended(self) -> int:
        """Number of exposures that are done or have failed."""
        return self.done + self.failed

    @property
    def rate(self) -> float:
        """Exposures calibrated per minute so far."""
        return 60 * (self.ended - self.kept) / max(time.monotonic() - self.start, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds left at this rate; None before the first exposure has been calibrated."""
        return 60 * (self.total - self.ended) / self.rate if self.rate else None

    def line(self) -> str:
        """Return a one-line summary."""
        parts = [f"{self.done}/{self.total} done", f"{self.failed} failed"]
        if self.kept:
            parts.append(f"{self.kept} of them earlier")
        if self.left is not None:
            parts += [f"{self.rate:.3g} per minute", f"{duration(self.left)} left"]
        self.memory.add(peak_memory())
        return ", ".join([*parts, f"peak memory {self.memory}"])


class MemoryUse:
    """Peak memory by process."""

    def __init__(self) -> None:
        self.by_process: dict[str, int] = {}

    def add(self, *peaks: MemoryPeak) -> None:
        """Record peaks of processes."""
        for peak in peaks:
            self.by_process[peak.process] = max(self.by_process.get(peak.process, 0), peak.bytes)

    def __str__(self) -> str:
        count = len(self.by_process)
        where = f" in {count} processes" if count > 1 else ""
        return f"{megabytes(sum(self.by_process.values()))}{where}"


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss, or with one decimal below a minute."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def describe_left(seconds: float) -> str:
    """Return a time left in words: as a duration, in days beyond two, and never beyond 100."""
    if seconds < 2 * DAY:
        return f"{duration(seconds)} left"
    if seconds < 100 * DAY:
        return f"{seconds / DAY:.1f} days left"
    return "more than 100 days left"


def format_time(seconds: float | None = None) -> str:
    """Return a time, in seconds since 1970, as local date and time; now by default."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def megabytes(count: float) -> str:
    """Return bytes as MB, with a decimal if few, or as GB if many."""
    if count >= 1e10:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.{int(count < 1e7)}f} MB"


class ProgressDisplay:
    """Shows outcomes as they arrive, messages, and the address of the dashboard.

    Parameters
    ----------
    tally : Tally
        Counts the outcomes.
    console : rich.console.Console
        Shows them.
    refresh : callable
        Shows the counts again.
    debug : bool
        Show the tracebacks of failures.
    """

    def __init__(
        self, tally: BatchTally, console: Console, refresh: Callable[[], None], *, debug: bool
    ) -> None:
        self._tally, self._console, self._refresh = tally, console, refresh
        self._debug, self._dashboard = debug, ""

    def __call__(self, outcome: Outcome) -> None:
        """Show an outcome."""
        self._tally.add(outcome)
        if outcome.failed:
            text = f"FAILED {outcome.error}" + f"\n{outcome.details}" * self._debug
            self.say(text, "red")
        self._refresh()

    def show_dashboard(self, dashboard: str | None) -> None:
        """Show the address of the dashboard, if it is new."""
        if dashboard and dashboard != self._dashboard:
            self.say(f"dashboard: {dashboard}")
        self._dashboard = dashboard or ""

    def say(self, text: str, style: str = "") -> None:
        """Show a line."""
        self._console.print(
            escape_lines(text), style=style, markup=False, highlight=False, soft_wrap=True
        )


@contextmanager
def show_progress(
    total: int, console: Console, *, debug: bool = False
) -> Iterator[ProgressDisplay]:
    """Yield the display of a running batch.

    Parameters
    ----------
    total : int
        Number of outcomes to expect.
    console : rich.console.Console
        Shows the progress.
    debug : bool
        Show the tracebacks of failures.
    """
    tally = BatchTally(total)
    live = console.is_terminal or console.is_jupyter
    with _bar(tally, console) if live else _lines(tally, console) as refresh:
        yield ProgressDisplay(tally, console, refresh, debug=debug)


@contextmanager
def _bar(tally: BatchTally, console: Console) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(tally.line(), total=tally.total)

        def show() -> None:
            progress.update(task, completed=tally.ended, description=tally.line())

        yield _make_refresher(LIVE_EVERY, tally, show)
        show()


@contextmanager
def _lines(tally: BatchTally, console: Console) -> Iterator[Callable[[], None]]:
    def show() -> None:
        console.print(tally.line(), markup=False, highlight=False, soft_wrap=True)

    yield _make_refresher(PLAIN_EVERY, tally, show)


def _make_refresher(
    seconds: float, tally: BatchTally, show: Callable[[], None]
) -> Callable[[], None]:
    """Return a function that shows the counts at intervals, and always at the end."""
    last = time.monotonic()

    def refresh() -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds or tally.ended == tally.total:
            last = now
            show()

    return refresh
