"""A console that escapes control characters from file names and headers."""

from __future__ import annotations

import os
from collections.abc import Iterable

from rich import console as rich_console
from rich.segment import Segment

from calbatch.cluster.exposure.messages import escape_lines


class Console(rich_console.Console):
    """A console on which text cannot move the cursor, change colours or ring the bell.

    rich removes some control characters from text, but not ESC, which starts escape sequences.
    """

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
