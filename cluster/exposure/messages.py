"""Messages that quote names of files and values of headers: terminals do not obey them.

Nothing heavy is imported: the command line begins here.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from types import TracebackType

from calbatch.models.errors import escaped as harmless

__all__ = ["HarmlessFormatter", "guard_messages", "harmless", "harmless_lines"]


def harmless_lines(text: str) -> str:
    """Return a text of lines, each harmless."""
    return "\n".join(map(harmless, text.split("\n")))


class HarmlessFormatter(logging.Formatter):
    """Formats records as another formatter does, each line harmless.

    Parameters
    ----------
    inner : logging.Formatter, optional
        The other; by default one that writes messages alone.
    """

    def __init__(self, inner: logging.Formatter | None = None) -> None:
        super().__init__()
        self.inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's text."""
        return harmless_lines(self.inner.format(record))


_LOGGERS = ("", "calbatch", "distributed", "py.warnings")


def guard_messages() -> None:
    """Have Python's own messages shown harmlessly: warnings, log records and tracebacks.

    They quote names of files and values of headers, and go to the terminal past every console. For
    processes of our own; doing it again changes nothing.
    """
    warnings.formatwarning = _formatted_warning
    sys.excepthook = _show_exception
    threading.excepthook = _show_thread_exception
    handlers = [handler for name in _LOGGERS for handler in logging.getLogger(name).handlers]
    for handler in (*handlers, logging.lastResort):
        if handler is not None and not isinstance(handler.formatter, HarmlessFormatter):
            handler.setFormatter(HarmlessFormatter(handler.formatter))


def _formatted_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return harmless(f"{filename}:{lineno}: {category.__name__}: {message}") + "\n"


def _show_exception(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(harmless_lines(text))


def _show_thread_exception(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _show_exception(args.exc_type, args.exc_value, args.exc_traceback)
