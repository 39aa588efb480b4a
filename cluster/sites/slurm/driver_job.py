"""A batch's driver as a Slurm job: submitting, querying, stopping and requeueing it."""

from __future__ import annotations

import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.interrupts import interrupt
from calbatch.cluster.sites.slurm.commands import (
    check_text,
    drop_arguments,
    job_script,
    log_pattern,
    placement_arguments,
    run_slurm,
)

ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "TIMEOUT"),
)
"""States of jobs that will not run again."""

UNKNOWN = "UNKNOWN"
"""The state of a job that Slurm has forgotten."""

NEAR = 180.0
"""Seconds before a job's end from which SIGTERM announces the time limit.

Slurm may send the signal a minute early.
"""

RESERVE = 20.0
"""Seconds before a job's end at which running work is interrupted, so that it can end properly."""


@dataclass(frozen=True)
class DriverJob:
    """The definition of a driver's job.

    Attributes
    ----------
    name : str
        The job's name in the queue.
    walltime : str, optional
        Time limit, as in Slurm; the partition's by default.
    memory : str
        Memory, as in Slurm.
    cores : int
        Number of cores.
    warning : int
        Seconds before the time limit at which the job gets SIGTERM, so that it can stop properly.
    partition, account : str, optional
        The partition, and the account to charge; Slurm's defaults by default.
    directives : sequence of str
        Further options of sbatch, each as ``--NAME=VALUE``; they replace those set here.
    skip : sequence of str
        Options of sbatch to leave out, for clusters that forbid them; see
        `calbatch.cluster.sites.slurm.commands.SKIPPABLE`.
    variables : mapping
        Environment variables, in addition to those of this process.
    """

    name: str = "calbatch"
    walltime: str | None = None
    memory: str = "2G"
    cores: int = 1
    warning: int = 60
    partition: str | None = None
    account: str | None = None
    directives: Sequence[str] = ()
    skip: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobState:
    """The state of a job, according to Slurm.

    Attributes
    ----------
    state : str
        Slurm's name for it, such as ``PENDING``, ``RUNNING`` or ``COMPLETED``; ``UNKNOWN`` if Slurm
        has forgotten the job, as it does some minutes after its end.
    reason : str
        Why the job is pending, or has ended.
    restarts : int
        Number of times that it was requeued.
    exit_status : int, optional
        Exit status of its command; None until it has ended, and if a signal ended it.
    ends : float, optional
        Time of its end or its time limit, in seconds since 1970.
    """

    state: str
    reason: str = ""
    restarts: int = 0
    exit_status: int | None = None
    ends: float | None = None

    @property
    def ended(self) -> bool:
        """True if the job will not run again, or is forgotten."""
        return self.state in ENDED or self.state == UNKNOWN


def submit_driver(command: Sequence[str], log: Path, job: DriverJob | None = None) -> str:
    """Submit a command as a job, and return the job's number.

    Slurm may requeue the job, after a node failure or on request of an administrator. The command
    then runs again, and must resume its work. It appends to the same log.

    Parameters
    ----------
    command : sequence of str
        A program and its arguments. No shell interprets them.
    log : Path
        File for its output; the script that Slurm runs is kept beside it.
    job : DriverJob, optional
        Definition of the job.

    Raises
    ------
    RequestError
        If an option is not valid, or Slurm refuses the job.
    """
    job, log = job or DriverJob(), log.absolute()
    arguments = driver_arguments(job, log)
    path = _write_script(log, job_script(command))
    output = run_slurm("sbatch", *arguments, str(path), variables=job.variables)
    return output.partition(";")[0]  # the cluster's name may follow


def driver_arguments(job: DriverJob, log: Path) -> list[str]:
    """Return the arguments of sbatch for a driver's job.

    Parameters
    ----------
    job : DriverJob
        Definition of the job.
    log : Path
        File for its output.

    Raises
    ------
    RequestError
        If an option is not valid.
    """
    arguments = [
        "--parsable",
        f"--job-name={check_text('name', job.name)}",
        f"--output={log_pattern(log)}",
        f"--error={log_pattern(log)}",
        "--open-mode=append",
        "--export=ALL",
        "--requeue",
        f"--signal=B:TERM@{int(job.warning)}",
        "--ntasks=1",
        f"--cpus-per-task={int(job.cores)}",
        f"--mem={check_text('memory', job.memory)}",
        *placement_arguments(
            partition=job.partition, account=job.account, walltime=job.walltime, more=()
        ),
    ]
    further = placement_arguments(partition=None, account=None, walltime=None, more=job.directives)
    return [*drop_arguments(arguments, job.skip, job.directives), *further]


