"""`calbatch submit`, `resume`, `cancel`, `list`, `prune`, `report`: batches as wholes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from calbatch.cluster.batch import liveness
from calbatch.cluster.driver import control
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.terminal import Console, harmless
from calbatch.cluster.folder import BatchFolder, find, forget, registered, remove
from calbatch.cluster.ledger import BatchRow, DamagedLedgerError, Ledger, LedgerError, View
from calbatch.cluster.sites.config import NamedSite
from calbatch.cluster.sites.options import SlurmOptions
from calbatch.cluster.sites.slurm.commands import seconds
from calbatch.cluster.sites.slurm.driver_job import (
    DriverJob,
    cancel_job,
    own_job,
    requeue_job,
    submit_driver,
    warned,
)
from calbatch.models.storage.location import location

if TYPE_CHECKING:
    from calbatch.cluster.batch.service import Begun

DAY = 86400.0


def submit(pipeline: str, inputs: Sequence[str], **options: Any) -> int:
    """Enter a batch, have a process of its own drive it, and print the batch's name."""
    from calbatch.cluster.batch.api import ordered
    from calbatch.cluster.batch.service import begin

    begun = begin(*ordered(pipeline, inputs, **options))
    _launched(begun)
    print(begun.folder.name)  # noqa: T201 - what a script reads
    return 0


def _launched(begun: Begun) -> None:
    """Start a driver; where that is refused, leave no batch that waits for one.

    Raises
    ------
    RequestError, OSError
        When it is refused.
    """
    from calbatch.cluster.batch.registering import abandon

    try:
        launch(begun.folder, begun.place.named)
    except (RequestError, OSError) as error:
        why = f"its driver could not be started: {error}"
        abandon(begun.folder, why, fresh=begun.fresh)
        raise


def launch(folder: BatchFolder, site: NamedSite | None = None) -> None:
    """Start a driver of a batch: a job where workers are jobs, otherwise in the background."""
    program = [sys.executable, "-P", "-m", "calbatch.cluster", "drive"]
    command = [*program, str(folder.output), folder.name]
    earlier_job = liveness.queued(folder)
    if earlier_job is not None and liveness.job_lives(earlier_job):  # it waits, to go on by itself
        cancel_job(earlier_job)
    for earlier in (folder.pid, folder.job):
        earlier.unlink(missing_ok=True)
    if site is not None and isinstance(site.options, SlurmOptions):
        liveness.queue(
            folder, submit_driver(command, folder.log, _driver_job(folder, site.options))
        )
    else:
        liveness.sign(folder, liveness.detached(command, folder.log))


