"""The jobs of a Slurm site: its options as arguments of sbatch and as commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites.local import DASK_SETTINGS, WORKER_ENVIRONMENT
from calbatch.cluster.sites.options import SlurmOptions
from calbatch.cluster.sites.slurm.commands import (
    check_text,
    drop_arguments,
    is_sent,
    log_pattern,
    placement_arguments,
    walltime_seconds,
)
from calbatch.cluster.sites.slurm.driver_job import DriverJob


def check_options(options: SlurmOptions, grain: str) -> None:
    """Refuse options that cannot work.

    Raises
    ------
    RequestError
        If there is such an option; the message names it.
    """
    for name, value in vars(options).items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str):
                check_text(name, text)
    for name in ("jobs", "cores"):
        if getattr(options, name) < 1:
            raise RequestError(f"{name} {getattr(options, name)}: must be at least 1")
    limit = walltime_seconds(options.walltime)
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
    drop_arguments([], options.skip, options.directives)


def _bytes(memory: str) -> int:
    from dask.utils import parse_bytes

    try:
        count = int(parse_bytes(memory))
    except ValueError as error:
        raise RequestError(f"memory {memory!r}: must be like 4GiB ({error})") from None
    if count < 2**20:
        raise RequestError(f"memory {memory!r}: must be at least 1MiB")
    return count


def single_worker_job(options: SlurmOptions) -> SlurmOptions:
    """Return the options of one job with a single worker and twice a worker's usual memory.

    If memory comes with cores, because ``--mem`` is not sent, the job gets more cores. If
    neither is sent, the worker gets the memory of a whole job.
    """
    whole = _bytes(options.memory)
    memory = max(whole, 2 * (whole // options.cores))
    directives = options.directives
    if not is_sent("mem", options.skip, directives):
        if is_sent("cpus-per-task", options.skip, directives):
            directives = (*directives, f"--cpus-per-task={max(options.cores, 2)}")
        else:
            memory = whole
    return replace(options, jobs=1, cores=1, memory=f"{memory // 2**20}MiB", directives=directives)


def driver_job(options: SlurmOptions, name: str) -> DriverJob:
    """Return the job that runs a batch's driver.

    Parameters
    ----------
    options : SlurmOptions
        The site's options.
    name : str
        The job's name.
    """
    limit, job = options.driver_walltime, DriverJob(name)
    if limit is not None:  # leave at most a quarter of a short job for stopping
        job = replace(job, walltime=limit, warning=min(job.warning, walltime_seconds(limit) // 4))
    return replace(
        job,
        partition=options.partition,
        account=options.account,
        directives=options.driver_directives,
        skip=options.skip,
    )


def sbatch_arguments(options: SlurmOptions, name: str, logs: Path) -> list[str]:
    """Return the arguments of sbatch for a worker job.

    Parameters
    ----------
    options : SlurmOptions
        The site's options.
    name : str
        The job's name.
    logs : Path
        Folder for its log.
    """
    output = log_pattern(logs, "worker-%j.log")
    arguments = [
        "--parsable",
        f"--job-name={name}",
        f"--output={output}",
        f"--error={output}",
        "--export=ALL",
        "--no-requeue",  # a new job replaces it
        "--ntasks=1",
        f"--cpus-per-task={options.cores}",
        f"--mem={-(-_bytes(options.memory) // 2**20)}M",
        *placement_arguments(
            partition=options.partition,
            account=options.account,
            walltime=options.walltime,
            more=(),
        ),
    ]
    more = placement_arguments(partition=None, account=None, walltime=None, more=options.directives)
    return [*drop_arguments(arguments, options.skip, options.directives), *more]


def worker_command(options: SlurmOptions, files: Mapping[str, str]) -> list[str]:
    """Return the command of a worker job, without the workers' name and the scheduler.

    Parameters
    ----------
    options : SlurmOptions
        The site's options.
    files : mapping
        Paths of certificates: ``ca-file``, ``cert``, ``key``.
    """
    limit = walltime_seconds(options.walltime) - options.margin
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
    """Return the spread of workers' lifetimes, so that jobs do not all end at once."""
    return min(options.margin, walltime_seconds(options.walltime) / 10) / 2


def time_limit(options: SlurmOptions) -> list[str]:
    """Return shell lines that set the start and end times of a job for its workers.

    A worker that is restarted after a crash has no other way to learn them.
    """
    from calbatch.cluster.sites.draining import BEGAN, ENDS

    limit = int(walltime_seconds(options.walltime) - options.margin)
    return [f"export {BEGAN}=$(date +%s)", f"export {ENDS}=$(({BEGAN} + {limit}))"]


def worker_variables(options: SlurmOptions) -> dict[str, str]:
    """Return the environment variables of workers, with dask's settings among them."""
    sections = "distributed.worker.", "distributed.admin."
    settings = {n: v for n, v in DASK_SETTINGS.items() if n.startswith(sections)}
    if options.encrypted:
        settings["distributed.comm.require-encryption"] = True
    names = {n: "DASK_" + n.upper().replace(".", "__").replace("-", "_") for n in settings}
    return {**WORKER_ENVIRONMENT, **{names[n]: repr(v) for n, v in settings.items()}}
