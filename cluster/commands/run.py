"""`calbatch run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from calbatch.cluster import batch
from calbatch.cluster.policy import Policy
from calbatch.cluster.report import summary


def main(
    pipeline: str,
    inputs: Sequence[str],
    *,
    timings: bool,
    deadline: float | None,
    fail_fast: bool,
    patience: float,
    **options: Any,
) -> int:
    """Run a batch with progress on standard error and a summary; return the exit status."""
    policy = Policy(deadline=deadline, fail_fast=fail_fast, patience=patience)
    console = Console(stderr=True)
    result = batch.run(pipeline, inputs, console=console, policy=policy, **options)
    summary(result, Console(), timings=timings)
    return result.exit_status
