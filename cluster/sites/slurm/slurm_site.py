"""The Slurm site: a scheduler in this process, and workers in Slurm jobs."""

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
    hold_interrupts,
    http_routes,
    make_worker_folder,
)
from calbatch.cluster.sites.options import SlurmOptions
from calbatch.cluster.sites.page.links import dashboard_link
from calbatch.cluster.sites.remote import check_workers
from calbatch.cluster.sites.slurm.commands import error_line, run_slurm
from calbatch.cluster.sites.slurm.job_options import (
    check_options,
    sbatch_arguments,
    time_limit,
    worker_command,
    worker_variables,
)
from calbatch.models.errors import format_count
from calbatch.models.private import NotPrivateError, make_private_folder

log = logging.getLogger(__name__)

FIRST = 30.0
"""Seconds to wait for a first worker, to see whether jobs start at all; queues may take longer."""

NOTABLY_LONGER = 1.1
"""Factor over the longest duration so far above which workers are sent a new one."""


@contextmanager
def open_slurm(options: SlurmOptions, grain: str, batch: str = "") -> Iterator[DaskSite]:
    """Start a scheduler in this process and workers in Slurm jobs, and yield them as a site.

    Jobs that end are replaced. Scheduler and workers communicate by TLS, with temporary
    certificates. The jobs are cancelled when the context ends.

    Parameters
    ----------
    options : SlurmOptions
        The site's options.
    grain : {"exposure", "tile"}
        Size of a task.
    batch : str
        Name of the batch that the site is for, if any. Jobs and certificates left by a killed
        driver of this batch are removed first.

    Raises
    ------
    RequestError
        If an option is wrong, Slurm refuses the jobs, or their workers are unfit to calibrate.
    """
    check_options(options, grain)
    with ExitStack() as stack:
        client, cluster = _start(stack, options, batch)
        _wait(cluster, options)
        check_workers(client, "Slurm", grain)
        jobs = format_count(options.jobs, "Slurm job")
        name = f"{jobs} with {format_count(options.cores, 'worker')} each"
        yield SlurmSite(client, grain, name, dashboard_link(client))


def _start(stack: ExitStack, options: SlurmOptions, batch: str) -> tuple[Any, Any]:
    import dask
    from distributed import Client

    from calbatch.cluster.sites import dashboard
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
    routes = http_routes(dashboard.__name__)
    stack.enter_context(dask.config.set({**DASK_SETTINGS, **routes, **folder}))
    with hold_interrupts():
        try:
            cluster = cluster_class(
                recipe,
                options.jobs,
                options.cores,
                memory=options.memory,
                security=security,
                protocol=None if security else "tcp://",
                scheduler_options=_scheduler_addresses(options),
                silence_logs=50,
            )
            stack.callback(cluster.close)
            dashboard.add_dashboard(cluster.scheduler)
            client = stack.enter_context(Client(cluster, set_as_default=False))
            client.register_plugin(Draining())
            cluster.submit()
        except (RuntimeError, OSError, ValueError) as error:
            raise RequestError(f"Slurm: {error_line(str(error))}") from error
    return client, cluster


