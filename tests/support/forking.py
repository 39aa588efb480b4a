"""Drivers forked from a process that has already imported everything, and loaded all kernels.

A driver in the background otherwise takes seconds of CPU before it begins, which dominates tests
that start many of them. A forked driver is a process and a session of its own, as always.

>>> python -m support.forking EXPOSURE OUTPUT  # the process from which drivers are forked
"""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import dask

from calbatch import cluster
from calbatch.cluster import cli
from support.batches import quiet_console, small_set

TESTS = Path(__file__).resolve().parents[1]


class DriverServer:
    """A process from which drivers are forked.

    Parameters
    ----------
    environment : dict
        Variables that it needs besides those of this process.
    """

    def __init__(self, environment):
        self.folder = Path(tempfile.mkdtemp(prefix="calbatch-drivers-"))
        atexit.register(self.close)
        made = small_set()
        own = {"TMPDIR": str(self.folder), "CALBATCH_STATE_DIR": str(self.folder / "state")}
        paths = [str(TESTS), environment.get("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
        variables = {**os.environ, **made.environment(), **own, **environment}
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        command = [sys.executable, "-P", "-m", "support.forking", made.exposures[0], self.folder]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )

    def start(self, command, log):
        """Start a driver, as `calbatch.cluster.batch.liveness.start_detached` does."""
        arguments = command[command.index("calbatch.cluster") + 1 :]
        request = [arguments, str(log), dict(os.environ), str(Path.cwd())]
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, (self.folder / "log").read_text()
        return int(answer)

    def close(self):
        """End the process, but no driver."""
        self.process.communicate()
        shutil.rmtree(self.folder)


@cache
def driver_server():
    """Return the process of this session from which drivers are forked."""
    return DriverServer({})


def main(exposure, output):
    """Calibrate an exposure, and then fork a driver for each line of the standard input.

    A line is a JSON list: the arguments of the command line, the log, the environment and the
    working folder. The answer is the driver's process ID.
    """
    how = {"scheduler": "sync", "fsync": False, "console": quiet_console()}
    cluster.run("detector1", [exposure], Path(output) / "out", **how)
    sys.path.remove(str(TESTS))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # drivers leave no zombies
    while line := sys.stdin.buffer.readline():
        if (number := os.fork()) == 0:
            become_driver(*json.loads(line))
            cli.main()
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


def become_driver(arguments, log, environment, folder):
    """Make this process like one that has just been started in the background."""
    os.setsid()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    opened = [os.open(os.devnull, os.O_RDONLY), os.open(log, flags, 0o600)]
    streams = [opened[0], opened[1], opened[1]]
    become_process(["calbatch", *arguments], streams, environment, folder)


def become_process(command, streams, environment, folder):
    """Make this process like one that has just been started.

    Parameters
    ----------
    command : list of str
        Its name and arguments.
    streams : list of int
        Descriptors of its standard streams, which are closed.
    environment : dict of str
        All of its variables.
    folder : str
        Its working folder.
    """
    os.chdir(folder)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, source in enumerate(streams):
        os.dup2(source, descriptor)
    for each in set(streams):
        os.close(each)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv[:] = command
    tempfile.tempdir = None  # from TMPDIR
    chosen = environment.get("DASK_CONFIG")
    dask.config.refresh(paths=[chosen] if chosen else dask.config.paths)  # and from DASK_…


if __name__ == "__main__":
    main(*sys.argv[1:])
