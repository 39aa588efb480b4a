"""Escaping of control characters in messages, which may quote file names and header values.

This module imports nothing heavy, since the command line imports it at startup.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from types import TracebackType

from calbatch.models.errors import ValidationWarning, escape_text

__all__ = ["EscapingFormatter", "escape_lines", "escape_python_messages", "escape_text"]


def escape_lines(text: str) -> str:
    """Return a text with the control characters of each line escaped."""
    return "\n".join(map(escape_text, text.split("\n")))


class EscapingFormatter(logging.Formatter):
    """Formats records with another formatter and escapes control characters in the result.

    Parameters
    ----------
    inner : logging.Formatter, optional
        The other formatter; by default one that writes the message alone.
    """

    def __init__(self, inner: logging.Formatter | None = None) -> None:
        super().__init__()
        self.inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return escape_lines(self.inner.format(record))


_LOGGERS = ("", "calbatch", "distributed", "py.warnings")


def escape_python_messages() -> None:
    """Escape control characters in Python's warnings, log records and tracebacks.

    These quote file names and header values, and reach the terminal without passing through a
    console. Meant for processes that calbatch starts; repeated calls have no effect.
    """
    warnings.formatwarning = _format_warning
    sys.excepthook = _show_exception
    threading.excepthook = _show_thread_exception
    handlers = [handler for name in _LOGGERS for handler in logging.getLogger(name).handlers]
    for handler in (*handlers, logging.lastResort):
        if handler is not None and not isinstance(handler.formatter, EscapingFormatter):
            handler.setFormatter(EscapingFormatter(handler.formatter))


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    if issubclass(category, ValidationWarning):  # about a file, so no place in our code helps
        return escape_text(f"warning: {message}") + "\n"
    return escape_text(f"{filename}:{lineno}: {category.__name__}: {message}") + "\n"


def _show_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(escape_lines(text))


def _show_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _show_exception(args.exc_type, args.exc_value, args.exc_traceback)
