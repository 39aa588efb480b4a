"""A separate scheduler with workers, as started by users."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
from distributed import LocalCluster

from support.onehost import free_ports


def cluster_in_threads(workers):
    """Return a cluster on TCP that outlives drivers, whose workers are threads of this process."""
    return LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=False, protocol="tcp",
        host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50,
    )  # fmt: skip


class Running:
    """Processes of a scheduler and its workers, which are restarted when they end.

    Parameters
    ----------
    folder : pathlib.Path
        The folder for their files.
    has_dashboard : bool
        Let the scheduler have a dashboard.
    """

    def __init__(self, folder, *, has_dashboard=False):
        self.port, dashboard = free_ports(2)
        at = ("--dashboard-address", f"127.0.0.1:{dashboard}")
        here, none = ("--host", "127.0.0.1"), ("--no-dashboard",)
        worker = ("worker", self.address, "--nthreads", "1", "--local-directory", str(folder))
        self.commands = {
            "scheduler": (
                "scheduler", "--port", str(self.port), *here, *(at if has_dashboard else none)
            ),
            **{f"worker {n}": (*worker, *here, *none) for n in range(2)},
        }  # fmt: skip
        self.log, self.processes = folder / "dask.log", {}
        self.keep()

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.port}"

    def keep(self):
        for name, (what, *arguments) in self.commands.items():
            if name in self.processes and self.processes[name].poll() is None:
                continue
            command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
            with self.log.open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    command, stdout=log, stderr=log, start_new_session=True
                )

    def workers(self):
        """Return the processes that calibrate; their parents would restart them."""
        found = []
        for name, process in self.processes.items():
            with suppress(psutil.Error):
                children = psutil.Process(process.pid).children() if name != "scheduler" else []
                found += [c for c in children if "spawn_main" in " ".join(c.cmdline())]
        return found

    def idle(self):
        """Return whether no worker runs a task."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            counts = client.run(lambda dask_worker: dask_worker.state.executing_count)
        return not any(counts.values())

    def kill(self, *names):
        for name in names or list(self.processes):
            with suppress(ProcessLookupError):
                os.killpg(self.processes[name].pid, signal.SIGKILL)
            self.processes[name].wait()
        return True
