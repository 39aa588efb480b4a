"""Slurm's commands, and checks of their arguments.

Values are passed to ``sbatch`` as arguments of a process, never as text that a shell or Slurm
parses. Only the job's command is in a script, quoted.
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
"""Seconds to wait for a Slurm command; a busy controller may be slow."""

LOCATING = ("SLURM_CONF",)
"""Environment variables that locate Slurm, although their prefix is that of a job's variables."""

RESERVED = (
    *("account", "array", "chdir", "error", "export", "export-file", "get-user-env", "help"),
    *("input", "job-name", "no-requeue", "open-mode", "output", "parsable", "partition", "requeue"),
    *("signal", "test-only", "time", "usage", "version", "wait", "wrap"),
)
"""Options of sbatch that cannot be directives: jobs depend on them, or a site option sets them."""

REPLACEABLE = ("cpus-per-task", "mem", "ntasks")
"""Options that calbatch sets unless a directive replaces them."""

SKIPPABLE = (*REPLACEABLE, "export", "no-requeue", "open-mode", "requeue", "signal", "time")
"""Options that calbatch sets and that can be left out, for clusters that forbid them."""

CONFLICTING = {"mem-per-cpu": "mem", "mem-per-gpu": "mem"}
"""Option of calbatch, by the directive that Slurm does not accept together with it."""

_NAME = re.compile(r"[A-Za-z0-9][\w.@:+,-]*", re.ASCII)
_DIRECTIVE = re.compile(r"--([a-z][a-z0-9-]*)(=.+)?")
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def check_text(what: str, value: str) -> str:
    """Return a value after checking that it has no control characters, such as line breaks.

    Raises
    ------
    RequestError
        If it has any.
    """
    if _CONTROL.search(value):
        raise RequestError(f"{what} {value!r}: must not contain line breaks or control characters")
    return value


def check_name(what: str, value: str) -> str:
    """Return the name of a partition or account after checking it.

    Raises
    ------
    RequestError
        If it is not a valid name.
    """
    if not _NAME.fullmatch(value):
        raise RequestError(f"{what} {value!r}: must be a name of letters, digits and . _ - @ : +")
    return value


def check_directive(text: str) -> str:
    """Return an sbatch option of the user after checking it.

    Raises
    ------
    RequestError
        If it is not of the form ``--NAME=VALUE``, or its name is, or abbreviates, that of an option
        that calbatch sets. Slurm accepts abbreviations.
    """
    match = _DIRECTIVE.fullmatch(check_text("directive", text))
    if not match:
        raise RequestError(f"directive {text!r}: must be like --NAME or --NAME=VALUE")
    name = match[1]
    if name in REPLACEABLE or name in CONFLICTING:
        return text
    if any(option.startswith(name) for option in RESERVED):
        raise RequestError(f"directive {text!r}: --{name} is set by calbatch")
    whole = next(
        (option for option in (*REPLACEABLE, *CONFLICTING) if option.startswith(name)), None
    )
    if whole is not None:
        raise RequestError(f"directive {text!r}: write --{whole} in full")
    return text


def drop_arguments(
    arguments: Sequence[str], skip: Collection[str], directives: Sequence[str]
) -> list[str]:
    """Return sbatch arguments without those that the user skips or that a directive replaces.

    Parameters
    ----------
    arguments : sequence of str
        The arguments, each as ``--NAME`` or ``--NAME=VALUE``.
    skip : collection of str
        Names of options to leave out, without leading hyphens.
    directives : sequence of str
        Options that the user adds.

    Raises
    ------
    RequestError
        If ``skip`` names an option that is not in `SKIPPABLE`.
    """
    for name in skip:
        if name.removeprefix("--") not in SKIPPABLE:
            raise RequestError(
                f"skip {name!r}: cannot be left out; these can be: {', '.join(SKIPPABLE)}"
            )
    names = {_name(text) for text in directives}
    left_out = {name.removeprefix("--") for name in skip} | (names & {*REPLACEABLE})
    left_out |= {CONFLICTING[name] for name in names if name in CONFLICTING}
    return [argument for argument in arguments if _name(argument) not in left_out]


