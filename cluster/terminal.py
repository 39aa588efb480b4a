"""What is shown to people: names from files and headers are not obeyed by terminals."""

from __future__ import annotations

from collections.abc import Iterable

from rich import console as rich_console
from rich.segment import Segment


def harmless(text: str) -> str:
    """Return a text as one line without what a terminal would obey, which is escaped instead."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def harmless_lines(text: str) -> str:
    """Return a text of lines, each harmless."""
    return "\n".join(map(harmless, text.split("\n")))


def _escaped(character: str) -> str:
    printable = character.isprintable() or character == "\t"
    return character if printable else repr(character)[1:-1]


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
