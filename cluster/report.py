"""What a batch came to, as tables."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from calbatch.cluster.driver import Result
from calbatch.cluster.outcome import peak_memory
from calbatch.cluster.progress import Memory, duration

SHOWN = 20
"""Warnings and names listed; a long list would hide the summary."""


def summary(result: Result, console: Console, *, timings: bool = False) -> None:
    """Print what was done, what was remarkable, what failed, and where the products are."""
    _warnings(result, console)
    if timings:
        console.print(_stages(result))
    console.print(_totals(result))
    if result.failed:
        names = [o.path.name for o in result.failed]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        _say(console, f"failed: {', '.join(names[:SHOWN])}{more}", "red")
    if result.done:
        _say(console, f"products are in {result.output_dir}")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _totals(result: Result) -> Table:
    memory = Memory()
    for outcome in result.outcomes:
        memory.add(*outcome.peaks)
    memory.add(peak_memory())
    table = Table("exposures", "done", "failed", "products", "wall time", "peak memory")
    counts = (result.outcomes, result.done, result.failed, result.products)
    table.add_row(*(str(len(c)) for c in counts), duration(result.seconds), str(memory))
    return table


def _warnings(result: Result, console: Console) -> None:
    counts: Counter[str] = Counter()
    for outcome in result.outcomes:
        counts.update({w.replace(str(outcome.path), "<input>") for w in outcome.warnings})
    for text, count in counts.most_common(SHOWN):
        times = f" ({count} exposures)" if count > 1 else ""
        _say(console, f"warning: {text}{times}", "yellow")
    if len(counts) > SHOWN:
        _say(console, f"... and {len(counts) - SHOWN} more kinds of warnings", "yellow")


def _stages(result: Result) -> Table:
    totals: Counter[str] = Counter()
    for outcome in result.outcomes:
        totals.update(outcome.stages)
    count = max(len(result.done), 1)
    table = Table("stage", "CPU s an exposure")
    for stage, seconds in totals.items():
        table.add_row(stage, f"{seconds / count:.3f}")
    table.add_row("all", f"{sum(totals.values()) / count:.3f}")
    return table
