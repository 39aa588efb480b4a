"""Workers in jobs of Slurm's."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.job import Job
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.owner import owner_is_dead, write_owner
from calbatch.cluster.sites.local import (
    SETTINGS,
    WORKER_ENVIRONMENT,
    dashboard_link,
    interrupts_held,
    routes,
)
from calbatch.cluster.sites.options import SlurmOptions
from calbatch.cluster.sites.remote import fit_hosts
from calbatch.cluster.sites.scheduler import OnCluster
from calbatch.cluster.sites.slurm.commands import (
    common,
    log_pattern,
    plain,
    seconds,
    slurm,
    told,
    without,
)
from calbatch.models.private import NotPrivateError, make_private_folder

log = logging.getLogger(__name__)

FIRST = 30.0
"""Seconds to wait for a first worker, to see whether jobs run at all. A queue may take longer."""

LONGER = 1.1
"""Workers are told of an exposure that took so many times as long as those before."""


@contextmanager
def slurm_cluster(options: SlurmOptions, grain: str, batch: str = "") -> Iterator[OnCluster]:
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
    checked(options, grain)
    with ExitStack() as stack:
        client, cluster = _entered(stack, options, batch)
        _wait(cluster, options)
        fit_hosts(client, "Slurm", grain)
        jobs, cores = options.jobs, options.cores
        plural = "s" * (jobs > 1), "s" * (cores > 1)
        name = f"{jobs} Slurm job{plural[0]} with {cores} worker{plural[1]} each"
        yield OnSlurm(client, grain, name, dashboard_link(client))


def _entered(stack: ExitStack, options: SlurmOptions, batch: str) -> tuple[Any, Any]:
    import dask
    from distributed import Client

    from calbatch.cluster.sites.draining import Draining

    cluster_class, recipe_class = _classes()
    name = workers_name(batch or uuid.uuid4().hex[:12])
    logs = _log_folder(options)
    if batch:
        swept(name, logs)
    _remove_abandoned(logs)
    security, files = _credentials(stack, logs, name) if options.encrypted else (None, {})
    recipe = recipe_class(
        name, sbatch_arguments(options, name, logs), worker_command(options, files),
        before=time_limit(options), variables=worker_variables(options),
    )  # fmt: skip
    stack.enter_context(dask.config.set({**SETTINGS, **routes()}))
    with interrupts_held():
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
            raise RequestError(f"Slurm: {told(str(error))}") from error
    return client, cluster


class OnSlurm(OnCluster):
    """Jobs of Slurm's, whose workers are told how long exposures take.

    One whose time is nearly up begins nothing that takes as long, though it may never have done
    any itself.
    """

    _told = 0.0

    def ended(self, timeout: float) -> list[tuple[Job, Outcome]]:
        """Return what has ended, after waiting for something to end."""
        found = super().ended(timeout)
        longest = max((o.seconds for _, o in found if not o.failed), default=0.0)
        if self.grain == "exposure" and longest > LONGER * self._told:
            self._told = longest
            # In a thread: a worker that does not answer must not keep the others waiting.
            threading.Thread(target=_expect, args=(self.client, longest), daemon=True).start()
        return found


def _expect(client: Any, seconds: float) -> None:
    from calbatch.cluster.sites.draining import expected

    with suppress(Exception):  # the scheduler may be what was lost
        expected(client, seconds)


def workers_name(batch: str) -> str:
    """Return what the jobs of a batch's workers are called."""
    return f"calbatch-{batch}-workers"


def _remove_abandoned(logs: Path) -> None:
    """Remove the certificates of drivers of any batch that were killed on this host."""
    for private in logs.glob(".tls-calbatch-*"):
        if owner_is_dead(private / "owner.json"):
            shutil.rmtree(private, ignore_errors=True)


def swept(name: str, logs: Path) -> None:
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
    if slurm("squeue", "--noheader", *ours):
        slurm("scancel", *ours)
        while slurm("squeue", "--noheader", *ours) and time.monotonic() < limit:
            time.sleep(0.5)
    for private in logs.glob(f".tls-{name}-*"):
        shutil.rmtree(private, ignore_errors=True)


