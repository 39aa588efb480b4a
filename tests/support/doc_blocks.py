"""The examples of the pages: blocks of code, and the comments that say how they are run.

A comment stands on a line of its own before its block:

- ``<!-- not run: REASON -->``: the block is not executed, for one of the `REASONS`;
- ``<!-- first: COMMAND -->``: a command that is run before the block;
- ``<!-- file: PATH -->``: the block is the content, or more of the content, of a file;
- ``<!-- with: PAGE -->``: the block needs the files of another page.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

REASONS = (
    ".ci/run runs it",
    "takes minutes or hours",
    "works in a checkout",
    "installs packages",
    "needs another host",
)
"""The reasons for which a block may not be executed."""

RUN = ("sh", "python")
"""The languages of blocks that are executed."""

_COMMENT = re.compile(r"<!-- (not run|first|file|with): (.*) -->")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes
    ----------
    language : str
        The word after its fence.
    line : int
        The number of its first line in the page, from 1.
    text : str
        Its lines.
    comments : tuple of (str, str)
        The kind and the text of each comment before it.
    """

    language: str
    line: int
    text: str
    comments: tuple[tuple[str, str], ...]

    def comments_of(self, kind: str) -> list[str]:
        """Return the texts of comments of one kind."""
        return [text for each, text in self.comments if each == kind]

    @property
    def is_executed(self) -> bool:
        """Return whether the block is executed."""
        return self.language in RUN and not self.comments_of("not run")


def read_blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page's text.

    Raises
    ------
    ValueError
        If a comment is not followed by a block, which it would not affect.
    """
    comments: list[tuple[str, str]] = []
    lines = iter(enumerate(page.splitlines(keepends=True), 1))
    for number, line in lines:
        if found := _COMMENT.fullmatch(line.strip()):
            comments.append((found[1], found[2]))
        elif line.startswith("```"):
            inner = takewhile(lambda each: not each[1].startswith("```"), lines)
            text = "".join(each for _, each in inner)
            yield Block(line[3:].strip(), number + 1, text, tuple(comments))
            comments = []
        elif comments and line.strip() and not line.startswith("<!--"):
            raise ValueError(f"line {number}: a block must follow the comment {comments[-1]}")


def write_files(page: Path, folder: Path) -> None:
    """Write the files whose contents a page shows into a folder."""
    for block in read_blocks(page.read_text()):
        write_file(block, folder)


def write_file(block: Block, folder: Path) -> None:
    """Add a block to the files that its comments name."""
    for name in block.comments_of("file"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if path.exists() else ""
        if block.text not in before:
            path.write_text(before + block.text)
