"""Starting the driver of a batch: in the background, or in a Slurm job."""

from __future__ import annotations

import sys
from collections.abc import Callable

from calbatch.cluster.batch import liveness
from calbatch.cluster.batch.registering import RegisteredBatch, abandon_batch
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.sites.kinds import find_kind
from calbatch.cluster.sites.named_sites import NamedSite
from calbatch.cluster.sites.slurm.driver_job import cancel_job, submit_driver


def launch(
    batch: RegisteredBatch, announce: Callable[[BatchFolder], object] = lambda folder: None
) -> None:
    """Start the driver of a batch, or abandon the batch if the driver is refused.

    Parameters
    ----------
    batch : RegisteredBatch
        The batch.
    announce : callable
        Announces the batch to the user before it is started.

    Raises
    ------
    RequestError, OSError
        If the driver is refused, or the batch cannot be announced.
    """
    with batch.hold_ledger() as ledger:
        try:
            announce(batch.folder)
            start_driver(batch.folder, batch.place.named_site)
        except (RequestError, OSError) as error:
            reason = f"its driver could not be started: {error}"
            abandon_batch(ledger, batch.folder, reason, fresh=batch.fresh)
            raise


def start_driver(folder: BatchFolder, site: NamedSite | None = None) -> None:
    """Start a driver: a job if the site's workers are jobs, a process in the background if not."""
    program = [sys.executable, "-P", "-m", "calbatch.cluster", "drive"]
    command = [*program, str(folder.output), folder.name]
    earlier_job = liveness.read_job(folder)
    if earlier_job is not None and liveness.is_job_alive(earlier_job):  # queued, to continue
        cancel_job(earlier_job)
    for earlier in (folder.pid, folder.job):
        earlier.unlink(missing_ok=True)
    job = find_kind(site.kind).driver_job(site.options, job_name(folder)) if site else None
    if job is not None:
        liveness.record_job(folder, submit_driver(command, folder.log, job))
    else:
        liveness.record_driver(folder, liveness.start_detached(command, folder.log))


def job_name(folder: BatchFolder) -> str:
    """Return the name of the job that drives a batch."""
    return f"calbatch-{folder.name}"