def _write_script(log: Path, text: str) -> Path:
    """Write a job's script, readable by this user alone, beside its log; return the path."""
    path = log.with_name(f"{log.name}.sh")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        beside.replace(path)
    except OSError as error:
        raise RequestError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def job_state(number: str) -> JobState:
    """Return the state of a job.

    Raises
    ------
    RequestError
        If ``number`` is not a job number, or Slurm does not answer.
    """
    try:
        output = run_slurm("scontrol", "--oneliner", "show", "job", _number(number))
    except RequestError as error:
        if "Invalid job id" in str(error):
            return JobState(UNKNOWN)
        raise
    fields = dict(re.findall(r"\b(JobState|Reason|Restarts|ExitCode|EndTime)=(\S*)", output))
    state = fields.get("JobState", UNKNOWN)
    status, _, ended_by = fields.get("ExitCode", "0:0").partition(":")
    return JobState(
        state,
        reason="" if fields.get("Reason") == "None" else fields.get("Reason", ""),
        restarts=int(fields.get("Restarts", 0)),
        exit_status=int(status) if state in ENDED and ended_by == "0" else None,
        ends=_moment(fields.get("EndTime", "")),
    )


def _moment(text: str) -> float | None:
    """Return a time that Slurm prints in this host's time zone, in seconds since 1970."""
    with suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    return None  # "Unknown"


def cancel_job(number: str, *, drain: bool = False) -> None:
    """Cancel a job.

    Parameters
    ----------
    number : str
        The job's number.
    drain : bool
        If the job is running, only send it SIGTERM, so that it ends by itself.

    Raises
    ------
    RequestError
        If ``number`` is not a job number, or Slurm does not answer.
    """
    if drain and job_state(number).state == "RUNNING":
        run_slurm("scancel", "--batch", "--signal=TERM", _number(number))
    else:
        run_slurm("scancel", _number(number))


def requeue_job(number: str) -> None:
    """Put a job back into the queue; if it is running, Slurm ends it first.

    Raises
    ------
    RequestError
        If ``number`` is not a job number, or Slurm refuses.
    """
    run_slurm("scontrol", "requeue", _number(number))


def own_job(name: str) -> str | None:
    """Return the number of this process's job, if its job has a given name; None otherwise."""
    has_name = os.environ.get("SLURM_JOB_NAME") == name
    return os.environ.get("SLURM_JOB_ID") if has_name else None


@contextmanager
def stop_before_time_limit(number: str, stop: Callable[[], None]) -> Iterator[None]:
    """Stop this process, which runs as a job, properly before the job's time limit.

    Slurm sends SIGTERM some time before the limit. ``stop`` is then called, once; work that is
    still running shortly before the limit is interrupted as by Ctrl-C. A SIGTERM at any other time,
    from a user who ends the job, interrupts at once.

    Parameters
    ----------
    number : str
        The job's number.
    stop : callable
        Requests a stop, which may take a while.
    """
    is_stopping = False

    def handle(signum: int, frame: object) -> None:
        nonlocal is_stopping
        seconds_left = None if is_stopping else _seconds_left(number)
        if seconds_left is None or seconds_left > NEAR:
            interrupt(signum, frame)
        is_stopping = True
        stop()
        signal.setitimer(signal.ITIMER_REAL, max(seconds_left - RESERVE, 0.01))

    before = signal.signal(signal.SIGTERM, handle), signal.signal(signal.SIGALRM, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGALRM, before[1])


def _seconds_left(number: str) -> float | None:
    """Return the remaining time of a running job; None if it is ending, or the time is unknown."""
    try:
        now = job_state(number)
    except RequestError:
        return None
    return now.ends - time.time() if now.state == "RUNNING" and now.ends is not None else None


def _number(text: str) -> str:
    if not re.fullmatch(r"[0-9]+", text):
        raise RequestError(f"job {text!r}: must be the number of a Slurm job")
    return text
