"""The command line."""

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, in a process that does nothing else, and end the process."""
    try:
        run_command()
    except SystemExit as end:
        if isinstance(end.code, str):  # a message, which the interpreter prints
            raise
        _end_process(int(end.code or 0))
    _end_process(0)


def run_command() -> None:
    """Run the command line, in a process that does nothing else; it raises `SystemExit`."""
    import os

    from calbatch.cluster.sites import forking

    # Libraries read these when they are imported. A process without threads can be forked, and
    # tiles run in threads of their own.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    _open_missing_streams()
    forking.allow_forking()

    from calbatch.cluster.cli import app

    app.main()


def _end_process(status: int) -> NoReturn:
    """End this process as the interpreter would, except for destroying each of its objects.

    That takes half a second with compiled kernels. Processes of multiprocessing end in this way.
    """
    import atexit
    import os
    import sys
    import threading
    from contextlib import suppress

    with suppress(KeyboardInterrupt):  # the command has ended, and its status stands
        vars(threading)["_shutdown"]()  # waits for threads
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):
        if not status:  # else an error has been reported, and its status stands
            sys.exit(status)  # the interpreter reports that output is lost
    os._exit(status)


def _open_missing_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    Otherwise a ledger or product could be opened under the number of such a stream, and messages of
    libraries and workers written into it.
    """
    import os
    import sys

    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
