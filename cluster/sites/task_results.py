"""Tasks of exposures: a job reaches a worker as bytes, and its result comes back as a message.

A scheduler unpickles each argument of a task, and pickles it again; bytes pass unchanged. dask
leaves results with workers, from which a client fetches them one by one. A message travels together
with the news that the task has ended, through connections that exist anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from calbatch.cluster.errors import DeathError, LostError
from calbatch.cluster.exposure.job import Job
from calbatch.cluster.exposure.outcome import Outcome
from calbatch.cluster.sites.silence import ANSWER

Key = tuple[str, int, int]
"""Key of a task: name, number of the exposure, and a number that tells its attempts apart."""

Message = tuple[Key, bytes]
"""Key of a task, and its pickled result."""


def pack_task(work: Callable[[Job], Outcome], job: Job, topic: str, key: Key) -> bytes:
    """Return the argument of `run_task` for an exposure.

    Parameters
    ----------
    work : callable
        Returns the outcome of a job.
    job : Job
        The job.
    topic : str
        Topic of dask's events under which the driver receives results.
    key : tuple
        Key of the task.
    """
    from distributed.protocol.pickle import dumps

    return bytes(dumps((work, job, topic, key)))


def run_task(packed: bytes) -> None:
    """Carry out a job in a worker, and send its outcome to the driver."""
    from distributed.protocol.pickle import loads

    work, job, topic, key = loads(packed)
    send_result(work(job), topic, key)


def send_result(result: Any, topic: str, key: Key) -> None:
    """Send the result of a task from its worker to the driver.

    The scheduler gets the message before it hears that the task has ended.
    """
    from distributed import get_worker
    from distributed.protocol.pickle import dumps

    get_worker().log_event(topic, (key, dumps(result)))


def unpack_result(packed: bytes) -> Any:
    """Return the result of a task, in the driver."""
    from distributed.protocol.pickle import loads

    return loads(packed)


def find_error(future: Any) -> BaseException:
    """Return calbatch's error for a task that has ended without a result."""
    from distributed import KilledWorker

    if future.status == "cancelled":
        return LostError("the scheduler lost it")
    try:
        error: BaseException = future.exception(timeout=ANSWER)
    except TimeoutError:
        return LostError("the scheduler does not answer")
    if isinstance(error, KilledWorker):
        return DeathError(f"its worker died (the last was {error.last_worker.address})")
    return error
