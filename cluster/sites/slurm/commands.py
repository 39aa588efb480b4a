"""Slurm's commands, and what may be said to them.

Values reach ``sbatch`` as arguments of a process, never as text that a shell or Slurm reads; only
the command that a job runs stands in a script, quoted.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from subprocess import TimeoutExpired, run

from calbatch.cluster.errors import RequestError

ANSWER = 60.0
"""Seconds to wait for a command of Slurm's: a busy controller takes its time."""

KEPT = ("SLURM_CONF",)
"""What says where Slurm is, among the variables that otherwise describe a job."""

OURS = (
    *("account", "array", "chdir", "error", "export", "export-file", "get-user-env", "help"),
    *("input", "job-name", "no-requeue", "open-mode", "output", "parsable", "partition", "requeue"),
    *("signal", "test-only", "time", "usage", "version", "wait", "wrap"),
)
"""Options of sbatch that are no directives: a job depends on them, or there is an option here."""

REPLACEABLE = ("cpus-per-task", "mem", "ntasks")
"""Options that are set here, unless a directive says something else about the same."""

SKIPPABLE = (*REPLACEABLE, "export", "no-requeue", "open-mode", "requeue", "signal", "time")
"""Options that are set here and can be left out, for sites that forbid them."""

INSTEAD = {"mem-per-cpu": "mem", "mem-per-gpu": "mem"}
"""Directives beside which Slurm does not allow an option that is set here."""

_NAME = re.compile(r"[A-Za-z0-9][\w.@:+,-]*", re.ASCII)
_DIRECTIVE = re.compile(r"--([a-z][a-z0-9-]*)(=.+)?")
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def check_text(what: str, value: str) -> str:
    """Return a value that has no control characters: no line breaks above all.

    Raises
    ------
    RequestError
        When it has.
    """
    if _CONTROL.search(value):
        raise RequestError(f"{what} {value!r}: must not have line breaks or control characters")
    return value


def check_name(what: str, value: str) -> str:
    """Return the name of a partition or account.

    Raises
    ------
    RequestError
        When it cannot be one.
    """
    if not _NAME.fullmatch(value):
        raise RequestError(f"{what} {value!r}: must be a name, of letters, digits and . _ - @ : +")
    return value


def check_directive(text: str) -> str:
    """Return an option of sbatch's that a user may add.

    Raises
    ------
    RequestError
        When it is not like ``--NAME=VALUE``, is one that calbatch sets, or is the beginning of
        one's name, which Slurm would take for it.
    """
    found = _DIRECTIVE.fullmatch(check_text("directive", text))
    if not found:
        raise RequestError(f"directive {text!r}: must be like --NAME or --NAME=VALUE")
    name = found[1]
    if name in REPLACEABLE or name in INSTEAD:
        return text
    if any(one.startswith(name) for one in OURS):
        raise RequestError(f"directive {text!r}: --{name} is set by calbatch")
    whole = next((one for one in (*REPLACEABLE, *INSTEAD) if one.startswith(name)), None)
    if whole is not None:
        raise RequestError(f"directive {text!r}: write --{whole} in full")
    return text


def drop_arguments(
    arguments: Sequence[str], skip: Collection[str], directives: Sequence[str]
) -> list[str]:
    """Return arguments of sbatch without those that a site forbids, or a directive replaces.

    Parameters
    ----------
    arguments : sequence of str
        Each as ``--NAME`` or ``--NAME=VALUE``.
    skip : collection of str
        Names of what is left out, without hyphens before them.
    directives : sequence of str
        What the user adds.

    Raises
    ------
    RequestError
        When something else than `SKIPPABLE` is to be left out.
    """
    for name in skip:
        if name.removeprefix("--") not in SKIPPABLE:
            raise RequestError(
                f"skip {name!r}: cannot be left out; what can is {', '.join(SKIPPABLE)}"
            )
    given = {_name(text) for text in directives}
    left_out = {name.removeprefix("--") for name in skip} | (given & {*REPLACEABLE})
    left_out |= {INSTEAD[name] for name in given if name in INSTEAD}
    return [argument for argument in arguments if _name(argument) not in left_out]


