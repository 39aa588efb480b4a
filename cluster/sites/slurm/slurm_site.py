"""Workers in jobs of Slurm's."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.job import Job
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.owner import is_owner_dead, write_owner
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.local import (
    DASK_SETTINGS,
    dashboard_link,
    hold_interrupts,
    http_routes,
    make_worker_folder,
)
from calbatch.cluster.sites.options import SlurmOptions
from calbatch.cluster.sites.remote import check_workers
from calbatch.cluster.sites.slurm.commands import error_line, run_slurm
from calbatch.cluster.sites.slurm.job_options import (
    check_options,
    sbatch_arguments,
    time_limit,
    worker_command,
    worker_variables,
)
from calbatch.models.private import NotPrivateError, make_private_folder

log = logging.getLogger(__name__)

FIRST = 30.0
"""Seconds to wait for a first worker, to see whether jobs run at all. A queue may take longer."""

LONGER = 1.1
"""Workers are told of an exposure that took so many times as long as those before."""


@contextmanager
def open_slurm(options: SlurmOptions, grain: str, batch: str = "") -> Iterator[DaskSite]:
    """Give a scheduler in this process, with workers in jobs of Slurm's.

    Jobs that end are replaced. Scheduler and workers talk by TLS, with certificates for this one
    time. When the context ends, so do the jobs.

    Parameters
    ----------
    options : SlurmOptions
        What the jobs are like.
    grain : {"exposure", "tile"}
        What a task is.
    batch : str
        The batch's name, where it is for one. Jobs and certificates of an earlier driver of it,
        which was killed, are ended and removed first.

    Raises
    ------
    RequestError
        When an option cannot be, Slurm refuses the jobs, or their workers cannot calibrate.
    """
    check_options(options, grain)
    with ExitStack() as stack:
        client, cluster = _start(stack, options, batch)
        _wait(cluster, options)
        check_workers(client, "Slurm", grain)
        jobs, cores = options.jobs, options.cores
        plural = "s" * (jobs > 1), "s" * (cores > 1)
        name = f"{jobs} Slurm job{plural[0]} with {cores} worker{plural[1]} each"
        yield SlurmSite(client, grain, name, dashboard_link(client))


def _start(stack: ExitStack, options: SlurmOptions, batch: str) -> tuple[Any, Any]:
    import dask
    from distributed import Client

    from calbatch.cluster.sites.draining import Draining

    cluster_class, recipe_class = _classes()
    name = workers_name(batch or uuid.uuid4().hex[:12])
    logs = _log_folder(options)
    if batch:
        end_jobs(name, logs)
    _remove_abandoned(logs)
    security, files = _credentials(stack, logs, name) if options.encrypted else (None, {})
    recipe = recipe_class(
        name, sbatch_arguments(options, name, logs), worker_command(options, files),
        before=time_limit(options), variables=worker_variables(options),
    )  # fmt: skip
    folder = {"temporary-directory": str(make_worker_folder(stack))}
    stack.enter_context(dask.config.set({**DASK_SETTINGS, **http_routes(), **folder}))
    with hold_interrupts():
        try:
            cluster = cluster_class(
                recipe,
                options.jobs,
                options.cores,
                memory=options.memory,
                security=security,
                protocol=None if security else "tcp://",
                scheduler_options=_listening(options),
                silence_logs=50,
            )
            stack.callback(cluster.close)
            client = stack.enter_context(Client(cluster, set_as_default=False))
            client.register_plugin(Draining())
            cluster.submit()
        except (RuntimeError, OSError, ValueError) as error:
            raise RequestError(f"Slurm: {error_line(str(error))}") from error
    return client, cluster


class SlurmSite(DaskSite):
    """Jobs of Slurm's, whose workers are told how long exposures take.

    One whose time is nearly up begins nothing that takes as long, though it may never have done
    any itself.
    """

    _reported_longest = 0.0

    def collect(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Return what has ended, after waiting for something to end."""
        found = super().collect(timeout)
        longest = max((o.seconds for _, o in found if not o.failed), default=0.0)
        if self.grain == "exposure" and longest > LONGER * self._reported_longest:
            self._reported_longest = longest
            # In a thread: a worker that does not answer must not keep the others waiting.
            threading.Thread(target=_expect, args=(self.client, longest), daemon=True).start()
        return found


def _expect(client: Any, seconds: float) -> None:
    from calbatch.cluster.sites.draining import announce_duration

    with suppress(Exception):  # the scheduler may be what was lost
        announce_duration(client, seconds)


