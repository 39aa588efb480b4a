"""`calbatch run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calbatch.cluster import batch
from calbatch.cluster.report import summary
from calbatch.cluster.terminal import Console


def main(pipeline: str, inputs: Sequence[str], *, timings: bool, **options: Any) -> int:
    """Run a batch with progress on standard error and a summary; return the exit status."""
    result = batch.run(pipeline, inputs, console=Console(stderr=True), **options)
    summary(result, Console(), timings=timings)
    return result.exit_status
