"""The end of a command that has driven a batch."""

from __future__ import annotations

from calbatch.cluster.batch.report import print_summary
from calbatch.cluster.batch.result import Result
from calbatch.cluster.exposure.terminal import Console, print_text


def conclude(result: Result, *, timings: bool = False) -> int:
    """Print the summary of a batch, and return the batch's exit status even if that fails."""
    try:
        print_summary(result, Console(), timings=timings)
    except OSError as error:  # for instance, a full disk
        text = f"the summary cannot be printed: {error.strerror}; `calbatch report {result.name}`"
        print_text(Console(stderr=True), text)
    return result.exit_status
