"""Signals that interrupt a batch."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from typing import NoReturn

PAUSE = 0.05
"""Seconds after which a signal whose exception was dropped is sent again."""

_last_signal: int | None = None
_is_pending = False


def handle_interrupts() -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C, and lose none of them.

    Python drops exceptions that are raised in destructors, and in callbacks of weak references and
    of the garbage collector. A signal that arrives there is sent again, until its exception
    interrupts the main thread. Where libraries drop it unseen, `require_no_interrupt` raises it
    again.
    """
    global _is_pending
    _is_pending = False
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    if not isinstance(sys.unraisablehook, _DroppedExceptions):  # once, however often this is called
        sys.unraisablehook = _DroppedExceptions()


def interrupt(number: int, frame: object) -> NoReturn:
    """Handle a signal like Ctrl-C, and remember it for `require_no_interrupt`.

    Raises
    ------
    KeyboardInterrupt
        Always.
    """
    global _last_signal, _is_pending
    _last_signal, _is_pending = number, True
    raise KeyboardInterrupt


def require_no_interrupt() -> None:
    """Raise the exception of an earlier signal again, once.

    Raises
    ------
    KeyboardInterrupt
        If a signal has been received.
    """
    global _is_pending
    if _is_pending:
        _is_pending = False
        raise KeyboardInterrupt


class _DroppedExceptions:
    """Hook for exceptions that Python drops: interrupts are sent again, others reported."""

    def __init__(self) -> None:
        self._report = sys.unraisablehook

    def __call__(self, dropped: sys.UnraisableHookArgs) -> None:
        if dropped.exc_type is KeyboardInterrupt and _last_signal is not None:
            # a lock of `threading` may be held where the exception was dropped
            _thread.start_new_thread(_send_again, (_last_signal,))
        else:
            self._report(dropped)


def _send_again(number: int) -> None:
    time.sleep(PAUSE)
    identity = threading.main_thread().ident
    # Once another signal has ended the batch, there is no handler, and this one would kill us.
    if identity is not None and callable(signal.getsignal(number)):
        signal.pthread_kill(identity, number)
