"""The console that escapes control characters."""

import io
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from rich.text import Text

from calbatch.cluster.exposure.terminal import Console


def test_control_characters_in_text_are_escaped():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    console.print(Text("a\x1b[31mb\x07"), style="bold")
    shown = console.file.getvalue()
    assert "\x1b[31m" not in shown
    assert "\x07" not in shown
    assert "\x1b[1m" in shown  # rich's own style
    assert r"\x1b" in shown


def test_lines_stay_lines():
    console = Console(file=io.StringIO(), width=80)
    console.print("one\ntwo")
    assert console.file.getvalue() == "one\ntwo\n"


def test_a_closed_pipe_silences_the_console(tmp_path):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as file:
        console = Console(file=file)
        console.on_broken_pipe()
        assert console.quiet
        file.write("nobody reads this")
        file.flush()


@pytest.mark.parametrize("stderr", [False, True])
def test_text_that_cannot_be_written_does_not_stay_in_the_buffer(tmp_path, stderr):
    """It would fail again when the process ends."""
    with Path("/dev/full").open("w") as file, (tmp_path / "log").open("w") as log:
        stream = Console(file=file, stderr=stderr).file
        stream.write("lost")
        with nullcontext() if stderr else pytest.raises(OSError, match="No space left"):
            stream.flush()
        os.dup2(log.fileno(), file.fileno())
        stream.write("kept")
        stream.flush()
    assert (tmp_path / "log").read_text() == "kept"
