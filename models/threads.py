"""Pools of threads in processes that may be interrupted."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from itertools import chain
from queue import SimpleQueue
from typing import Any, NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")

CHUNK = 4
"""Number of values that a thread takes at a time."""


class ThreadPool(ThreadPoolExecutor):
    """A pool whose threads end even if an interrupt arrives while one of them is started.

    An exception that a signal handler raises within `ThreadPoolExecutor.submit` can leave a thread
    that the executor does not know. It never ends, and the process waits for it forever.
    Functions are called in the context of their submission, as in dask's pools.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule a call; interrupts that arrive meanwhile are handled after it."""
        with defer_interrupts():
            return super().submit(partial(copy_context().run, fn, *args, **kwargs))

    def map_in_chunks(self, function: Callable[[V], T], values: Sequence[V]) -> list[T]:
        """Return the results of a short function for each value.

        A thread takes up to `CHUNK` values at a time, since each handing over costs time.
        """
        size = max(1, min(CHUNK, -(-len(values) // self._max_workers)))
        chunks = [values[at : at + size] for at in range(0, len(values), size)]
        found = self.map(lambda chunk: [function(value) for value in chunk], chunks)
        return list(chain.from_iterable(found))


def map_in_daemons(function: Callable[[V], T], values: Sequence[V], threads: int) -> list[T]:
    """Return the results of a function for each value, from threads for which nothing waits.

    If this thread is interrupted, they begin no more calls, and the process can end during those
    that wait for a server.
    """
    pending = deque(enumerate(values))
    results: SimpleQueue[tuple[int, Callable[[], T]]] = SimpleQueue()

    def run_pending() -> None:
        while pending:
            with suppress(IndexError):  # another thread has taken the last one
                index, value = pending.popleft()
                try:
                    results.put((index, partial(_return, function(value))))
                except BaseException as error:
                    results.put((index, partial(_raise, error)))

    found: dict[int, T] = {}
    try:
        for _ in range(min(threads, len(values))):
            threading.Thread(target=copy_context().run, args=(run_pending,), daemon=True).start()
        while len(found) < len(values):
            index, read = results.get()
            found[index] = read()
    finally:
        pending.clear()
    return [found[index] for index in range(len(values))]


def _return(value: T) -> T:
    return value


def _raise(error: BaseException) -> NoReturn:
    raise error


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Handle signals that arrive within this context at its end.

    It has no effect in other threads than the main one, which handle no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def note(number: int, _: Any) -> None:
        arrived.append(number)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if callable(handler):  # a handler in Python, not the default action or one in C
                before[number] = handler
                signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for received in arrived:
            signal.raise_signal(received)
