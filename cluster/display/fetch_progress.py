"""Fetching reference files with progress, and reporting those that are missing."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from calbatch.calibrate.references import CrdsReferences
from calbatch.cluster.display.live_html import Snapshot, follow_in_notebook
from calbatch.cluster.display.progress import PLAIN_EVERY
from calbatch.cluster.display.quantities import duration, megabytes
from calbatch.cluster.exposure.terminal import print_text
from calbatch.models.errors import format_count
from calbatch.models.markup import make_bar, make_display

Progress = Callable[[str, int, int], None]
"""Callback with a file's name, the bytes received and its size."""

TO_BE_FETCHED = "has to be fetched first"
"""Reason that `defer_fetching` gives for a file."""


class FetchTally:
    """Bytes and files received so far; threads add to it.

    Parameters
    ----------
    total : int
        Number of files.
    beside : callable, optional
        Describes the work that goes on meanwhile; "" if there is none.
    """

    def __init__(self, total: int, beside: Callable[[], str] = str) -> None:
        self.total, self._beside = total, beside
        self.start = time.monotonic()
        self._received: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, received: int, size: int) -> None:
        """Record the bytes of a file received so far."""
        with self._lock:
            self._received[name] = received, size

    @property
    def bytes(self) -> int:
        """Number of bytes received."""
        with self._lock:
            return sum(received for received, _ in self._received.values())

    @property
    def whole(self) -> int:
        """Number of files received completely."""
        with self._lock:
            return sum(received >= size for received, size in self._received.values())

    def line(self) -> str:
        """Return a one-line summary."""
        seconds = time.monotonic() - self.start
        count = f"{self.whole} of {format_count(self.total, 'file')}"
        text = f"fetched {count}, {megabytes(self.bytes)} in {duration(seconds)}"
        return "; ".join(filter(None, (text, self._beside())))


@contextmanager
def show_fetch_progress(
    total: int, console: Console, beside: Callable[[], str] = str
) -> Iterator[Progress]:
    """Yield a callback that shows progress: a bar in a terminal or notebook, lines elsewhere.

    Parameters
    ----------
    total : int
        Number of files.
    console : rich.console.Console
        Shows the progress.
    beside : callable, optional
        See `FetchTally`.
    """
    received = FetchTally(total, beside)
    open_display = _html if console.is_jupyter else _bar if console.is_terminal else _lines
    with open_display(received, console) as refresh:

        def show(name: str, count: int, size: int) -> None:
            received.add(name, count, size)
            refresh()

        yield show
    if received.bytes:
        print_text(console, received.line())


@contextmanager
def _bar(received: FetchTally, console: Console) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, Progress, ProgressColumn, Task

    class Summary(ProgressColumn):
        """The summary, also while no bytes arrive."""

        def render(self, task: Task) -> Text:
            return Text(received.line())

    with Progress(BarColumn(), Summary(), console=console, transient=True) as bar:
        task = bar.add_task("", total=received.total)
        yield lambda: bar.update(task, completed=received.whole)


@contextmanager
def _html(received: FetchTally, console: Console) -> Iterator[Callable[[], None]]:
    def read() -> Snapshot:
        text = received.line()
        html = make_display(make_bar(received.whole, received.total), f" {text}")
        return Snapshot(html=html, text=text)

    with follow_in_notebook(read):
        yield lambda: None


@contextmanager
def _lines(received: FetchTally, console: Console) -> Iterator[Callable[[], None]]:
    last, lock = time.monotonic(), threading.Lock()

    def refresh() -> None:
        nonlocal last
        with lock:
            if time.monotonic() - last >= PLAIN_EVERY:
                last = time.monotonic()
                print_text(console, received.line())

    yield refresh


def fetch_references(
    references: CrdsReferences,
    names: Sequence[str],
    console: Console,
    beside: Callable[[], str] = str,
) -> Mapping[str, str]:
    """Fetch references into the cache before any pixel is read, and print those that fail.

    Rules that fail are not printed: the batch ends with an error that names them.

    Parameters
    ----------
    references : CrdsReferences
        Its cache is filled.
    names : sequence of str
        Files that are not in the cache: references, or rules.
    console : rich.console.Console
        Shows the progress.
    beside : callable, optional
        See `FetchTally`.

    Returns
    -------
    mapping
        Name to reason, for the files that are still missing.
    """
    if references.offline:
        print_missing(names, references.cache, console)
        return references.fetch(names)
    are_rules = _are_rules(names)
    count = format_count(len(names), "rules file" if are_rules else "reference file")
    print_text(console, f"fetching {count} into {references.cache}")
    with show_fetch_progress(len(names), console, beside) as show:
        failed = references.fetch(names, show)
    for name, reason in () if are_rules else sorted(failed.items()):
        print_text(console, f"{name}: {reason}")
    return failed


def _are_rules(names: Sequence[str]) -> bool:
    from calbatch.crds_client.cache.layout import is_mapping  # only imported when files are missing

    return all(map(is_mapping, names))


def print_missing(names: Sequence[str], where: str, console: Console) -> None:
    """Print the files that are missing from the cache, and the command that fetches them."""
    count = format_count(len(names), "reference file is", "reference files are")
    lines = [
        f"{count} not in the cache {where}, and no server is asked (CRDS_SERVER_URL, CRDS_MODE):",
        *(f"  {name}" for name in sorted(names)),
        "with a server, this command fetches them:",
        f"  {sync_command(names)}",
    ]
    for line in lines:
        print_text(console, line)


def sync_command(names: Sequence[str]) -> str:
    """Return the command that fetches files by name."""
    return shlex.join(["calbatch", "refs", "sync", "--files", *sorted(names)])


def defer_fetching(
    references: CrdsReferences, names: Sequence[str], console: Console
) -> Mapping[str, str]:
    """Fetch only rules, and print the references that would be fetched; see `fetch_references`."""
    if _are_rules(names):
        return fetch_references(references, names, console)
    if references.offline:
        print_missing(names, references.cache, console)
        return references.fetch(names)
    console.print(
        f"to be fetched first: {format_count(len(names), 'reference file')}: "
        f"{', '.join(sorted(names))}"
    )
    return {name: f"{name} {TO_BE_FETCHED}: {sync_command([name])}" for name in names}