def is_sent(name: str, skip: Collection[str], directives: Sequence[str]) -> bool:
    """Return whether an option that is set here reaches sbatch as it is set here."""
    return bool(drop_arguments([f"--{name}"], skip, directives))


def _name(argument: str) -> str:
    return argument.removeprefix("--").partition("=")[0]


def walltime_seconds(walltime: str) -> int:
    """Return a time limit in seconds.

    Parameters
    ----------
    walltime : str
        As Slurm has it: ``MM``, ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM``, ``D-HH:MM:SS``.

    Raises
    ------
    RequestError
        When it is none of these.
    """
    found = _WALLTIME.fullmatch(walltime)
    if not found:
        raise RequestError(f"walltime {walltime!r}: must be like 30 (minutes), 2:00:00 or 1-12:00")
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is None:  # Slurm counts from the minutes, where there are no days and no hours
        parts = [0, *parts] if len(parts) < 3 else parts
    hours, minutes, secs = [*parts, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + secs


def job_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a new job: this one's, without what describes an enclosing job.

    sbatch reads ``SBATCH_*`` and ``SLURM_*`` as if they were its options, and hands them on.
    """
    of_a_job = ("SLURM_", "SBATCH_", "SLURMD_", "SRUN_")
    kept = {n: v for n, v in os.environ.items() if n in KEPT or not n.startswith(of_a_job)}
    return {**kept, **(more or {})}


def job_script(command: Sequence[str], before: Iterable[str] = ()) -> str:
    """Return a shell script that becomes a command.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments, which the shell takes as they are.
    before : iterable of str
        Lines of shell to run first.

    Raises
    ------
    RequestError
        When an argument has a NUL, which none can have.
    """
    if any("\0" in part for part in command):
        raise RequestError(f"{command!r}: a command must not have NUL characters")
    return "\n".join(["#!/bin/sh", *before, f"exec {shlex.join(command)}", ""])


def log_pattern(path: Path, name: str = "") -> str:
    """Return a file's name for sbatch, with ``name`` in it, where %j is the job's number.

    Raises
    ------
    RequestError
        When the folder has a backslash, at which Slurm stops to fill in anything.
    """
    text = check_text("log", str(path))
    if "\\" in text:
        raise RequestError(f"{text}: Slurm cannot write logs to a folder with a backslash")
    text = text.replace("%", "%%")
    return f"{text}/{name}" if name else text


def placement_arguments(
    *, partition: str | None, account: str | None, walltime: str | None, more: Sequence[str]
) -> list[str]:
    """Return arguments of sbatch that say where a job runs, and for how long.

    Raises
    ------
    RequestError
        When one of them cannot be.
    """
    arguments = []
    if partition is not None:
        arguments.append(f"--partition={check_name('partition', partition)}")
    if account is not None:
        arguments.append(f"--account={check_name('account', account)}")
    if walltime is not None and walltime_seconds(walltime):
        arguments.append(f"--time={walltime}")
    return [*arguments, *(check_directive(text) for text in more)]


def error_line(output: str) -> str:
    """Return what a command of Slurm's complains about, in one line."""
    errors = re.findall(r"^s\w+: (?:error: |fatal: )?(.*)$", output, re.MULTILINE)
    return "; ".join(dict.fromkeys(e.strip() for e in errors)) or " ".join(output.split())


def run_slurm(*command: str, variables: Mapping[str, str] | None = None) -> str:
    """Run a command of Slurm's in a clean environment, and return what it prints.

    Parameters
    ----------
    *command : str
        The program and its arguments.
    variables : mapping, optional
        What the environment has, beside this process's.

    Raises
    ------
    RequestError
        When there is no such command here, or it fails.
    """
    try:
        done = run(
            command, capture_output=True, text=True, env=job_environment(variables), timeout=ANSWER
        )
    except FileNotFoundError:
        raise RequestError(f"{command[0]} is not on this machine: Slurm is needed here") from None
    except TimeoutExpired as error:
        raise RequestError(f"{command[0]} does not answer: {error}") from error
    if done.returncode:
        raise RequestError(f"{command[0]}: {error_line(done.stderr or done.stdout)}")
    return done.stdout.strip()
