"""The command line."""


def main() -> None:
    """Run the command line, in a process that does nothing else."""
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
