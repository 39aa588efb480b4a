"""`calbatch status`: the progress of a batch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.text import Text

from calbatch.cluster.batch import liveness
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.folder import BatchFolder, find_batch
from calbatch.cluster.ledger import BatchRow, View
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
