"""`calbatch submit`, `resume`, `cancel`, `list`, `prune`: whole batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from rich.table import Table
from rich.text import Text

from calbatch.cluster.batch import liveness
from calbatch.cluster.batch.default_batch import ACTIVE, find_to_cancel, find_to_resume
from calbatch.cluster.batch.stopping import stop_driver
from calbatch.cluster.display.plain_lines import print_json_lines
from calbatch.cluster.display.quantities import DAY
from calbatch.cluster.driver import control
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.exposure.terminal import Console, print_text
from calbatch.cluster.folder import (
    BatchFolder,
    find_batch,
    find_registered,
    forget_batch,
    remove_batch,
)
from calbatch.cluster.ledger import BatchRow, DamagedLedgerError, Ledger, LedgerError, View
from calbatch.cluster.sites.slurm.driver_job import own_job, requeue_job, stop_before_time_limit
from calbatch.models.storage.location import location

HEADINGS = ("batch", "state", "pipeline", "exposures")
"""Headings of the list of batches whose cells are never broken; the last column is the output."""


def submit(pipeline: str, inputs: Sequence[str], **options: Any) -> int:
    """Start a batch in the background, and print its name."""
    from calbatch.cluster.batch.arguments import BatchArguments
    from calbatch.cluster.batch.launching import launch
    from calbatch.cluster.batch.python_api import register

    batch = register(BatchArguments(pipeline, inputs, **options))
    launch(batch, announce=_print_name)
    _print_advice(batch.folder)
    return 0


def _print_name(folder: BatchFolder) -> None:
    print(folder.name, flush=True)  # noqa: T201 - alone on standard output, for scripts


def _print_advice(folder: BatchFolder) -> None:
    """Print the next commands to type while a batch continues in the background."""
    text = (
        "it continues in the background, and you can log out; next:\n"
        f"  calbatch status {folder.name} --watch  # until it has ended\n"
        f"  calbatch logs {folder.name} -f         # its events\n"
        f"  calbatch cancel {folder.name}"
    )
    print_text(Console(stderr=True), text)


def drive(output: str, name: str) -> int:
    """Drive a batch to its end, in a background process or a Slurm job.

    A job that reaches its time limit first is requeued, and continues later.
    """
    from calbatch.cluster.batch.launching import job_name

    folder = BatchFolder(location(output), name)
    folder.secure()
    job = own_job(job_name(folder))
    if (
        control.read_stop_request(folder.control) is control.StopRequest.LATER
    ):  # of the previous run
        control.withdraw_stop_request(folder.control)
    if job is None:
        return _drive(folder)
    try:
        with stop_before_time_limit(
            job, partial(control.request_stop, folder.control, control.StopRequest.LATER)
        ):
            status = _drive(folder)
    except KeyboardInterrupt:
        if control.read_stop_request(folder.control) is not control.StopRequest.LATER:
            raise
        status = liveness.EXIT_STATUS["interrupted"]
    if status == liveness.EXIT_STATUS["interrupted"] and (
        control.read_stop_request(folder.control) is control.StopRequest.LATER
    ):
        _requeue(folder, job)
    return status


def _drive(folder: BatchFolder) -> int:
    from calbatch.cluster.batch.registering import resume_batch
    from calbatch.cluster.batch.report import print_summary
    from calbatch.cluster.batch.session import drive as drive_batch

    console = Console(stderr=True)  # a log that cannot be written stops no batch
    try:
        registered = resume_batch(folder, hold=True)
    except RequestError as error:
        if not isinstance(error, LedgerError):  # the output of this process has no reader
            _note(folder, "failed", str(error))
        raise
    result = drive_batch(registered, console)
    print_summary(result, console)
    return result.exit_status


def _requeue(folder: BatchFolder, job: str) -> None:
    """Requeue this job."""
    _note(folder, "planned", "the driver reached its time limit: its job has been requeued")
    try:
        requeue_job(job)
    except RequestError as error:
        _note(folder, "interrupted", f"the driver reached its time limit: {error}")
        raise


def _note(folder: BatchFolder, state: str, reason: str) -> None:
    with Ledger(folder.state) as ledger:
        ledger.end_batch(ledger.batch(folder.name).id, state, reason)


def resume(batch: str | None, *, detach: bool, debug: bool) -> int:
    """Calibrate the exposures of a batch that are waiting, failed or quarantined."""
    from calbatch.cluster.batch.registering import resume_batch
    from calbatch.cluster.batch.session import drive as drive_batch
    from calbatch.cluster.cli.commands._endings import conclude

    folder = find_to_resume(batch)
    console = Console(stderr=True)
    if batch is None:
        _print_choice(folder)
    registered = resume_batch(folder, failed=True, hold=True)
    if not registered.inputs:
        print_text(console, f"{folder.name}: nothing is left to do")
        return 0
    if detach:
        from calbatch.cluster.batch.launching import launch

        launch(registered, announce=_print_name)
        _print_advice(folder)
        return 0
    return conclude(drive_batch(registered, console, debug=debug))


def cancel(batch: str | None, *, now: bool) -> int:
    """Ask a batch's driver to stop."""
    folder = find_to_cancel(batch)
    folder.secure()
    if batch is None:
        _print_choice(folder)
    stop_driver(folder, now=now)
    action = "abandons running exposures" if now else "finishes running exposures"
    print_text(Console(), f"{folder.name}: {action}, and starts no further exposures")
    return 0


