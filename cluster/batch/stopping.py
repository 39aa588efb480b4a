"""Stop requests to the driver of a batch on any host.

This module imports nothing heavy, since `calbatch cancel` needs nothing else.
"""

from __future__ import annotations

from calbatch.cluster.batch import liveness
from calbatch.cluster.batch.default_batch import ACTIVE
from calbatch.cluster.driver.control import StopRequest, request_stop
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import Ledger, View
from calbatch.cluster.sites.slurm.driver_job import cancel_job


def stop_driver(folder: BatchFolder, *, now: bool = False) -> None:
    """Ask the driver of a batch to stop; cancel its job if that is still queued.

    Parameters
    ----------
    folder : BatchFolder
        The batch's files.
    now : bool
        Abandon the running exposures, instead of finishing them first.

    Raises
    ------
    RequestError
        If the batch is not running.
    LedgerError
        If the ledger cannot be read or, for a queued job, written.
    """
    folder.secure()
    with View(folder.state) as view:
        state = liveness.batch_state(folder, view.batch(folder.name))
    if state not in ACTIVE:
        raise RequestError(f"{folder.name}: is not running ({state})")
    request_stop(folder.control, StopRequest.NOW if now else StopRequest.DRAIN)
    job = liveness.read_job(folder)
    if state == "planned" and job is not None:  # the driver must not start
        cancel_job(job)
        with Ledger(folder.state) as ledger:
            number = ledger.batch(folder.name).id
            ledger.end_batch(number, "cancelled", "cancelled before it started")
