"""The process or job that drives a batch, whether it is alive, and the batch's state."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import BatchRow, HistoryQueries
from calbatch.cluster.ledger.store import BEAT_EVERY
from calbatch.cluster.owner import is_running, write_owner
from calbatch.models.private import write_private_text
from calbatch.models.storage.files import read_small_file
from calbatch.models.storage.location import Location

SILENCE = 60.0
"""Seconds without a sign of life after which a driver on another host is considered dead."""

PATIENCE = 2 * BEAT_EVERY
"""Seconds to wait for a sign of life."""

POLL = 0.2
"""Seconds between looks for one."""

_LONGEST_NOTE = 10_000

EXIT_STATUS = {
    "done": 0,
    "failed": 1,
    "planned": 3,
    "running": 3,
    "interrupted": 130,
    "cancelled": 130,
}
"""Exit status of `calbatch status` by state."""


def record_driver(folder: BatchFolder, pid: int | None = None) -> None:
    """Record the process that drives a batch: this one, or one that has just been started."""
    write_owner(folder.pid, pid)


def record_job(folder: BatchFolder, job: str) -> None:
    """Record the Slurm job that drives a batch."""
    write_private_text(folder.job, job)


def read_job(folder: BatchFolder) -> str | None:
    """Return the number of the Slurm job that drives a batch; None if none does."""
    try:
        # Text has further white space, such as 0x1c.
        job = read_small_file(folder.job, _LONGEST_NOTE).strip()
    except OSError:
        return None
    return job.decode("ascii") if job.isdigit() else None  # a damaged file


def is_job_alive(job: str) -> bool:
    """Return whether a job is pending or running, according to Slurm."""
    from calbatch.cluster.sites.slurm.driver_job import job_state

    try:
        return not job_state(job).ended
    except RequestError:  # no Slurm here
        return False


def is_driver_alive(folder: BatchFolder, batch: BatchRow) -> bool:
    """Return whether the recorded driver of a batch is still alive."""
    try:
        driver = json.loads(read_small_file(folder.pid, _LONGEST_NOTE))
        host, pid, created = str(driver["host"]), int(driver["pid"]), float(driver["created"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return False
    if host != socket.gethostname():
        return time.time() - (batch.beat or 0.0) < SILENCE
    return is_running(pid, created)


def is_beating(history: HistoryQueries, name: str) -> bool:
    """Wait for a sign of life from the driver of a batch; return False if there is none."""
    last, end = history.batch(name).beat, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(POLL)
        if history.batch(name).beat != last:
            return True
    return False


def find_driven(history: HistoryQueries, output: Location) -> frozenset[str]:
    """Return the names of the batches of an output folder whose drivers are alive."""
    rows = history.running_batches()
    return frozenset(r.name for r in rows if is_driver_alive(BatchFolder(output, r.name), r))


def batch_state(folder: BatchFolder, batch: BatchRow) -> str:
    """Return a batch's state: the one that its driver recorded last, unless it has died since."""
    job = read_job(folder)
    if batch.state == "interrupted" and job is not None:  # Slurm may have requeued the job
        return "planned" if is_job_alive(job) else batch.state
    if batch.state not in ("planned", "running") or is_driver_alive(folder, batch):
        return batch.state
    if job is not None:
        return "planned" if is_job_alive(job) else "interrupted"
    has_begun = batch.state == "running" or folder.pid.exists()
    has_begun = has_begun or time.time() - batch.created > SILENCE  # killed before its driver began
    return "interrupted" if has_begun else batch.state


def start_detached(command: list[str], log: Path) -> int:
    """Start a process that outlives this one and its terminal; return its ID."""
    import subprocess

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL, stdout=descriptor, stderr=subprocess.STDOUT,
            start_new_session=True, close_fds=True,
        )  # fmt: skip
    finally:
        os.close(descriptor)
    threading.Thread(target=process.wait, daemon=True).start()  # leaves no zombie
    return process.pid
