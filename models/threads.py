"""Threads in processes that may be interrupted, and work that can be cancelled.

The scope of some work is part of its context, like a deadline. Functions that wait need no argument
for it, and threads that are given a copy of the context belong to the work.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token, copy_context
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

        A thread takes up to `CHUNK` values at a time, since each handing over costs time. If this
        thread is interrupted, all calls are cancelled; if a call fails, those after it are.
        """
        size = max(1, min(CHUNK, -(-len(values) // self._max_workers)))
        chunks = [values[at : at + size] for at in range(0, len(values), size)]
        with CancelScope():
            found = self.map(lambda chunk: [function(value) for value in chunk], chunks)
            return list(chain.from_iterable(found))


class CancelledError(BaseException):
    """The work was cancelled; as in asyncio, no handler of ordinary exceptions stops this."""


class CancelScope:
    """The work done within this context, and in threads that run in copies of it.

    It is cancelled by `cancel`, with the scope around it, and if it is left by an exception, such
    as `KeyboardInterrupt`: threads that still work for it then end soon. Enter it once.
    """

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._actions: set[Callable[[], object]] = set()
        self._around: CancelScope | None = None
        self._token: Token[CancelScope | None] | None = None

    def __enter__(self) -> CancelScope:
        self._around = _innermost.get()
        self._token = _innermost.set(self)
        if self._around is not None:
            self._around.call_when_cancelled(self.cancel)
        return self

    def __exit__(self, kind: type[BaseException] | None, *fault: object) -> None:
        if self._token is not None:
            _innermost.reset(self._token)
        if self._around is not None:
            self._around._actions.discard(self.cancel)
        if kind is not None:
            self.cancel()
        self._around = None
        self._actions.clear()  # contexts may outlive the work, and actions hold its results

    @property
    def is_cancelled(self) -> bool:
        """True if nothing more is to be done, also while the scope around it is being cancelled."""
        around = self._around
        return self._flag.is_set() or (around is not None and around.is_cancelled)

    def cancel(self) -> None:
        """Cancel the work, from any thread."""
        self._flag.set()
        for action in list(self._actions):
            action()

    def call_when_cancelled(self, action: Callable[[], object]) -> None:
        """Call a function when the work is cancelled, or at once if it has been.

        Parameters
        ----------
        action : callable
            Ends a wait. It must not raise, and may be called repeatedly, by several threads.
        """
        self._actions.add(action)
        if self.is_cancelled:
            action()

    def pause(self, seconds: float) -> None:
        """Wait for some time, or until the work is cancelled."""
        self._flag.wait(seconds)


_innermost: ContextVar[CancelScope | None] = ContextVar("scope", default=None)


def check_cancelled() -> None:
    """Raise an error if the work of this context was cancelled.

    Raises
    ------
    CancelledError
        If it was.
    """
    scope = _innermost.get()
    if scope is not None and scope.is_cancelled:
        raise CancelledError


def pause(seconds: float) -> None:
    """Wait for some time.

    Raises
    ------
    CancelledError
        If the work of this context is cancelled, even before the time is over.
    """
    scope = _innermost.get()
    if scope is None:
        time.sleep(seconds)
    else:
        scope.pause(seconds)
        check_cancelled()


def map_in_daemons(function: Callable[[V], T], values: Sequence[V], threads: int) -> list[T]:
    """Return the results of a function for each value, from threads for which nothing waits.

    If this thread is interrupted, its work is cancelled, or a call fails, all calls are cancelled.
    This returns at once, and the process can end, even during those that cannot end a wait.

    Raises
    ------
    CancelledError
        If the work of this context is cancelled.
    """
    pending = deque(enumerate(values))
    results: SimpleQueue[tuple[int, Callable[[], T]]] = SimpleQueue()

    def stop() -> None:
        pending.clear()
        results.put((-1, partial(_raise, CancelledError())))

    def run_pending() -> None:
        while pending:
            with suppress(IndexError):  # another thread has taken the last one
                index, value = pending.popleft()
                try:
                    results.put((index, partial(_return, function(value))))
                except BaseException as error:
                    results.put((index, partial(_raise, error)))

    found: dict[int, T] = {}
    with CancelScope() as scope:
        scope.call_when_cancelled(stop)
        for _ in range(min(threads, len(values))):
            threading.Thread(target=copy_context().run, args=(run_pending,), daemon=True).start()
        while len(found) < len(values):
            index, read = results.get()
            if scope.is_cancelled:  # which may be the cause of a call's failure
                raise CancelledError
            found[index] = read()
    return [found[index] for index in range(len(values))]


def call_in_daemon(function: Callable[[], T]) -> T:
    """Return the result of a function from a thread of its own; see `map_in_daemons`."""
    [result] = map_in_daemons(lambda call: call(), [function], 1)
    return result


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
