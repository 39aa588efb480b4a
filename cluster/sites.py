"""Where a batch runs: in this process, on a LocalCluster, or on somebody's scheduler."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

from calbatch.cluster.errors import RequestError
from calbatch.cluster.job import Job, Outcome, calibrate, failure, prepared

WINDOW_PER_THREAD = 2
"""Exposures under way for each thread: enough that none waits, few enough to stop quickly."""

WORKER_ENVIRONMENT = {
    # glibc otherwise gives memory back and asks for it again with every tile: a third of the time.
    "MALLOC_TRIM_THRESHOLD_": str(2 * 10**9),
    "MALLOC_MMAP_THRESHOLD_": str(10**9),
    # Parallelism is over tiles and exposures; libraries must not add their own.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    # A user's models.py in the working folder must not be imported.
    "PYTHONSAFEPATH": "1",
}

SETTINGS = {
    "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
    # Nothing large stays in dask's memory, so there is nothing to spill.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": [
        "localhost",
        "127.0.0.1",
    ],
}


class Site(Protocol):
    """A place to run."""

    description: str
    dashboard: str | None

    def outcomes(self, jobs: Iterator[Job], batch: str) -> Iterator[Outcome]:
        """Run jobs, a few at a time, and yield what became of each as it ends."""
        ...


class InProcess:
    """This process: exposures one after another, their tiles in some threads.

    Parameters
    ----------
    threads : int
        How many; 0 for none but the caller's.
    """

    dashboard = None

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.description = f"in this process, {threads or 1} thread{'s' * (threads > 1)}"

    def outcomes(self, jobs: Iterator[Job], batch: str) -> Iterator[Outcome]:
        """Calibrate the exposures in turn."""
        for job in jobs:
            yield calibrate(job, self.threads)


class OnCluster:
    """A dask scheduler with its workers.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    grain : {"exposure", "tile"}
        What a task is: a whole exposure, or one of its tiles.
    description : str
        What to call it.
    """

    def __init__(self, client: Any, grain: str, description: str) -> None:
        self.client, self.grain, self.description = client, grain, description
        self.dashboard = dashboard_link(client)

    def outcomes(self, jobs: Iterator[Job], batch: str) -> Iterator[Outcome]:
        """Keep a window of exposures under way; the oldest have precedence."""
        from distributed import as_completed

        threads = sum(self.client.nthreads().values()) or 1
        running: dict[Any, tuple[Job, list[Any], float]] = {}
        completed = as_completed(raise_errors=False)
        submit = self._submit_exposure if self.grain == "exposure" else self._submit_tiles
        try:
            for _ in range(WINDOW_PER_THREAD * threads):
                yield from self._feed(jobs, batch, submit, running, completed)
            for future in completed:
                job, writers, start = running.pop(future.key)
                yield self._outcome(future, job, start)
                for writer in writers:
                    writer.abort()
                future.release()
                yield from self._feed(jobs, batch, submit, running, completed)
        finally:
            self._stop(running)

    def _feed(
        self,
        jobs: Iterator[Job],
        batch: str,
        submit: Callable[[Job, str], tuple[Any, list[Any]]],
        running: dict[Any, tuple[Job, list[Any], float]],
        completed: Any,
    ) -> Iterator[Outcome]:
        """Submit the next job; yield the outcomes of those that fail before there is a task."""
        for job in jobs:
            start = time.perf_counter()
            try:
                future, writers = submit(job, batch)
            except Exception as error:  # noqa: BLE001 - one exposure's failure is its own
                yield failure(job, error, start)
                continue
            running[future.key] = (job, writers, start)
            completed.add(future)
            return

    def _submit_exposure(self, job: Job, batch: str) -> tuple[Any, list[Any]]:
        # Keys of one group: dask queues them, and shows one bar for the batch.
        key = (f"{job.step.name}-{batch}", job.number)
        return self.client.submit(
            calibrate, job, key=key, pure=False, priority=-job.number
        ), []

    def _submit_tiles(self, job: Job, batch: str) -> tuple[Any, list[Any]]:
        import dask

        with dask.config.set(job.options.dask_config()):
            graph, writers = prepared(job)
        return self.client.compute(graph, priority=-job.number), writers

    def _outcome(self, future: Any, job: Job, start: float) -> Outcome:
        if future.status != "finished":
            return failure(job, future.exception() or RuntimeError("cancelled"), start)
        result = future.result()
        if isinstance(result, Outcome):
            return result
        products, seconds = result[0]
        return Outcome(
            job.number,
            job.path,
            products=tuple(p.path for p in products),
            seconds=time.perf_counter() - start,
            stages=seconds,
        )

    def _stop(self, running: dict[Any, tuple[Job, list[Any], float]]) -> None:
        """Leave nothing behind: no tasks, no unfinished files."""
        for _, writers, _ in running.values():
            for writer in writers:
                writer.abort()


def dashboard_link(client: Any) -> str | None:
    """Return the dashboard's address; below a Jupyter hub, through its proxy."""
    link = client.dashboard_link
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if link and prefix:
        return f"{prefix.rstrip('/')}/proxy/{urlsplit(link).port}/status"
    return str(link) if link else None