def workers_name(batch: str) -> str:
    """Return what the jobs of a batch's workers are called."""
    return f"calbatch-{batch}-workers"


def _remove_abandoned(logs: Path) -> None:
    """Remove the certificates of drivers of any batch that were killed on this host."""
    for private in logs.glob(".tls-calbatch-*"):
        if is_owner_dead(private / "owner.json"):
            shutil.rmtree(private, ignore_errors=True)


def end_jobs(name: str, logs: Path) -> None:
    """End the jobs of a driver that was killed, and remove its certificates.

    Its workers could otherwise still write what a new driver's have written.

    Parameters
    ----------
    name : str
        The jobs'.
    logs : Path
        Where the certificates are.

    Raises
    ------
    RequestError
        When Slurm does not answer.
    """
    ours = (f"--name={name}", f"--user={os.getuid()}")
    limit = time.monotonic() + FIRST
    if run_slurm("squeue", "--noheader", *ours):
        run_slurm("scancel", *ours)
        while run_slurm("squeue", "--noheader", *ours) and time.monotonic() < limit:
            time.sleep(0.5)
    for private in logs.glob(f".tls-{name}-*"):
        shutil.rmtree(private, ignore_errors=True)


def end_batch_jobs(options: SlurmOptions, batch: str) -> None:
    """End the worker jobs of a batch whose driver has died; see `end_jobs`."""
    end_jobs(workers_name(batch), Path(options.logs).expanduser().absolute())


def _classes() -> tuple[Any, Any]:
    try:
        from calbatch.cluster.sites.slurm.worker_jobs import Recipe, WorkerCluster
    except ImportError as error:
        raise RequestError(f"Slurm: {error}; pip install 'calbatch[slurm]'") from error
    for program in ("sbatch", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise RequestError(
                f"Slurm: {program} is not on this machine, from which to submit jobs"
            )
    return WorkerCluster, Recipe


def _log_folder(options: SlurmOptions) -> Path:
    folder = Path(options.logs).expanduser().absolute()
    try:
        return make_private_folder(folder, "name another one in the site's option logs")
    except NotPrivateError as error:  # who can exchange certificates can run code
        raise RequestError(str(error)) from error
    except OSError as error:
        raise RequestError(f"{folder}: cannot have logs: {error.strerror}") from error


def _credentials(stack: ExitStack, folder: Path, name: str) -> tuple[Any, dict[str, str]]:
    """Make certificates for this one time; return dask's object, and the workers' files.

    Whoever reads them can run code on the workers: they are for this user alone.
    """
    from distributed import Security

    try:
        made = Security.temporary()
    except ImportError as error:
        raise RequestError(f"Slurm: {error}; pip install 'calbatch[slurm]'") from error
    private = Path(tempfile.mkdtemp(prefix=f".tls-{name}-", dir=folder))
    stack.callback(shutil.rmtree, private, ignore_errors=True)
    write_owner(private / "owner.json")
    files = {}
    texts = {"ca-file": made.tls_ca_file, "cert": made.tls_worker_cert, "key": made.tls_worker_key}
    for name, text in texts.items():
        files[name] = str(private / f"{name}.pem")
        descriptor = os.open(files[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    roles = ("client", "scheduler", "worker")
    own = {f"tls_{role}_{part}": files[part] for role in roles for part in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=files["ca-file"], **own), files


def _listening(options: SlurmOptions) -> dict[str, Any]:
    """Return where the scheduler listens: at one address, its dashboard on this machine only."""
    from distributed.utils import get_ip

    where = {"interface": options.interface} if options.interface else {"host": get_ip()}
    return {**where, "port": options.port, "dashboard_address": "127.0.0.1:0"}


def _wait(cluster: Any, options: SlurmOptions) -> None:
    """Wait for a first worker, or until it is plain that jobs only wait for their turn.

    Raises
    ------
    RequestError
        When jobs end and no worker comes.
    """
    limit = time.monotonic() + FIRST
    while not cluster.scheduler.workers and time.monotonic() < limit:
        if cluster.wasted >= max(2, options.jobs):
            raise RequestError(f"Slurm: jobs end and no worker comes: {_last_words(options)}")
        time.sleep(0.1)


def _last_words(options: SlurmOptions) -> str:
    folder = _log_folder(options)
    logs = sorted(folder.glob("worker-*.log"), key=lambda p: p.stat().st_mtime)
    for path in reversed(logs):
        lines = path.read_text(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return f"{path}: {said[-1]}"
    return f"{folder} has no logs; do the nodes share it?"