def _driver_job(folder: BatchFolder, options: SlurmOptions) -> DriverJob:
    limit, how = options.driver_walltime, DriverJob(_job_name(folder))
    if limit is not None:  # of a short one, not half is for stopping
        how = replace(how, walltime=limit, warning=min(how.warning, seconds(limit) // 4))
    return replace(
        how,
        partition=options.partition,
        account=options.account,
        directives=options.driver_directives,
        skip=options.skip,
    )


def _job_name(folder: BatchFolder) -> str:
    return f"calbatch-{folder.name}"


def drive(output: str, name: str) -> int:
    """Drive a batch to its end: what detached processes run.

    Where that is a job whose time is up before, it goes back into the queue, to go on later.
    """
    folder = BatchFolder(location(output), name)
    folder.secure()
    job = own_job(_job_name(folder))
    if control.wished(folder.control) is control.Wish.LATER:  # of the time before
        control.take_back(folder.control)
    if job is None:
        return _driven(folder)
    try:
        with warned(job, partial(control.ask, folder.control, control.Wish.LATER)):
            status = _driven(folder)
    except KeyboardInterrupt:
        if control.wished(folder.control) is not control.Wish.LATER:
            raise
        status = liveness.EXIT["interrupted"]
    if status == liveness.EXIT["interrupted"] and (
        control.wished(folder.control) is control.Wish.LATER
    ):
        _go_on_later(folder, job)
    return status


def _driven(folder: BatchFolder) -> int:
    from calbatch.cluster.batch.report import summary
    from calbatch.cluster.batch.service import drive as driven
    from calbatch.cluster.batch.service import taken_up

    begun = taken_up(folder)
    console = Console(width=120)
    result = driven(begun, console)
    summary(result, console)
    return result.exit_status


def _go_on_later(folder: BatchFolder, job: str) -> None:
    """Put this job back into the queue."""
    _note(folder, "planned", "the driver's time was up: its job is in the queue again")
    try:
        requeue_job(job)
    except RequestError as error:
        _note(folder, "interrupted", f"the driver's time is up: {error}")
        raise


def _note(folder: BatchFolder, state: str, reason: str) -> None:
    with Ledger(folder.state) as ledger:
        ledger.end(ledger.batch(folder.name).id, state, reason)


def resume(batch: str | None, *, detach: bool, debug: bool) -> int:
    """Do what is left of a batch: what waits, failed, or was quarantined."""
    from calbatch.cluster.batch.report import summary
    from calbatch.cluster.batch.service import drive as driven
    from calbatch.cluster.batch.service import taken_up

    folder = find(batch)
    begun = taken_up(folder, failed=True)
    console = Console(stderr=True)
    if not begun.inputs:
        console.print(f"{folder.name}: nothing is left to do", markup=False, highlight=False)
        return 0
    if detach:
        _launched(begun)
        print(folder.name)  # noqa: T201
        return 0
    result = driven(begun, console, debug=debug)
    summary(result, Console())
    return result.exit_status


def cancel(batch: str | None, *, now: bool) -> int:
    """Ask a batch's driver to end."""
    folder = find(batch)
    folder.secure()
    state, _ = _state(folder)
    if state not in ("running", "planned"):
        raise RequestError(f"{folder.name}: is not running ({state})")
    control.ask(folder.control, control.Wish.NOW if now else control.Wish.DRAIN)
    job = liveness.queued(folder)
    if state == "planned" and job is not None:  # its driver is to find nothing to do
        cancel_job(job)
        _note(folder, "cancelled", "cancelled before it began")
    what = "gives up what is under way" if now else "finishes what is under way"
    Console().print(f"{folder.name}: {what}, and begins nothing more", highlight=False)
    return 0


def _state(folder: BatchFolder) -> tuple[str, BatchRow]:
    with View(folder.state) as view:
        row = view.batch(folder.name)
    return liveness.state_of(folder, row), row


def show() -> int:
    """List a user's batches."""
    table = Table()
    for heading in ("batch", "state", "pipeline", "exposures"):
        table.add_column(heading, no_wrap=True, overflow="fold")
    table.add_column("output", overflow="fold")
    for folder in registered():
        try:
            state, row = _state(folder)
        except DamagedLedgerError:
            table.add_row(folder.name, "damaged ledger", "?", "?", _shown(folder))
            continue
        except LedgerError:
            continue
        pipeline = Text(harmless(row.pipeline))
        table.add_row(folder.name, state, pipeline, str(row.total), _shown(folder))
    Console().print(table)
    return 0


def _shown(folder: BatchFolder) -> Text:
    """Return a batch's output as it can be shown: in one line, whatever is in its name."""
    return Text(harmless(str(folder.output)))


def prune(batches: Sequence[str], *, older_than: float) -> int:
    """Forget batches that have ended: their records and logs, never their products."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    chosen = [find(b) for b in batches] or list(registered())
    limit = time.time() - (0.0 if batches else older_than * DAY)
    for folder in chosen:
        try:
            state, row = _state(folder)
        except DamagedLedgerError as error:
            if batches:
                raise
            console.print(harmless(str(error)))
            continue
        except LedgerError:
            forget(folder)  # its output is gone
            continue
        if state in ("running", "planned") or row.created > limit:
            if batches:
                raise RequestError(f"{folder.name}: {state}; `calbatch cancel` it first")
            continue
        try:
            _forget(folder, row)
        except LedgerError as error:  # another batch is at work there, or it is not ours any more
            if batches:
                raise
            console.print(harmless(f"{folder.name}: stays: {error}"))
            continue
        told = f"{folder.name}: forgotten; its products stay in {folder.output}"
        console.print(harmless(told))
    return 0


def _forget(folder: BatchFolder, row: BatchRow) -> None:
    folder.secure()
    with Ledger(folder.state) as ledger:
        ledger.forget(row.id)
    remove(folder)


def report(batch: str | None, *, timings: bool) -> int:
    """Print what a batch came to."""
    from calbatch.cluster.batch.report import summary
    from calbatch.cluster.batch.result import Result

    folder = find(batch)
    state, row = _state(folder)
    ended = time.time() if state == "running" else row.ended or row.created
    summary(Result(folder, ended - (row.started or row.created)), Console(), timings=timings)
    return liveness.EXIT[state]
