"""A batch's driver as a job of Slurm's: submitted, asked about, stopped."""

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
from typing import NoReturn

from calbatch.cluster.errors import RequestError
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
"""States of a job that will not run again."""

UNKNOWN = "UNKNOWN"
"""The state of a job that Slurm has forgotten."""


NEAR = 180.0
"""Seconds before a job's end at which SIGTERM means that its time is up. Slurm is up to a minute
early."""

RESERVE = 20.0
"""Seconds before a job's end at which it must have stopped, to end in order."""


@dataclass(frozen=True)
class DriverJob:
    """What a driver's job is like.

    Attributes
    ----------
    name : str
        What the queue shows.
    walltime : str, optional
        Its time limit, as in Slurm; by default the partition's.
    memory : str
        What it needs, in Slurm's words.
    cores : int
        How many it needs.
    warning : int
        Seconds before the time limit at which it gets SIGTERM, so that it can stop in order.
    partition, account : str, optional
        Where it runs, and who pays.
    directives : sequence of str
        More options of sbatch, each as ``--NAME=VALUE``; they replace those set here.
    skip : sequence of str
        Options of sbatch to leave out, for sites that forbid them: see `slurmtools.SKIPPABLE`.
    variables : mapping
        What its environment has, beside this process's.
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
    """What Slurm knows of a job.

    Attributes
    ----------
    state : str
        Slurm's word, such as ``PENDING``, ``RUNNING`` or ``COMPLETED``; ``UNKNOWN`` when it has
        forgotten the job, which it does some minutes after it ended.
    reason : str
        Why it waits, or ended.
    restarts : int
        How many times it was put back into the queue.
    exit_status : int, optional
        What the command ended with; None before it has ended, or when a signal ended it.
    ends : float, optional
        When it must end, or has ended, in seconds since 1970.
    """

    state: str
    reason: str = ""
    restarts: int = 0
    exit_status: int | None = None
    ends: float | None = None

    @property
    def ended(self) -> bool:
        """Whether it will not run again; for a forgotten one too."""
        return self.state in ENDED or self.state == UNKNOWN


def submit_driver(command: Sequence[str], log: Path, how: DriverJob | None = None) -> str:
    """Submit a command as a job, and return the job's number.

    Slurm may put it back into the queue, when a node fails or an administrator wants it: the same
    command is run again, and has to go on where it was. The log goes on too.

    Parameters
    ----------
    command : sequence of str
        A program and its arguments. No shell interprets them.
    log : Path
        Where its output goes; the script that Slurm runs is kept beside it.
    how : DriverJob, optional
        What the job is like.

    Raises
    ------
    RequestError
        When an option cannot be, or Slurm refuses the job.
    """
    how, log = how or DriverJob(), log.absolute()
    arguments = driver_arguments(how, log)
    path = _write_script(log, job_script(command))
    told = run_slurm("sbatch", *arguments, str(path), variables=how.variables)
    return told.partition(";")[0]  # the cluster's name may follow


def driver_arguments(how: DriverJob, log: Path) -> list[str]:
    """Return how a driver's job is submitted: arguments of sbatch.

    Raises
    ------
    RequestError
        When an option cannot be.
    """
    arguments = [
        "--parsable",
        f"--job-name={check_text('name', how.name)}",
        f"--output={log_pattern(log)}",
        f"--error={log_pattern(log)}",
        "--open-mode=append",
        "--export=ALL",
        "--requeue",
        f"--signal=B:TERM@{int(how.warning)}",
        "--ntasks=1",
        f"--cpus-per-task={int(how.cores)}",
        f"--mem={check_text('memory', how.memory)}",
        *placement_arguments(
            partition=how.partition, account=how.account, walltime=how.walltime, more=()
        ),
    ]
    more = placement_arguments(partition=None, account=None, walltime=None, more=how.directives)
    return [*drop_arguments(arguments, how.skip, how.directives), *more]


def _write_script(log: Path, text: str) -> Path:
    """Write a job's script for this user alone, and return where."""
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
    """Return what Slurm knows of a job.

    Raises
    ------
    RequestError
        When that is no job's number, or Slurm does not answer.
    """
    try:
        told = run_slurm("scontrol", "--oneliner", "show", "job", _number(number))
    except RequestError as error:
        if "Invalid job id" in str(error):
            return JobState(UNKNOWN)
        raise
    known = dict(re.findall(r"\b(JobState|Reason|Restarts|ExitCode|EndTime)=(\S*)", told))
    state = known.get("JobState", UNKNOWN)
    status, _, ended_by = known.get("ExitCode", "0:0").partition(":")
    return JobState(
        state,
        reason="" if known.get("Reason") == "None" else known.get("Reason", ""),
        restarts=int(known.get("Restarts", 0)),
        exit_status=int(status) if state in ENDED and ended_by == "0" else None,
        ends=_moment(known.get("EndTime", "")),
    )


def _moment(text: str) -> float | None:
    """Return a time as Slurm tells it, in this host's zone, in seconds since 1970."""
    with suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    return None  # "Unknown"


def cancel_job(number: str, *, drain: bool = False) -> None:
    """Stop a job.

    Parameters
    ----------
    number : str
        The job's.
    drain : bool
        Only send it SIGTERM if it runs, so that it ends by itself when it is ready.

    Raises
    ------
    RequestError
        When that is no job's number, or Slurm does not answer.
    """
    if drain and job_state(number).state == "RUNNING":
        run_slurm("scancel", "--batch", "--signal=TERM", _number(number))
    else:
        run_slurm("scancel", _number(number))


def requeue_job(number: str) -> None:
    """Put a job back into the queue; where it runs, it is ended.

    Raises
    ------
    RequestError
        When that is no job's number, or Slurm refuses.
    """
    run_slurm("scontrol", "requeue", _number(number))


def own_job(name: str) -> str | None:
    """Return the number of the job that this process is; None where it is none of that name."""
    found = os.environ.get("SLURM_JOB_NAME") == name
    return os.environ.get("SLURM_JOB_ID") if found else None


@contextmanager
def stop_before_time_limit(number: str, stop: Callable[[], None]) -> Iterator[None]:
    """Have this process, which is a job, stop in order before its job must end.

    Slurm sends SIGTERM some time before. Then ``stop`` is called, once, and whatever still runs
    when little time is left is interrupted as by Ctrl-C. A SIGTERM at any other time, of somebody
    who ends the job, interrupts at once.

    Parameters
    ----------
    number : str
        The job's.
    stop : callable
        Asks for an end, which may take a while.
    """
    asked = False

    def interrupt(signum: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    def told(signum: int, frame: object) -> None:
        nonlocal asked
        left = None if asked else _seconds_left(number)
        if left is None or left > NEAR:
            raise KeyboardInterrupt
        asked = True
        stop()
        signal.setitimer(signal.ITIMER_REAL, max(left - RESERVE, 0.01))

    before = signal.signal(signal.SIGTERM, told), signal.signal(signal.SIGALRM, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGALRM, before[1])


def _seconds_left(number: str) -> float | None:
    """Return how long a job may still run; None where it is being ended, or nobody knows."""
    try:
        now = job_state(number)
    except RequestError:
        return None
    return now.ends - time.time() if now.state == "RUNNING" and now.ends is not None else None


def _number(text: str) -> str:
    if not re.fullmatch(r"[0-9]+", text):
        raise RequestError(f"job {text!r}: must be the number of a job of Slurm's")
    return text