def is_sent(name: str, skip: Collection[str], directives: Sequence[str]) -> bool:
    """Return whether an option is passed to sbatch as calbatch sets it."""
    return bool(drop_arguments([f"--{name}"], skip, directives))


def _name(argument: str) -> str:
    return argument.removeprefix("--").partition("=")[0]


def walltime_seconds(walltime: str) -> int:
    """Return a time limit in seconds.

    Parameters
    ----------
    walltime : str
        In one of Slurm's forms: ``MM``, ``MM:SS``, ``HH:MM:SS``, ``D-HH``, ``D-HH:MM``,
        ``D-HH:MM:SS``.

    Raises
    ------
    RequestError
        If it has none of these forms.
    """
    match = _WALLTIME.fullmatch(walltime)
    if not match:
        raise RequestError(f"walltime {walltime!r}: must be like 30 (minutes), 2:00:00 or 1-12:00")
    days, *rest = match.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is None:  # without days, Slurm takes the first of two numbers for minutes
        parts = [0, *parts] if len(parts) < 3 else parts
    hours, minutes, secs = [*parts, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + secs


def job_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without variables that describe an enclosing job.

    sbatch reads ``SBATCH_*`` and ``SLURM_*`` as if they were its options, and passes them on.
    """
    of_a_job = ("SLURM_", "SBATCH_", "SLURMD_", "SRUN_")
    environment = {
        n: v for n, v in os.environ.items() if n in LOCATING or not n.startswith(of_a_job)
    }
    return {**environment, **(more or {})}


def job_script(command: Sequence[str], before: Iterable[str] = ()) -> str:
    """Return a shell script that executes a command.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments, which are quoted.
    before : iterable of str
        Shell lines to run first.

    Raises
    ------
    RequestError
        If an argument contains a NUL character.
    """
    if any("\0" in part for part in command):
        raise RequestError(f"{command!r}: a command must not contain NUL characters")
    return "\n".join(["#!/bin/sh", *before, f"exec {shlex.join(command)}", ""])


def log_pattern(path: Path, name: str = "") -> str:
    """Return the path of a log for sbatch, in which %j in ``name`` stands for the job's number.

    Raises
    ------
    RequestError
        If the folder's name contains a backslash, which disables Slurm's placeholders.
    """
    text = check_text("log", str(path))
    if "\\" in text:
        raise RequestError(f"{text}: Slurm cannot write logs to a folder with a backslash")
    text = text.replace("%", "%%")
    return f"{text}/{name}" if name else text


def placement_arguments(
    *, partition: str | None, account: str | None, walltime: str | None, more: Sequence[str]
) -> list[str]:
    """Return the arguments of sbatch for a job's partition, account and time limit.

    Parameters
    ----------
    partition, account, walltime : str or None
        None leaves the argument out.
    more : sequence of str
        Further options of the user.

    Raises
    ------
    RequestError
        If one of them is not valid.
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
    """Return the error messages in the output of a Slurm command, in one line."""
    errors = re.findall(r"^s\w+: (?:error: |fatal: )?(.*)$", output, re.MULTILINE)
    return "; ".join(dict.fromkeys(e.strip() for e in errors)) or " ".join(output.split())


def run_slurm(*command: str, variables: Mapping[str, str] | None = None) -> str:
    """Run a Slurm command in a clean environment, and return its output.

    Parameters
    ----------
    *command : str
        The program and its arguments.
    variables : mapping, optional
        Environment variables, in addition to those of this process.

    Raises
    ------
    RequestError
        If the command does not exist, or fails.
    """
    try:
        done = run(
            command, capture_output=True, text=True, env=job_environment(variables), timeout=ANSWER
        )
    except FileNotFoundError:
        raise RequestError(f"{command[0]} is not installed: Slurm is needed here") from None
    except TimeoutExpired as error:
        raise RequestError(f"{command[0]} does not answer: {error}") from error
    if done.returncode:
        raise RequestError(f"{command[0]}: {error_line(done.stderr or done.stdout)}")
    return done.stdout.strip()
