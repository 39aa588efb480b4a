"""A cluster of this machine's cores and memory."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import active_children, current_process, forkserver, resource_tracker
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from calbatch.cluster.errors import SiteLostError
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.models.temporary import make_process_folder
from calbatch.models.tiling import reference_cache

log = logging.getLogger(__name__)

WORKER_BYTES = 600 * 2**20
"""What a worker needs: an interpreter with its libraries, and a tile with what is made of it."""

REFERENCE_BYTES = 512 * 2**20
"""Decoded references that a worker keeps from one exposure to the next, where there is memory.

Those of a full frame with 10 groups take 410 MB.
"""

WORKER_ENVIRONMENT = {
    # glibc otherwise gives memory back and asks for it again with every tile: a third of the time.
    "MALLOC_TRIM_THRESHOLD_": str(2 * 10**9),
    "MALLOC_MMAP_THRESHOLD_": str(10**9),
    # A worker's tasks run in a thread, which would have an arena of its own. It is made of pieces
    # of 64 MB that do go back as soon as they are empty, and come again one page fault a page.
    "MALLOC_ARENA_MAX": "1",
    # Parallelism is over tiles and exposures; libraries must not add their own.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    # A user's models.py in the working folder must not be imported.
    "PYTHONSAFEPATH": "1",
}

DASK_SETTINGS = {
    # Nothing large stays in dask's memory, so there is nothing to spill.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # One exposure a worker: when a worker dies, only the one that it was at is to blame. The
    # driver hears of every death, and decides what is tried again.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 0,
    # A worker whose kernel holds the interpreter for minutes is not dead: the driver looks at its
    # process, and gives up those that are stopped or cut off.
    "distributed.scheduler.worker-ttl": None,
    # Whoever watches the profile sees as much with fewer looks, each of which halts the task.
    "distributed.worker.profile.interval": "100ms",
    # Looking at event loops 50 times a second, and at memory 10 times, takes 7 % of a core from two
    # workers.
    "distributed.admin.tick.interval": "500ms",
    "distributed.worker.memory.monitor-interval": "300ms",
    "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": [
        "localhost",
        "127.0.0.1",
    ],
}

INTERRUPTS = {signal.SIGINT, signal.SIGHUP}
"""What a terminal sends to all processes in it."""


def start_server() -> None:
    """Start the process that workers are forked from, which imports what they need meanwhile.

    A forked worker has its libraries in an instant, and shares their memory. Elsewhere than on
    Linux, and where a fork server runs already that is none of ours, workers import for themselves.
    """
    if _server.method() == "forkserver":
        with _set_worker_environment(), hold_interrupts():
            _server.start()


class _Server:
    """The process that workers are forked from."""

    def __init__(self) -> None:
        self.pid: int | None = None

    def method(self) -> str:
        """Return how multiprocessing starts workers."""
        running = self._running()
        ours = running is None or running == self.pid
        return "forkserver" if sys.platform == "linux" and ours else "spawn"

    def start(self) -> None:
        """Have it run, with the environment that workers are to have."""
        import dask
        from distributed.utils import get_mp_context

        with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
            context = get_mp_context()  # dask preloads other things, once
        context.set_forkserver_preload(["calbatch.cluster.sites.preload"])
        _use_own_temporary_folder()
        forkserver.ensure_running()
        self.pid = self._running()

    @staticmethod
    def _running() -> int | None:
        found: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)
        return found


_server = _Server()


def _use_own_temporary_folder() -> None:
    """Have multiprocessing put its sockets where they are found should this process be killed.

    It otherwise makes a folder ``pymp-…``, of which nobody can tell whose it was.
    """
    config: dict[str, Any] = getattr(current_process(), "_config", {})
    if config.get("tempdir") is None:
        config["tempdir"] = str(make_process_folder("sockets"))
        Finalize(None, shutil.rmtree, (config["tempdir"], True), exitpriority=-100)  # as it does


@contextmanager
def open_local_cluster(workers: int, grain: str) -> Iterator[DaskSite]:
    """Give a cluster of processes with a thread each; nothing listens beyond this machine."""
    import dask
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    start_server()
    others = {child.pid for child in active_children()}
    with ExitStack() as stack:
        stack.enter_context(_set_worker_environment())
        keeping = {reference_cache.SETTING: reference_bytes(MEMORY_LIMIT // workers, grain)}
        folder = {"temporary-directory": str(make_worker_folder(stack))}
        settings = {**DASK_SETTINGS, **keeping, **http_routes(), **_processes(), **folder}
        stack.enter_context(dask.config.set(settings))
        stack.enter_context(_hide_main_script())
        with hold_interrupts():
            try:
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    memory_limit=MEMORY_LIMIT // workers,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    silence_logs=50,
                )
            except (OSError, RuntimeError, ValueError) as error:  # a worker died as it started
                raise SiteLostError(f"the cluster did not start: {error}") from error
            stack.callback(_close, cluster, others)
            client = stack.enter_context(Client(cluster, set_as_default=False))
        name = f"{workers} local worker{'s' * (workers > 1)}"
        yield DaskSite(client, grain, name, dashboard_link(client))


def affordable_workers() -> int:
    """Return how many workers this machine's cores and memory allow, container limits included."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return max(1, min(CPU_COUNT, MEMORY_LIMIT // WORKER_BYTES))


