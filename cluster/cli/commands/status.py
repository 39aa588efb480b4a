"""`calbatch status` and `calbatch logs`: looking at a batch while it runs, and after."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.text import Text

from calbatch.cluster.batch import liveness
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.folder import BatchFolder, find_batch
from calbatch.cluster.ledger import BatchRow, ExposureRow, View
from calbatch.cluster.ledger.records import OPEN

RECENT = 300.0
"""Seconds over which the rate is taken."""

EVERY = 2.0
"""Seconds between looks, while following."""


@dataclass(frozen=True)
class Status:
    """How far a batch is.

    Attributes
    ----------
    rate : float
        Exposures calibrated a minute, lately.
    left : float, optional
        Seconds that the rest takes at that rate.
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

    @property
    def exit_status(self) -> int:
        """The state, as an exit status."""
        return liveness.EXIT_STATUS[self.state]

    def line(self) -> str:
        """Return it in a line or two."""
        parts = [f"{self.done + self.before}/{self.total} done"]
        parts += [f"{self.before} of them earlier"] if self.before else []
        parts += [f"{self.running} running"] if self.running else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.quarantined} quarantined"] if self.quarantined else []
        if self.left is not None:
            parts += [f"{self.rate:.3g} per minute", f"{_duration(self.left)} left"]
        text = f"{self.batch} {self.state}: {', '.join(parts)}"
        return f"{text}\n{escape_text(self.reason)}" if self.reason else text


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def read_status(folder: BatchFolder) -> Status:
    """Return how far a batch is now."""
    with View(folder.state) as view:
        row = view.batch(folder.name)
        counts = view.counts(row.id)
        state = liveness.batch_state(folder, row)
        rate = _rate(view, row) if state == "running" else 0.0
    open_ = sum(counts.get(name, 0) for name in OPEN)
    return Status(
        row.name, state, row.reason, row.pipeline, str(folder.output), row.total,
        counts.get("waiting", 0), counts.get("running", 0) + counts.get("retrying", 0),
        counts.get("done", 0), counts.get("kept", 0), counts.get("failed", 0),
        counts.get("quarantined", 0), rate, 60 * open_ / rate if rate else None,
        row.dashboard, time.time(),
    )  # fmt: skip


def _rate(view: View, row: BatchRow) -> float:
    now = time.time()
    since = max(now - RECENT, row.started or now)
    return 60 * view.count_ended(row.id, since) / max(now - since, 1.0)


def status(batch: str | None, *, as_json: bool, watch: bool) -> int:
    """Print how far a batch is; return its state as an exit status."""
    folder, console = find_batch(batch), Console(soft_wrap=True, markup=False, highlight=False)
    while True:
        found = read_status(folder)
        if as_json:
            print(json.dumps(asdict(found)), flush=True)  # noqa: T201
        else:
            console.print(Text(found.line()))
        if not watch or console.quiet or found.exit_status != liveness.EXIT_STATUS["running"]:
            return found.exit_status
        time.sleep(EVERY)


def logs(batch: str | None, exposure: str | None, *, follow: bool) -> int:
    """Print what happened to a batch, or to one of its exposures."""
    folder, console = find_batch(batch), Console(soft_wrap=True, markup=False, highlight=False)
    told = _of_exposure(folder, exposure) if exposure else _of_batch(folder)

    def say(lines: Iterator[str]) -> None:
        for line in lines:
            console.print(Text(escape_text(line)))

    say(told())
    while (
        follow
        and not console.quiet
        and read_status(folder).exit_status == liveness.EXIT_STATUS["running"]
    ):
        time.sleep(EVERY)
        say(told())
    say(told())
    return 0


def _of_batch(folder: BatchFolder) -> Callable[[], Iterator[str]]:
    """Return a function that gives what has happened since it was last asked."""
    seen = [0, 0]

    def told() -> Iterator[str]:
        with View(folder.state) as view:
            events = view.events(view.batch(folder.name).id)
        for event in events[seen[0] :]:
            yield f"{_time(event.time)} {event.kind}: {event.text}"
        seen[0] = len(events)
        yield from _news(folder.log, seen, 1)

    return told


def _of_exposure(folder: BatchFolder, wanted: str) -> Callable[[], Iterator[str]]:
    seen = [0, 0]

    def told() -> Iterator[str]:
        with View(folder.state) as view:
            row = _exposure(view, view.batch(folder.name), wanted)
            attempts = view.attempts(row.id)
        if not seen[0]:
            yield f"{row.path}: {row.state}{f', {row.reason}' if row.reason else ''}"
        for attempt in attempts[max(seen[0] - 1, 0) :]:
            alone = ", alone" if attempt.alone else ""
            where = f" in {attempt.worker}" if attempt.worker else ""
            yield f"{_time(attempt.ended)} try {attempt.number}{where}{alone}: {attempt.result}"
            yield from attempt.log.splitlines()
        seen[0] = len(attempts) + 1
        if row.state == "running":
            yield from _news(folder.logs / f"{row.number}-{row.attempts}.log", seen, 1)

    return told


def _exposure(view: View, batch: BatchRow, wanted: str) -> ExposureRow:
    rows = view.exposures(batch.id)
    if wanted.isdecimal():
        found = [row for row in rows if row.number == int(wanted)]
    else:
        found = [row for row in rows if wanted in Path(row.path).name or wanted == row.path]
    if len(found) != 1:
        many = f"{len(found)} exposures have that in their names" if found else "no such exposure"
        raise RequestError(f"{batch.name}: {wanted}: {many}; a number, or part of a file's name")
    return found[0]


def _news(path: Path, seen: list[int], index: int) -> Iterator[str]:
    """Yield the lines that a growing file has since it was last looked at."""
    try:
        with path.open("rb") as file:
            file.seek(seen[index])
            data = file.read()
    except OSError:
        return
    whole = data[: data.rfind(b"\n") + 1]
    seen[index] += len(whole)
    yield from whole.decode("utf-8", "backslashreplace").splitlines()


def _time(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "?"