class SlurmSite(DaskSite):
    """Slurm jobs whose workers receive the duration of the longest exposure.

    A worker near its time limit starts no exposure that takes longer than the time left, even if it
    has not calibrated any itself.
    """

    _reported_longest = 0.0

    def collect(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Wait for exposures to end, and return those that have."""
        outcomes = super().collect(timeout)
        longest = max((o.seconds for _, o in outcomes if not o.failed), default=0.0)
        if self.grain == "exposure" and longest > NOTABLY_LONGER * self._reported_longest:
            self._reported_longest = longest
            # In a thread, since a worker that does not answer would delay the others.
            threading.Thread(target=_expect, args=(self.client, longest), daemon=True).start()
        return outcomes


def _expect(client: Any, seconds: float) -> None:
    from calbatch.cluster.sites.draining import announce_duration

    with suppress(Exception):  # the scheduler may be lost
        announce_duration(client, seconds)


def workers_name(batch: str) -> str:
    """Return the name of a batch's worker jobs."""
    return f"calbatch-{batch}-workers"


def _remove_abandoned(logs: Path) -> None:
    """Remove certificates left by killed drivers of this host, of any batch."""
    for private in logs.glob(".tls-calbatch-*"):
        if is_owner_dead(private / "owner.json"):
            shutil.rmtree(private, ignore_errors=True)


def end_jobs(name: str, logs: Path) -> None:
    """Cancel the worker jobs of a killed driver, and remove its certificates.

    Otherwise its workers could overwrite products of a new driver's workers.

    Parameters
    ----------
    name : str
        Name of the jobs.
    logs : Path
        Folder of the certificates.

    Raises
    ------
    RequestError
        If Slurm does not answer.
    """
    selection = (f"--name={name}", f"--user={os.getuid()}")
    limit = time.monotonic() + FIRST
    if run_slurm("squeue", "--noheader", *selection):
        run_slurm("scancel", *selection)
        while run_slurm("squeue", "--noheader", *selection) and time.monotonic() < limit:
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
                f"Slurm: {program} is not installed on this machine, from which jobs are submitted"
            )
    return WorkerCluster, Recipe


def _log_folder(options: SlurmOptions) -> Path:
    folder = Path(options.logs).expanduser().absolute()
    try:
        return make_private_folder(folder, "name another one in the site's option logs")
    except NotPrivateError as error:  # anybody who can replace certificates can run code
        raise RequestError(str(error)) from error
    except OSError as error:
        raise RequestError(f"{folder}: cannot create the log folder: {error.strerror}") from error


def _credentials(stack: ExitStack, folder: Path, name: str) -> tuple[Any, dict[str, str]]:
    """Create temporary certificates; return dask's security object and the workers' files.

    The files are readable by this user alone: anybody who reads them can run code on the workers.
    """
    from distributed import Security

    try:
        security = Security.temporary()
    except ImportError as error:
        raise RequestError(f"Slurm: {error}; pip install 'calbatch[slurm]'") from error
    private = Path(tempfile.mkdtemp(prefix=f".tls-{name}-", dir=folder))
    stack.callback(shutil.rmtree, private, ignore_errors=True)
    write_owner(private / "owner.json")
    files = {}
    texts = {
        "ca-file": security.tls_ca_file,
        "cert": security.tls_worker_cert,
        "key": security.tls_worker_key,
    }
    for name, text in texts.items():
        files[name] = str(private / f"{name}.pem")
        descriptor = os.open(files[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    roles = ("client", "scheduler", "worker")
    certificates = {f"tls_{role}_{part}": files[part] for role in roles for part in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=files["ca-file"], **certificates), files


def _scheduler_addresses(options: SlurmOptions) -> dict[str, Any]:
    """Return the scheduler's addresses: one for workers, and the dashboard's on this machine."""
    from distributed.utils import get_ip

    from calbatch.cluster.sites.dashboard import scheduler_options

    where = {"interface": options.interface} if options.interface else {"host": get_ip()}
    here = {"dashboard_address": "127.0.0.1:0", **scheduler_options()}
    return {**where, "port": options.port, **here}


def _wait(cluster: Any, options: SlurmOptions) -> None:
    """Wait for a first worker, or until the jobs are known to be waiting in the queue.

    Raises
    ------
    RequestError
        If jobs end and no worker arrives.
    """
    limit = time.monotonic() + FIRST
    while not cluster.scheduler.workers and time.monotonic() < limit:
        if cluster.wasted >= max(2, options.jobs):
            raise RequestError(f"Slurm: jobs end and no worker arrives: {_last_words(options)}")
        time.sleep(0.1)


def _last_words(options: SlurmOptions) -> str:
    folder = _log_folder(options)
    logs = sorted(folder.glob("worker-*.log"), key=lambda p: p.stat().st_mtime)
    for path in reversed(logs):
        lines = path.read_text(errors="replace").split("\n")
        messages = [line.strip() for line in lines if line.strip()]
        if messages:
            return f"{path}: {messages[-1]}"
    return f"{folder} has no logs; do the nodes share it?"