def reference_bytes(memory: int, grain: str) -> int:
    """Return how much of the references a worker keeps.

    Parameters
    ----------
    memory : int
        Bytes that the worker may use.
    grain : {"exposure", "tile"}
        What a task is. Tiles are of too few exposures to keep anything for the next.
    """
    import dask

    told: int | None = dask.config.get(reference_cache.SETTING, None)
    if told is not None:
        return told
    return min(REFERENCE_BYTES, max(0, memory - WORKER_BYTES) // 2) if grain == "exposure" else 0


def _close(cluster: Any, others: Container[int | None]) -> None:
    """Stop a cluster's processes, even one that it is just starting in a dead one's place."""
    try:
        cluster.close()
    except Exception:  # dask's: there are processes that it could not wait for
        log.debug("closing the cluster", exc_info=True)
        for child in active_children():
            if child.pid not in others:
                child.kill()


def make_worker_folder(stack: ExitStack) -> Path:
    """Return a private folder for the files of workers and of a scheduler in this process.

    dask's own folder has a well-known name in a folder that everybody can write to, and workers
    import from it. If this process is killed, the next one removes the private folder.
    """
    import dask

    base = dask.config.get("temporary-directory", None)
    try:
        folder = make_process_folder("workers", Path(base).absolute() if base else None)
    except OSError as error:
        where = base or tempfile.gettempdir()
        raise SiteLostError(f"{where}: cannot have workers' files: {error.strerror}") from error
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _processes() -> dict[str, Any]:
    """Return how workers are started, and what they find in their environment."""
    return {
        "distributed.worker.multiprocessing-method": _server.method(),
        "distributed.nanny.environ": dict(os.environ),  # the server's may be older
    }


def http_routes() -> dict[str, Any]:
    """Return the scheduler's web routes without the one that is a proxy to anywhere."""
    import dask

    routes = dask.config.get("distributed.scheduler.http.routes")
    kept = [r for r in routes if r != "distributed.http.proxy"]
    return {"distributed.scheduler.http.routes": kept}


@contextmanager
def _set_worker_environment() -> Iterator[None]:
    """Have in the environment what workers must find there from their very start."""
    names = [*WORKER_ENVIRONMENT, "PYTHONHASHSEED"]  # dask sets that one
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _hide_main_script() -> Iterator[None]:
    """Keep workers from importing the script that runs this batch.

    Python's spawned processes import the main script first, which would run the batch again in
    each of them unless the script has a guard. What it defines reaches them pickled by value.
    """
    main = sys.modules["__main__"]
    hidden = {n: getattr(main, n) for n in ("__file__", "__spec__") if hasattr(main, n)}
    main.__dict__.pop("__file__", None)
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


@contextmanager
def hold_interrupts() -> Iterator[None]:
    """Let Ctrl-C reach this process alone, and not before what is started here has started.

    Threads and processes inherit which signals are held back. A terminal's Ctrl-C goes to all of
    its processes: workers would die of it, noisily, while they are being stopped in order.
    """
    resource_tracker.ensure_running()  # it lets interrupts through to what is started next
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def dashboard_link(client: Any) -> str | None:
    """Return the dashboard's address; below a Jupyter hub, through its proxy."""
    link = client.dashboard_link
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if link and prefix:
        return f"{prefix.rstrip('/')}/proxy/{urlsplit(link).port}/status"
    return str(link) if link else None
