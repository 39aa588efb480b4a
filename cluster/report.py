"""What a batch came to, as tables."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from calbatch.cluster.driver import Result
from calbatch.cluster.progress import duration, megabytes

SHOWN = 20
"""Failures listed in full; a long list would hide the summary."""


def summary(result: Result, console: Console, *, timings: bool = False, debug: bool = False) -> None:
    """Print what was done, what failed and why, and where the products are."""
    _failures(result, console, debug=debug)
    _warnings(result, console)
    if timings:
        console.print(_stages(result))
    done = [o for o in result.outcomes if not o.failed]
    table = Table("exposures", "done", "failed", "products", "wall time", "peak memory a process")
    table.add_row(
        str(len(result.outcomes)),
        str(len(done)),
        str(len(result.failed)),
        str(sum(len(o.products) for o in done)),
        duration(result.seconds),
        megabytes(max((o.peak_memory for o in result.outcomes), default=0)),
    )
    console.print(table)
    if done:
        console.print(f"products are in {result.output_dir}", markup=False, soft_wrap=True)


def _failures(result: Result, console: Console, *, debug: bool) -> None:
    for outcome in result.failed[: None if debug else SHOWN]:
        console.print(f"FAILED {outcome.error}", style="red", markup=False, soft_wrap=True)
        if debug:
            console.print(outcome.details, markup=False, soft_wrap=True)
    hidden = len(result.failed) - SHOWN
    if hidden > 0 and not debug:
        console.print(f"... and {hidden} more failures")


def _warnings(result: Result, console: Console) -> None:
    counts: Counter[str] = Counter()
    for outcome in result.outcomes:
        counts.update(w.replace(str(outcome.path), "<input>") for w in outcome.warnings)
    for text, count in counts.most_common(SHOWN):
        times = f" ({count} exposures)" if count > 1 else ""
        console.print(f"warning: {text}{times}", style="yellow", markup=False, soft_wrap=True)


def _stages(result: Result) -> Any:
    totals: Counter[str] = Counter()
    for outcome in result.outcomes:
        totals.update(outcome.stages)
    count = max(sum(not o.failed for o in result.outcomes), 1)
    table = Table("stage", "CPU s an exposure", title="stages")
    for stage, seconds in totals.items():
        table.add_row(stage, f"{seconds / count:.3f}")
    table.add_row("all", f"{sum(totals.values()) / count:.3f}")
    return table
