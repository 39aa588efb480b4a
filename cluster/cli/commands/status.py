"""`calbatch status` and `calbatch logs`: the progress and the events of a batch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
"""Seconds over which the rate is averaged."""

SHOWN = 3
"""Maximum number of waiting units to show, and of makers to name for each."""

EVERY = 2.0
"""Seconds between updates, while following."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """The progress of a batch.

    Attributes
    ----------
    rate : float
        Exposures calibrated per minute, recently.
    left : float, optional
        Seconds left at that rate.
    held : int
        Number of waiting units that wait for others.
    waits_for : mapping
        Paths of the makers of the first few, by the unit's product or path.
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
    held: int = 0
    waits_for: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """The exit status for the state."""
        return liveness.EXIT_STATUS[self.state]

    def line(self) -> str:
        """Return a one-line summary, with further lines for a reason and for waiting units."""
        parts = [f"{self.done + self.before}/{self.total} done"]
        parts += [f"{self.before} of them earlier"] if self.before else []
        parts += [f"{self.running} running"] if self.running else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.quarantined} quarantined"] if self.quarantined else []
        if self.left is not None:
            parts += [f"{self.rate:.3g} per minute", f"{_duration(self.left)} left"]
        parts += [f"{self.held} waiting for others"] if self.held else []
        lines = [f"{self.batch} {self.state}: {', '.join(parts)}"]
        lines += [escape_text(self.reason)] if self.reason else []
        return "\n".join([*lines, *map(escape_text, self._describe_waits())])

    def _describe_waits(self) -> Iterator[str]:
        for name, makers in self.waits_for.items():
            names = [maker.rpartition("/")[2] for maker in makers]
            more = len(names) - SHOWN
            text = ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
            yield f"{name.rpartition('/')[2]} waits for {text}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def read_status(folder: BatchFolder) -> Status:
    """Return the current progress of a batch."""
    with View(folder.state) as view:
        row = view.batch(folder.name)
        counts = view.counts(row.id)
        state = liveness.batch_state(folder, row)
        rate = _rate(view, row) if state == "running" else 0.0
        held = view.count_held(row.id)
        waits_for = view.find_held(row.id, SHOWN) if held else {}
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
        dashboard=row.dashboard,
        updated=time.time(),
        held=held,
        waits_for=waits_for,
    )


def _rate(view: View, row: BatchRow) -> float:
    now = time.time()
    since = max(now - RECENT, row.started or now)
    return 60 * view.count_ended(row.id, since) / max(now - since, 1.0)


def status(batch: str | None, *, as_json: bool, watch: bool) -> int:
    """Print the progress of a batch; return the exit status for its state."""
    folder, console = find_batch(batch), Console(soft_wrap=True, markup=False, highlight=False)
    while True:
        progress = read_status(folder)
        if as_json:
            print(json.dumps(asdict(progress)), flush=True)  # noqa: T201
        else:
            console.print(Text(progress.line()))
        if not watch or console.quiet or progress.exit_status != liveness.EXIT_STATUS["running"]:
            return progress.exit_status
        time.sleep(EVERY)


def logs(batch: str | None, exposure: str | None, *, follow: bool) -> int:
    """Print the events of a batch, or of one of its exposures."""
    folder, console = find_batch(batch), Console(soft_wrap=True, markup=False, highlight=False)
    read_news = _of_exposure(folder, exposure) if exposure else _of_batch(folder)

    def say(lines: Iterator[str]) -> None:
        for line in lines:
            console.print(Text(escape_text(line)))

    say(read_news())
    while (
        follow
        and not console.quiet
        and read_status(folder).exit_status == liveness.EXIT_STATUS["running"]
    ):
        time.sleep(EVERY)
        say(read_news())
    say(read_news())
    return 0


def _of_batch(folder: BatchFolder) -> Callable[[], Iterator[str]]:
    """Return a function that yields the events since its last call."""
    seen = [0, 0]

    def read_news() -> Iterator[str]:
        with View(folder.state) as view:
            events = view.events(view.batch(folder.name).id)
        for event in events[seen[0] :]:
            yield f"{_time(event.time)} {event.kind}: {event.text}"
        seen[0] = len(events)
        yield from _news(folder.log, seen, 1)

    return read_news


def _of_exposure(folder: BatchFolder, wanted: str) -> Callable[[], Iterator[str]]:
    seen = [0, 0]

    def read_news() -> Iterator[str]:
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

    return read_news


def _exposure(view: View, batch: BatchRow, wanted: str) -> ExposureRow:
    rows = view.exposures(batch.id)
    if wanted.isdecimal():
        matches = [row for row in rows if row.number == int(wanted)]
    else:
        matches = [row for row in rows if wanted in Path(row.path).name or wanted == row.path]
    if len(matches) != 1:
        problem = (
            f"{len(matches)} exposures have that in their names" if matches else "no such exposure"
        )
        raise RequestError(f"{batch.name}: {wanted}: {problem}; a number, or part of a file's name")
    return matches[0]


def _news(path: Path, seen: list[int], index: int) -> Iterator[str]:
    """Yield the lines that a growing file has gained since the last call."""
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
