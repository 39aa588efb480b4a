"""A console that escapes control characters from file names and headers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from rich import console as rich_console
from rich.segment import Segment

from calbatch.cluster.exposure.messages import escape_lines

UNLIMITED = 100_000
"""Width of a console that is not a terminal, so that `calbatch params | grep` finds whole cells."""


class Console(rich_console.Console):
    """A console on which text cannot move the cursor, change colours or ring the bell.

    rich removes some control characters from text, but not ESC, which starts escape sequences.
    In a file or pipe, nothing is cut or wrapped to a width. Messages, which go to standard error,
    are lost if they cannot be written, for instance to a full disk; output raises OSError.
    Brackets and numbers in text mean nothing.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "highlight": False, **options})
        if options.get("width") is None and not (self.is_terminal or self.is_jupyter):
            self.width = UNLIMITED

    @property
    def file(self) -> IO[str]:
        """The stream that is written to."""
        found = super().file
        return (_Messages if self.stderr else _Output)(found)  # type: ignore[return-value]

    @file.setter
    def file(self, new: IO[str]) -> None:
        self._file = new

    def render(
        self,
        renderable: rich_console.RenderableType,
        options: rich_console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Yield the rendered segments, escaped; rich's own control segments pass unchanged."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                yield Segment(escape_lines(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Discard further output, since it has no reader; the batch continues."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


def print_text(console: rich_console.Console, text: str, style: str = "") -> None:
    """Print a text to any console, neither wrapped nor interpreted."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class _Output:
    """A stream of output that does not try again to write what could not be written.

    Otherwise the text would stay in the stream's buffer, and fail once more, and with another exit
    status, when the process ends.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        """Write the buffered text.

        Raises
        ------
        OSError
            If that fails; the text is lost.
        """
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError:
            _drop_buffer(self._stream)
            raise


def _drop_buffer(stream: IO[str]) -> None:
    """Write the text in a stream's buffer to the null device."""
    number = stream.fileno()
    own, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, number)
        stream.flush()
    finally:
        os.dup2(own, number)
        os.close(own)
        os.close(nowhere)


class _Messages(_Output):
    """A stream of messages, whose loss stops nothing."""

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        with _ignore_unwritable():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write the buffered text, if possible."""
        with _ignore_unwritable():
            super().flush()


@contextmanager
def _ignore_unwritable() -> Iterator[None]:
    """Ignore errors in writing, except that a reader has gone."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError:
        pass
