"""The execution of a page: its blocks run in order, in one session."""

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType

from support.doc_blocks import Block, read_blocks, write_file, write_files
from support.repository import ROOT

DONE = "every block has run"
"""The last line of the output of a page that has run."""

BASH = ("bash", "-euo", "pipefail", "-c")


def run_page(page: Path) -> int:
    """Run the blocks of a page in the working folder; return the status, 1 if one has failed."""
    session = Session()
    for block in read_blocks(page.read_text()):
        try:
            session.run_block(block)
        except (Exception, SystemExit):
            traceback.print_exc()
            report(f"{page}:{block.line} has failed")
            return 1
    report(DONE)
    return 0


def report(line: str) -> None:
    """Write a line to the output of the page, after what has been written so far."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Session:
    """A shell whose variables stay, and an interpreter, as a notebook has it, whose names stay."""

    def __init__(self) -> None:
        self.folder = Path.cwd().parent / "session"  # outside of the folder that Python searches
        self.folder.mkdir()
        self.module = ModuleType("__main__")
        sys.modules["__main__"] = self.module
        self.lines: list[str] = []

    def run_block(self, block: Block) -> None:
        """Write the files of a block, and execute it."""
        for other in block.comments_of("with"):
            write_files(ROOT / "docs" / other, Path())
        write_file(block, Path())
        for command in block.comments_of("first"):
            self.run_shell(command)
        if block.is_executed:
            report(f"--- line {block.line}")
            if block.language == "sh":
                self.run_shell(block.text)
            else:
                self.run_python(block)

    def run_shell(self, text: str) -> None:
        """Run commands, and keep the variables that they export."""
        variables = self.folder / "variables"
        ending = f"\nenv -0 > '{variables}'"
        subprocess.run([*BASH, replace_unusable(text) + ending], check=True)
        pairs = (line.partition("=") for line in variables.read_text().split("\0") if line)
        os.environ.update({name: value for name, _, value in pairs})

    def run_python(self, block: Block) -> None:
        """Run code, whose lines are numbered as in the page."""
        self.lines += [""] * (block.line - 1 - len(self.lines)) + block.text.splitlines()
        path = self.folder / "page.py"
        path.write_text("\n".join(self.lines) + "\n")
        self.module.__file__ = str(path)
        text = "\n" * (block.line - 1) + replace_unusable(block.text)
        exec(compile(text, str(path), "exec"), self.module.__dict__)


def replace_unusable(text: str) -> str:
    """Replace hosts, folders and times that no test can have by those of the variable REPLACED."""
    for name, value in json.loads(os.environ["REPLACED"]).items():
        text = text.replace(name, value)
    return text
