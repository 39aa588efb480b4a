"""`calbatch status`: the progress of a batch."""

from __future__ import annotations

import json
from dataclasses import asdict

from calbatch.cluster.batch.watching.batch_status import (
    Status,
    describe,
    follow,
    read_status,
    watch_batch,
)
from calbatch.cluster.cli.commands.exposure_list import print_exposures
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.terminal import Console
from calbatch.cluster.folder import find_batch


def status(batch: str | None, *, as_json: bool, watch: bool, exposures: bool = False) -> int:
    """Print the progress of a batch; return the exit status for its state.

    Parameters
    ----------
    batch : str, optional
        See `calbatch.cluster.folder.find_batch`.
    as_json : bool
        Print a JSON object instead: one for each update or, with ``exposures``, each exposure.
    watch : bool
        Repeat until the batch has ended: in place in a terminal, else a line for each change.
    exposures : bool
        List all exposures.
    """
    if watch and exposures:
        raise RequestError("--watch, --exposures: give one of them")
    folder, console = find_batch(batch), Console()
    if watch and not as_json:
        return watch_batch(folder, console).exit_status
    if watch:
        return follow(folder, console, _print_json).exit_status
    progress = read_status(folder)
    if exposures:
        print_exposures(folder, as_json=as_json)
    elif as_json:
        _print_json(progress)
    else:
        console.print(describe(progress))
    return progress.exit_status


def _print_json(progress: Status) -> None:
    print(json.dumps(asdict(progress)), flush=True)  # noqa: T201 - for programs
