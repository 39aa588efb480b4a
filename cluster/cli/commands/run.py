"""`calbatch run`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from calbatch.cluster.exposure.imports import collecting_later
from calbatch.cluster.exposure.messages import escape_text


def main(pipeline: str, inputs: Sequence[str], *, timings: bool, **options: Any) -> int:
    """Run a batch with progress on standard error and a summary; return the exit status."""
    if sys.stderr.isatty():  # a user is waiting, and the imports take seconds
        click.echo(f"{escape_text(pipeline)}: starting", err=True)

    with collecting_later():
        from calbatch.cluster.sites import placement  # with what driver and workers share

        names = options.keys() & {"scheduler", "workers", "grain", "site"}
        chosen = {name: options[name] for name in names}
        placement.prepare_likely_place(placement.SiteRequest(**chosen), inputs)

        from calbatch.cluster.batch import python_api
        from calbatch.cluster.cli.commands._endings import conclude
        from calbatch.cluster.exposure.terminal import Console

    result = python_api.run(pipeline, inputs, console=Console(stderr=True), **options)
    return conclude(result, timings=timings)
