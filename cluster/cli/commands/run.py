"""`calbatch run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calbatch.cluster.batch import api
from calbatch.cluster.batch.report import summary
from calbatch.cluster.exposure.terminal import Console


def main(pipeline: str, inputs: Sequence[str], *, timings: bool, **options: Any) -> int:
    """Run a batch with progress on standard error and a summary; return the exit status."""
    result = api.run(pipeline, inputs, console=Console(stderr=True), **options)
    summary(result, Console(), timings=timings)
    return result.exit_status
