"""The progress of a batch: a live bar in a terminal or notebook, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from uuid import uuid4

from rich.console import Console
from rich.text import Text

from calbatch.cluster.display.live_html import Snapshot, follow_in_notebook, show_in_notebook
from calbatch.cluster.display.quantities import RECENT, describe_left, format_time, megabytes
from calbatch.cluster.exposure.messages import escape_lines, escape_text
from calbatch.cluster.exposure.outcome import MemoryPeak, Outcome, peak_memory
from calbatch.cluster.exposure.terminal import print_text
from calbatch.models.markup import make_bar, make_display, make_link

LIVE_EVERY = 0.1
"""Seconds between updates of a live bar."""

PLAIN_EVERY = 10.0
"""Seconds between plain lines."""

ELAPSED_WIDTH = 12
"""Columns for the time elapsed, and between the columns."""

FEWEST = 20
"""Minimum number of exposures over which the rate is measured, once there are as many."""


class BatchTally:
    """Counts of a running batch."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.failed, self.kept = total, 0, 0, 0
        self.memory = MemoryUse()
        self._times = deque([time.monotonic()])  # of the start, and of each calibrated exposure

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.done += not outcome.failed
        self.failed += outcome.failed
        self.kept += outcome.kept
        self.memory.add(*outcome.peaks)
        if not outcome.kept:
            self._times.append(time.monotonic())
        while len(self._times) > FEWEST + 1 and self._times[1] < self._times[-1] - RECENT:
            self._times.popleft()

    @property
    def ended(self) -> int:
        """Number of exposures that are done or have failed."""
        return self.done + self.failed

    @property
    def rate(self) -> float:
        """Exposures calibrated per minute, recently."""
        return 60 * (len(self._times) - 1) / max(time.monotonic() - self._times[0], 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds left at this rate; None before two exposures have been calibrated.

        It counts down between exposures, until none has ended for so long that the rate is lower.
        """
        count, span = len(self._times) - 1, self._times[-1] - self._times[0]
        if not count or count < min(2, self.total - self.kept):
            return None
        idle, remaining = time.monotonic() - self._times[-1], self.total - self.ended
        if idle > span / 2:
            return remaining * (span + idle) / count
        return max(remaining * span / count - idle, min(remaining, 1) * span / count)

    def line(self, width: int | None = None) -> str:
        """Return a one-line summary; its least important parts are left out to fit into a width."""
        parts = [(f"{self.done}/{self.total} done", 0), (f"{self.failed} failed", 1)]
        if self.kept:
            parts.append((f"{self.kept} of them earlier", 4))
        left = self.left
        if left is not None:
            parts.append((f"{self.rate:.3g} per minute", 3))
            parts += [(describe_left(left), 2)] if self.ended < self.total else []
        self.memory.add(peak_memory())
        parts.append((f"peak memory {self.memory}", 5))
        while width is not None and len(parts) > 1 and len(_join(parts)) > width:
            parts.remove(max(parts, key=itemgetter(1)))
        return _join(parts)


def _join(parts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(text for text, _ in parts)


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
        peaks = list(self.by_process.values())  # at once: a live bar is drawn by another thread
        return f"{megabytes(sum(peaks))}{where}"


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
            text = f"dashboard: {dashboard}"
            if self._console.is_jupyter:  # its text has no links
                html = make_display("dashboard: ", make_link(dashboard))
                shown = Snapshot(html=html, text=escape_text(text))
                show_in_notebook(shown, f"calbatch-{uuid4().hex}", False)
            else:
                self.say(text)
        self._dashboard = dashboard or ""

    def say(self, text: str, style: str = "") -> None:
        """Show a line."""
        text = escape_lines(text if is_live(self._console) else f"{format_time()} {text}")
        print_text(self._console, text, style)


def is_live(console: Console) -> bool:
    """Return whether a console can be redrawn; elsewhere, lines begin with the time."""
    return console.is_terminal or console.is_jupyter


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
    show = _html if console.is_jupyter else _bar if console.is_terminal else _lines
    with show(tally, console) as refresh:
        yield ProgressDisplay(tally, console, refresh, debug=debug)


@contextmanager
def _bar(tally: BatchTally, console: Console) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
    from rich.table import Column

    bar = BarColumn(max(10, min(40, console.width // 4)), table_column=Column(no_wrap=True))
    used = (bar.bar_width or 0) + ELAPSED_WIDTH

    class Summary(ProgressColumn):
        """The summary in one line, as far as there is room; the time left counts down."""

        def render(self, task: Task) -> Text:
            return Text(tally.line(console.width - used), no_wrap=True)

    with Progress(bar, Summary(), TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("", total=tally.total)

        def show() -> None:
            progress.update(task, completed=tally.ended)

        yield _make_refresher(LIVE_EVERY, tally, show)
        show()


@contextmanager
def _html(tally: BatchTally, console: Console) -> Iterator[Callable[[], None]]:
    def read() -> Snapshot:
        text = tally.line()
        html = make_display(make_bar(tally.ended, tally.total), f" {text}")
        return Snapshot(html=html, text=text)

    with follow_in_notebook(read):  # rich needs ipywidgets for this
        yield lambda: None


@contextmanager
def _lines(tally: BatchTally, console: Console) -> Iterator[Callable[[], None]]:
    def show() -> None:
        text = f"{format_time()} {tally.line()}"
        print_text(console, text)

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
