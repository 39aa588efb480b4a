"""The console that escapes control characters."""

import io
import os

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