def _print_choice(folder: BatchFolder) -> None:
    """Print the batch that a command without a name is about to change."""
    text = f"batch {folder.name}, with products in {folder.output}"
    print_text(Console(stderr=True), escape_text(text))


def _state(folder: BatchFolder) -> tuple[str, BatchRow]:
    with View(folder.state) as view:
        row = view.batch(folder.name)
    return liveness.batch_state(folder, row), row


def show(*, as_json: bool = False) -> int:
    """List a user's batches."""
    if as_json:
        print_json_lines(_describe_batches())
        return 0
    records = list(_describe_batches())
    table = Table()
    for heading in (*HEADINGS, "output"):
        table.add_column(heading, no_wrap=heading in HEADINGS, overflow="fold")
    for each in records:
        values = (each[heading] for heading in (*HEADINGS, "output"))
        cells = ("?" if value is None else escape_text(str(value)) for value in values)
        table.add_row(*map(Text, cells))
    console = Console()
    console.print(table)
    for each in records:
        if each["dashboard"]:  # below the table, whose narrow columns would break the address
            print_text(console, escape_text(f"{each['batch']}: {each['dashboard']}"))
    return 0


def _describe_batches() -> Iterator[dict[str, str | int | None]]:
    """Yield a user's batches; for those in a damaged ledger, only the names."""
    for folder in find_registered():
        row = None
        try:
            state, row = _state(folder)
        except DamagedLedgerError:
            state = "damaged ledger"
        except LedgerError:
            continue
        yield {
            "batch": folder.name,
            "state": state,
            "pipeline": row.pipeline if row else None,
            "exposures": row.total if row else None,
            "output": str(folder.output),
            "dashboard": row.dashboard or None if row and state == "running" else None,
        }


def prune(batches: Sequence[str], *, older_than: float) -> int:
    """Forget batches that have ended: their records and logs, never their products."""
    console = Console(soft_wrap=True)
    folders = [find_batch(b) for b in batches] or list(find_registered())
    limit = time.time() - (0.0 if batches else older_than * DAY)
    for folder in folders:
        try:
            state, row = _state(folder)
        except DamagedLedgerError as error:
            if batches:
                raise
            console.print(escape_text(str(error)))
            continue
        except LedgerError:
            forget_batch(folder)  # its output folder is gone
            continue
        if state in ACTIVE or row.created > limit:
            if batches:
                raise RequestError(f"{folder.name}: {state}; `calbatch cancel` it first")
            continue
        try:
            _forget(folder, row)
        except (
            LedgerError
        ) as error:  # another batch is running there, or the folder is another user's
            if batches:
                raise
            console.print(escape_text(f"{folder.name}: stays: {error}"))
            continue
        message = f"{folder.name}: forgotten; its products stay in {folder.output}"
        console.print(escape_text(message))
    return 0


def _forget(folder: BatchFolder, row: BatchRow) -> None:
    folder.secure()
    with Ledger(folder.state) as ledger:
        ledger.remove_batch(row.id)
    remove_batch(folder)
