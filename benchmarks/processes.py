"""Commands that run at the same time, with their wall time, CPU time and memory."""

import ctypes
import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLED_EVERY = 0.2
"""Seconds between two samples of the memory."""

Command = Sequence[str | Path]

_PR_SET_CHILD_SUBREAPER = 36  # of Linux


@dataclass(frozen=True)
class Run:
    """The total cost of several commands.

    Attributes
    ----------
    wall : float
        Seconds from the first start to the last end.
    cpu : float
        Processor seconds (user and system) of all their processes.
    peak : int
        Largest sampled sum of their proportional set sizes in bytes; 0 if not sampled.
    load : float
        Load average of the machine at the start.
    """

    wall: float
    cpu: float
    peak: int
    load: float


def run(
    commands: Sequence[Command], environment: Mapping[str, str], *, memory: bool = False
) -> Run:
    """Run commands at the same time, and wait for all of them.

    Raises
    ------
    SystemExit
        If a command fails; the message has the end of its output.
    """
    _adopt_orphans()
    load, *_ = os.getloadavg()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"{number}.log" for number in range(len(commands))]
        started = [_start(c, environment, log) for c, log in zip(commands, logs, strict=True)]
        with _Sampler([process.pid for process in started] if memory else []) as sampler:
            cpu = sum(_wait_for(p, log) for p, log in zip(started, logs, strict=True))
            wall = time.perf_counter() - start
    return Run(wall, cpu + reap(), sampler.peak, load)


def time_first_output(command: Command, environment: Mapping[str, str]) -> float:
    """Run a command on a terminal of its own; return the seconds until that shows something.

    Raises
    ------
    SystemExit
        If the command fails.
    """
    terminal, end = pty.openpty()
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command], env={**os.environ, **environment},
        stdin=subprocess.DEVNULL, stdout=end, stderr=end,
    )  # fmt: skip
    os.close(end)
    os.read(terminal, 1)
    seconds = time.perf_counter() - start
    with suppress(OSError):  # raised at the end of the command
        while os.read(terminal, 1 << 16):
            pass
    os.close(terminal)
    if process.wait() != 0:
        sys.exit(f"{process.args!r} ended with {process.returncode}")
    return seconds


def _adopt_orphans() -> None:
    """Become the parent of processes that outlive theirs, so that their CPU time is counted."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("this system does not report the CPU time of processes that outlive their parents")
    reap()


def reap() -> float:
    """Wait for the remaining processes of commands that have ended; return their CPU seconds."""
    total = 0.0
    while True:
        try:
            _, _, used = os.wait4(-1, 0)
        except ChildProcessError:
            return total
        total += used.ru_utime + used.ru_stime


def _start(
    command: Command, environment: Mapping[str, str], log: Path
) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _wait_for(process: "subprocess.Popen[bytes]", log: Path) -> float:
    """Wait for a process; return the CPU seconds of it and the processes that it waited for."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        output = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        sys.exit(f"{process.args!r} ended with {process.returncode}:\n{output}")
    return used.ru_utime + used.ru_stime


class _Sampler:
    """Samples the memory of processes and their descendants in a thread."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.pids, self.peak = pids, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Sampler":
        if self.pids:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self.pids:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLED_EVERY):
            self.peak = max(self.peak, sum(_proportional(pid) for pid in self.pids))


def _proportional(pid: int) -> int:
    """Return the sum of the proportional set sizes of a process and its descendants."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with suppress(psutil.Error):  # it may have ended
                total += one.memory_full_info().pss
    return total