def _classes() -> tuple[Any, Any]:
    try:
        from calbatch.cluster.sites.slurm.jobs import Recipe, WorkerCluster
    except ImportError as error:
        raise RequestError(f"Slurm: {error}; pip install 'calbatch[slurm]'") from error
    for program in ("sbatch", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise RequestError(
                f"Slurm: {program} is not on this machine, from which to submit jobs"
            )
    return WorkerCluster, Recipe


def checked(options: SlurmOptions, grain: str) -> None:
    """See that options can be.

    Raises
    ------
    RequestError
        When one cannot.
    """
    for name, value in vars(options).items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str):
                plain(name, text)
    for name in ("jobs", "cores"):
        if getattr(options, name) < 1:
            raise RequestError(f"{name} {getattr(options, name)}: must be at least 1")
    limit = seconds(options.walltime)
    if limit <= options.margin:
        raise RequestError(
            f"walltime {options.walltime}: must be longer than the margin of {options.margin:g} s"
        )
    if grain == "tile" and options.jobs > 1:
        raise RequestError(
            f"{options.jobs} jobs may be on several hosts, which must not write to one file "
            "together: use --grain exposure"
        )
    _bytes(options.memory)
    without([], options.skip, options.directives)


def _bytes(memory: str) -> int:
    from dask.utils import parse_bytes

    try:
        found = int(parse_bytes(memory))
    except ValueError as error:
        raise RequestError(f"memory {memory!r}: must be like 4GiB ({error})") from None
    if found < 2**20:
        raise RequestError(f"memory {memory!r}: must be at least 1MiB")
    return found


def sbatch_arguments(options: SlurmOptions, name: str, logs: Path) -> list[str]:
    """Return how a job is submitted: arguments of sbatch."""
    output = log_pattern(logs, "worker-%j.log")
    arguments = [
        "--parsable",
        f"--job-name={name}",
        f"--output={output}",
        f"--error={output}",
        "--export=ALL",
        "--no-requeue",  # it is replaced by a new one
        "--ntasks=1",
        f"--cpus-per-task={options.cores}",
        f"--mem={-(-_bytes(options.memory) // 2**20)}M",
        *common(
            partition=options.partition,
            account=options.account,
            walltime=options.walltime,
            more=(),
        ),
    ]
    more = common(partition=None, account=None, walltime=None, more=options.directives)
    return [*without(arguments, options.skip, options.directives), *more]


def worker_command(options: SlurmOptions, files: Mapping[str, str]) -> list[str]:
    """Return what a job runs, but for its name and the scheduler.

    Parameters
    ----------
    options : SlurmOptions
        What the jobs are like.
    files : mapping
        Where certificates are: ``ca-file``, ``cert``, ``key``.
    """
    limit = seconds(options.walltime) - options.margin
    command = [
        *(options.python or sys.executable, "-m", "distributed.cli.dask_worker"),
        *("--nthreads", "1", "--nworkers", str(options.cores), "--nanny"),
        *("--memory-limit", str(_bytes(options.memory) // options.cores)),
        *("--death-timeout", f"{options.patience:g}"),
        *("--lifetime", f"{limit:g} s", "--lifetime-stagger", f"{_stagger(options):g} s"),
        *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
    ]
    if options.scratch:
        command += ["--local-directory", options.scratch]
    if options.worker_interface:
        command += ["--interface", options.worker_interface]
    for name, file in files.items():
        command += [f"--tls-{name}", file]
    return command


def _stagger(options: SlurmOptions) -> float:
    """Return by how much lifetimes differ, so that jobs do not all end at once."""
    return min(options.margin, seconds(options.walltime) / 10) / 2


def time_limit(options: SlurmOptions) -> list[str]:
    """Return lines of shell that tell workers how much time their job has.

    A worker that is started again, after it died, cannot know otherwise.
    """
    from calbatch.cluster.sites.draining import BEGAN, ENDS

    limit = int(seconds(options.walltime) - options.margin)
    return [f"export {BEGAN}=$(date +%s)", f"export {ENDS}=$(({BEGAN} + {limit}))"]


def worker_variables(options: SlurmOptions) -> dict[str, str]:
    """Return what workers find in their environment, settings of dask's included."""
    ours = "distributed.worker.", "distributed.admin."
    settings = {n: v for n, v in SETTINGS.items() if n.startswith(ours)}
    if options.encrypted:
        settings["distributed.comm.require-encryption"] = True
    names = {n: "DASK_" + n.upper().replace(".", "__").replace("-", "_") for n in settings}
    return {**WORKER_ENVIRONMENT, **{names[n]: repr(v) for n, v in settings.items()}}


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
