"""The local site: a dask cluster that uses this machine's cores and memory."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from multiprocessing import (
    active_children,
    current_process,
    forkserver,
    get_context,
    resource_tracker,
)
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from calbatch.cluster.errors import SiteLostError
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.forking import MALLOC_ENVIRONMENT, fork_server_here, is_fork_safe
from calbatch.cluster.sites.page.links import HOST, dashboard_link
from calbatch.models.errors import format_count
from calbatch.models.jit import kernel_folder
from calbatch.models.storage.memory import shared_memory_limit
from calbatch.models.temporary import make_process_folder
from calbatch.models.tiling import reference_cache

log = logging.getLogger(__name__)

WORKER_BYTES = 600 * 2**20
"""Memory of a worker: the interpreter with its libraries, a tile and its intermediate results."""

REFERENCE_BYTES = 512 * 2**20
"""Decoded references that a worker keeps between exposures, if it has the memory.

The references of a full frame with 10 groups take 410 MB.
"""

WORKER_ENVIRONMENT = {
    **MALLOC_ENVIRONMENT,
    # Tiles and exposures run in parallel; libraries must not start threads of their own.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    # Do not import modules of the working folder, such as a user's own models.py.
    "PYTHONSAFEPATH": "1",
}

FEW_MESSAGES = {"distributed.admin.low-level-log-length": 10}
"""Setting for connections, which remember their last messages, and thus jobs, for developers."""

DASK_SETTINGS = {
    # No large result stays in dask's memory, so there is nothing to spill.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # One exposure per worker: if a worker dies, only its exposure can be to blame. The driver is
    # notified of every death, and decides on retries.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 0,
    # A worker whose kernel holds the interpreter for minutes is not dead. The driver examines its
    # process, and abandons workers that are stopped or cut off.
    "distributed.scheduler.worker-ttl": None,
    # Each sample of the profile halts the task; fewer samples show as much.
    "distributed.worker.profile.interval": "100ms",
    # Checking event loops 50 times and memory 10 times per second costs two workers 7 % of a core.
    "distributed.admin.tick.interval": "500ms",
    "distributed.worker.memory.monitor-interval": "300ms",
    **FEW_MESSAGES,
    "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": [
        "localhost",
        "127.0.0.1",
    ],
}

INTERRUPTS = {signal.SIGINT, signal.SIGHUP}
"""Signals that a terminal sends to all of its processes."""


def start_server() -> None:
    """Start the process from which workers are forked, which imports their libraries.

    A forked worker has its libraries at once, and shares their memory. On systems other than Linux,
    and if a fork server is running that calbatch did not start, workers import for themselves.
    """
    if _server.method() == "forkserver":
        kernel_folder()  # a temporary one is inherited
        with _set_worker_environment(), hold_interrupts():
            _server.start()


class _Server:
    """The process from which workers are forked."""

    def __init__(self) -> None:
        self.pid: int | None = None

    def method(self) -> str:
        """Return the start method of multiprocessing for workers."""
        running = self._running()
        is_ours = running is None or running == self.pid
        return "forkserver" if sys.platform == "linux" and is_ours else "spawn"

    def start(self) -> None:
        """Start the process with the current environment, which workers inherit."""
        context = get_context("forkserver")
        context.set_forkserver_preload(["calbatch.cluster.sites.preload"])
        _use_own_names()
        with fork_server_here() if is_fork_safe() else nullcontext():
            forkserver.ensure_running()
        if self.pid != self._running():
            # after processes have been joined that others have started
            Finalize(None, _end_server, (os.getpid(), self._running()), exitpriority=-50)
        self.pid = self._running()

    @staticmethod
    def _running() -> int | None:
        server: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)
        return server


def _end_server(driver: int, server: int | None) -> None:
    """End the server at the end of the driver, which has no workers left.

    The server would notice that by itself, but not before its imports are done. Until then,
    programs that read the driver's output would wait for more.
    """
    if server is not None and os.getpid() == driver:
        with suppress(OSError):  # it has been waited for, and its ID may be another process's
            if os.waitpid(server, os.WNOHANG) == (0, 0):
                os.kill(server, signal.SIGTERM)


_server = _Server()


def _use_own_names() -> None:
    """Set names of multiprocessing's sockets and semaphores that allow removing them after a kill.

    By default, these are a folder ``pymp-…`` and semaphores ``mp-…``, without a trace of the owner.
    """
    config: dict[str, Any] = getattr(current_process(), "_config", {})
    if config.get("tempdir") is None:
        folder = make_process_folder("sockets")
        config["tempdir"], config["semprefix"] = str(folder), f"/{folder.name}"
        # as multiprocessing does for its own folder
        Finalize(None, shutil.rmtree, (config["tempdir"], True), exitpriority=-100)


@contextmanager
def open_local_cluster(workers: int, grain: str) -> Iterator[DaskSite]:
    """Yield a site of single-threaded worker processes; nothing listens beyond this machine."""
    start_server()  # which imports the same modules at the same time
    import dask
    from distributed import Client, LocalCluster, utils

    from calbatch.cluster.sites import dashboard

    # Otherwise dask has the server import pandas, pyarrow and others that happen to be installed,
    # and imports them here to find out. They start threads, and no step needs them.
    utils._forkserver_preload_set = True
    memory = shared_memory_limit() // workers
    others = {child.pid for child in active_children()}
    with ExitStack() as stack:
        stack.enter_context(_set_worker_environment())
        keeping = {reference_cache.SETTING: reference_bytes(memory, grain)}
        folder = {"temporary-directory": str(make_worker_folder(stack))}
        routes = http_routes(dashboard.__name__)
        settings = {**DASK_SETTINGS, **keeping, **routes, **_processes(), **folder}
        stack.enter_context(dask.config.set(settings))
        stack.enter_context(_hide_main_script())
        with hold_interrupts():
            try:
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    memory_limit=memory,
                    host=HOST,
                    dashboard_address=f"{HOST}:0",
                    scheduler_kwargs=dashboard.scheduler_options(),
                    silence_logs=50,
                )
            except (OSError, RuntimeError, ValueError) as error:  # a worker died while starting
                raise SiteLostError(f"the cluster did not start: {error}") from error
            stack.callback(_close, cluster, others)
            dashboard.add_dashboard(cluster.scheduler)
            client = stack.enter_context(Client(cluster, set_as_default=False))
        name = format_count(workers, "local worker")
        yield DaskSite(client, grain, name, dashboard_link(client))


def affordable_workers() -> int:
    """Return the number of workers that cores and memory allow; containers' limits count."""
    from dask.system import CPU_COUNT

    return max(1, min(CPU_COUNT, shared_memory_limit() // WORKER_BYTES))


def reference_bytes(memory: int, grain: str) -> int:
    """Return the bytes of decoded references that a worker keeps between exposures.

    Parameters
    ----------
    memory : int
        Bytes that the worker may use.
    grain : {"exposure", "tile"}
        Size of a task. With tiles, exposures are too few for references to be kept and reused.
    """
    import dask

    configured: int | None = dask.config.get(reference_cache.SETTING, None)
    if configured is not None:
        return configured
    return min(REFERENCE_BYTES, max(0, memory - WORKER_BYTES) // 2) if grain == "exposure" else 0


def _close(cluster: Any, others: Container[int | None]) -> None:
    """Stop a cluster's processes, including one that is just starting to replace a dead one."""
    try:
        cluster.close()
    except Exception:  # dask gave up waiting for some process
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
        raise SiteLostError(
            f"{where}: cannot create a folder for workers' files: {error.strerror}"
        ) from error
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _processes() -> dict[str, Any]:
    """Return dask's settings for starting workers: the method and their environment."""
    return {
        "distributed.worker.multiprocessing-method": _server.method(),
        "distributed.nanny.environ": dict(os.environ),  # the server's may be older
    }


def http_routes(*own: str) -> dict[str, Any]:
    """Return the scheduler's web routes, those of our own modules first, without its open proxy."""
    import dask

    routes = dask.config.get("distributed.scheduler.http.routes")
    allowed = [r for r in routes if r != "distributed.http.proxy"]
    return {"distributed.scheduler.http.routes": [*own, *allowed]}


@contextmanager
def _set_worker_environment() -> Iterator[None]:
    """Set the environment variables that workers need from their very start."""
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
    """Hide the main script from workers, which would otherwise import it.

    Processes that Python spawns import the main script first. Without a guard in the script, each
    of them would run the batch again. The script's own definitions are pickled by value.
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
    """Block interrupts in the threads and processes that are started within this context.

    They inherit the mask of signals. A terminal sends Ctrl-C to all of its processes, and workers
    would be killed by it, with tracebacks, while this process is still stopping them.
    """
    resource_tracker.ensure_running()  # starting it later would unblock interrupts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