@contextmanager
def local_cluster(workers: int, grain: str) -> Iterator[OnCluster]:
    """Give a cluster of this machine's cores and memory, as a container limits them."""
    import dask
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    os.environ["PYTHONSAFEPATH"] = "1"
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({**SETTINGS, **_routes()}))
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=MEMORY_LIMIT // workers,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            )
        )
        client = stack.enter_context(Client(cluster))
        yield OnCluster(client, grain, f"{workers} local workers")


def _routes() -> dict[str, Any]:
    """Return the scheduler's web routes without the one that is a proxy to anywhere."""
    import dask

    routes = dask.config.get("distributed.scheduler.http.routes")
    kept = [r for r in routes if r != "distributed.http.proxy"]
    return {"distributed.scheduler.http.routes": kept}


@contextmanager
def existing(address: str, grain: str, *, insecure: bool) -> Iterator[OnCluster]:
    """Give a scheduler that runs already.

    Raises
    ------
    RequestError
        When it cannot be reached, or is neither on this machine nor encrypted.
    """
    from distributed import Client

    parts = urlsplit(address)
    loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "tls" and not loopback and not insecure:
        raise RequestError(
            f"{address}: not encrypted, and not on this machine: whoever reaches it runs code on "
            "it; use tls://, or say --insecure if the network is trusted"
        )
    try:
        client = Client(address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise RequestError(f"no scheduler answers at {address}: {error}") from error
    with client:
        yield OnCluster(client, grain, f"the scheduler at {address}")


def chosen(
    scheduler: str, workers: int | None, grain: str, exposures: int, *, insecure: bool = False
) -> AbstractContextManager[Any]:
    """Return the site that a user asked for, not yet entered.

    Parameters
    ----------
    scheduler : str
        ``auto``, ``local``, ``threads``, ``sync``, or the address of a scheduler.
    workers : int, optional
        Worker processes or threads; by default one a core.
    grain : {"auto", "exposure", "tile"}
        What a task is.
    exposures : int
        How many there are: they decide what ``auto`` means.
    insecure : bool
        Whether an unencrypted scheduler elsewhere is acceptable.

    Raises
    ------
    RequestError
        For a scheduler of no known kind.
    """
    from dask.system import CPU_COUNT

    count = workers or CPU_COUNT
    if scheduler == "auto":
        scheduler = "threads" if exposures <= 1 else "local"
    if scheduler in ("threads", "sync"):
        return _here(InProcess(count if scheduler == "threads" else 0))
    if scheduler != "local" and "://" not in scheduler:
        raise RequestError(
            f"scheduler {scheduler!r}: must be auto, local, threads, sync, or an address such as "
            "tcp://127.0.0.1:8786"
        )
    if scheduler == "local":
        count = count if workers else min(count, max(exposures, 1))
        return local_cluster(count, _grain(grain, exposures, count))
    return existing(scheduler, _grain(grain, exposures, count), insecure=insecure)


def _grain(grain: str, exposures: int, workers: int) -> str:
    """Choose tiles where there are too few exposures to keep the workers busy."""
    if grain != "auto":
        return grain
    return "tile" if exposures < workers else "exposure"


@contextmanager
def _here(site: InProcess) -> Iterator[InProcess]:
    yield site


def in_notebook() -> bool:
    """Return whether this runs in a Jupyter kernel."""
    return "ipykernel" in sys.modules
