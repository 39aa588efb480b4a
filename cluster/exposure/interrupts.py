"""Signals that interrupt a batch."""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

_received = False


def handle_interrupts() -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C, and lose none of them.

    An interrupt that Python drops is not reported: `require_no_interrupt` raises it again.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    report = sys.unraisablehook

    def report_others(dropped: sys.UnraisableHookArgs) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            report(dropped)

    sys.unraisablehook = report_others


def interrupt(number: int, frame: object) -> NoReturn:
    """Handle a signal like Ctrl-C, and remember it for `require_no_interrupt`.

    Raises
    ------
    KeyboardInterrupt
        Always.
    """
    global _received
    _received = True
    raise KeyboardInterrupt


def require_no_interrupt() -> None:
    """Raise the exception of an earlier signal again, once.

    Python drops exceptions that are raised in destructors, and in callbacks of weak references and
    of the garbage collector: a signal that arrives there is lost, unless something asks for it
    later.

    Raises
    ------
    KeyboardInterrupt
        If a signal has been received.
    """
    global _received
    if _received:
        _received = False
        raise KeyboardInterrupt
