"""The command line."""


def main() -> None:
    """Run the command line, in a process that does nothing else."""
    import os

    from calbatch.cluster.sites import forking

    # Libraries read these when they are imported. A process without threads can be forked, and
    # tiles run in threads of their own.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    forking.allow_forking()

    from calbatch.cluster.cli import app

    app.main()
