"""A fork server of multiprocessing that is forked from this process.

Python starts the fork server as a new interpreter, which imports everything again. The command
line's process has imported what it shares with workers, and runs nothing else: neither threads nor
a user's script.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any, NoReturn

MALLOC_ENVIRONMENT = {
    # Otherwise glibc returns memory to the system, and requests it again, with every tile, which
    # takes a third of the time.
    "MALLOC_TRIM_THRESHOLD_": str(2 * 10**9),
    "MALLOC_MMAP_THRESHOLD_": str(10**9),
    # A worker's tasks run in a thread, which would have a malloc arena of its own. Its heaps of
    # 64 MB are unmapped as soon as they are empty, and then faulted in again page by page.
    "MALLOC_ARENA_MAX": "1",
}
"""Environment variables of processes that calibrate tiles, with which glibc keeps freed memory."""

_MALLOC_PARAMETERS = {
    "MALLOC_TRIM_THRESHOLD_": -1,
    "MALLOC_MMAP_THRESHOLD_": -3,
    "MALLOC_ARENA_MAX": -8,
}
"""Parameters of glibc's ``mallopt``, by the environment variables that set them in new programs."""

MAX_RESIDENT = 224 * 2**20
"""Maximum resident memory of a process that may be forked, in bytes.

The workers share these pages, but each page counts in the memory of every worker. The modules take
less than 90 MB, and 100,000 exposures 55 MB.
"""

_is_allowed = False


def allow_forking() -> None:
    """Declare that this process runs the command line and nothing else."""
    global _is_allowed
    _is_allowed = True


def is_fork_safe() -> bool:
    """Return whether this process can be forked: the command line's, small, with one thread.

    Threads of libraries count, too: a fork inherits their locks, but not the threads.
    """
    if not _is_allowed or sys.platform != "linux" or threading.active_count() > 1:
        return False
    handlers = [reference() for reference in vars(logging)["_handlerList"]]
    if any(map(_has_file, filter(None, handlers))):
        return False  # the fork closes its file
    try:
        resident = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        alone = len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:  # without /proc, the threads cannot be counted
        return False
    return alone and resident * os.sysconf("SC_PAGESIZE") <= MAX_RESIDENT


def _has_file(handler: logging.Handler) -> bool:
    """Return whether a handler writes to anything but this process's standard streams."""
    if isinstance(handler, logging.NullHandler):
        return False
    try:
        return int(handler.stream.fileno()) > 2  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # a socket, or a stream without a descriptor
        return not isinstance(handler, logging.StreamHandler)


@contextmanager
def fork_server_here() -> Iterator[None]:
    """Fork the fork server that multiprocessing starts within this context, if it starts one.

    The process must be safe to fork; see `is_fork_safe`.
    """
    execute: Any = util.spawnv_passfds

    def start(path: bytes, arguments: Sequence[Any], descriptors: Sequence[int]) -> int:
        if "multiprocessing.forkserver" not in str(arguments[-1]):
            return int(execute(path, arguments, descriptors))
        return _fork(str(arguments[-1]), descriptors)

    setattr(util, "spawnv_passfds", start)  # noqa: B010 - mypy knows its type too exactly
    try:
        yield
    finally:
        util.spawnv_passfds = execute


def _fork(program: str, descriptors: Collection[int]) -> int:
    """Fork a process that runs a program with few open files; return its ID."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # no stream, or a closed one
            stream.flush()
    # The driver's handler would leave the driver's contexts in the new process as well.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    process = os.fork()
    if process == 0:
        _become_server(program, descriptors, mask)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return process


def _become_server(program: str, descriptors: Collection[int], mask: Collection[int]) -> NoReturn:
    """Reset the state of a forked process, run the fork server's program in it, and exit."""
    status = 1
    try:
        # No other open file may outlive the driver, such as its ends of pipes and locked files.
        _replace_all_but({0, 1, 2, *descriptors})
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for state in (forkserver._forkserver, resource_tracker._resource_tracker):
            state.__init__()  # type: ignore[misc]  # one of their locks is held
        _set_malloc_parameters(os.environ)
        exec(program, {"__name__": "__forkserver__"})  # Python's own
        status = 0
    except SystemExit:  # the driver has ended
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)  # without the exit handlers of the driver


def _replace_all_but(kept: Collection[int]) -> None:
    """Replace open files by the null device.

    Their descriptors stay in use: objects of the driver that still own them, such as handlers of
    logs, must not write to files that are opened later.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - includes the descriptor of the list
        if int(name) not in {null, *kept}:
            with suppress(OSError):
                os.fstat(int(name))  # the list itself is closed by now
                os.dup2(null, int(name), inheritable=False)
    os.close(null)


def keep_freed_memory() -> None:
    """Keep freed memory for the next tile if this process is the command line's, as workers do.

    Variables in the environment take precedence.
    """
    if _is_allowed:
        _set_malloc_parameters({**MALLOC_ENVIRONMENT, **os.environ})


def _set_malloc_parameters(environment: Mapping[str, str]) -> None:
    """Set the parameters that glibc reads from the environment when a new program starts."""
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_parameter is None:  # another C library
        return
    for name, number in _MALLOC_PARAMETERS.items():
        value = environment.get(name)
        if value is not None:
            set_parameter(number, int(value))
