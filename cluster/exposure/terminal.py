"""What is shown to people: names from files and headers are not obeyed by terminals."""

from __future__ import annotations

import os
from collections.abc import Iterable

from rich import console as rich_console
from rich.segment import Segment

from calbatch.cluster.exposure.messages import harmless, harmless_lines

__all__ = ["Console", "harmless", "harmless_lines"]


class Console(rich_console.Console):
    """A console on which texts cannot move the cursor, colour what follows, or ring.

    rich takes some control characters out of texts, and leaves the one that all sequences begin
    with.
    """

    def render(
        self,
        renderable: rich_console.RenderableType,
        options: rich_console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Yield the pieces of what is printed; what rich itself says to the terminal stays."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                yield Segment(harmless_lines(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Say nothing more, as nobody reads it: that is no reason to end a batch, or to fail."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)
