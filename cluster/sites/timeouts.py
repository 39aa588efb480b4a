"""Calls with a time limit, since a stopped process never answers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def call_within(
    seconds: float, function: Callable[[], T], *, discard: Callable[[T], object] | None = None
) -> T:
    """Return the result of a call, or raise TimeoutError if it takes too long.

    The call runs in a thread of its own, which is abandoned when the time is up.

    Parameters
    ----------
    seconds : float
        Time limit.
    function : callable
        Called without arguments.
    discard : callable, optional
        Called with a result that arrives too late.

    Raises
    ------
    TimeoutError
        If there is no result in time. Errors of the call itself are raised as they are.
    """
    answer: Future[T] = Future()

    def call() -> None:
        try:
            result = function()
        except BaseException as error:  # raised again in the calling thread
            with suppress(InvalidStateError):
                answer.set_exception(error)
            return
        try:
            answer.set_result(result)
        except InvalidStateError:
            if discard is not None:
                discard(result)

    Thread(target=call, daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        if answer.cancel():
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        return answer.result()
    except BaseException:
        answer.cancel()
        raise
