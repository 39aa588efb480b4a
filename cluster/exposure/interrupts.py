"""Signals that interrupt a batch."""

from __future__ import annotations

from typing import NoReturn

_received = False


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

    Python drops exceptions that are raised in destructors and in callbacks of weak references: a
    signal that arrives there is lost, unless something asks for it later.

    Raises
    ------
    KeyboardInterrupt
        If a signal has been received.
    """
    global _received
    if _received:
        _received = False
        raise KeyboardInterrupt
