"""Commands as hooks: their arguments, the files that they run on, and their failures."""

import logging
import shlex
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import eventually

from calbatch.calibrate.errors import ParameterError, StepError
from calbatch.calibrate.hooks.shellhook import Command
from calbatch.models import datamodels
from calbatch.models.temporary import is_process_folder, remove_abandoned


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return two small images."""
    folder, found = tmp_path_factory.mktemp("in"), []
    for number in range(2):
        hdu = fits.ImageHDU(np.full((2, 3), number, np.float32), name="SCI")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(folder / f"{number}.fits")
        found.append(datamodels.ImageModel(folder / f"{number}.fits"))
    return found


# -- splitting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fitsverify {0}", (("fitsverify",), (0,))),
        ("a {1} {0}", (("a",), (1,), (0,))),
        ("a {} {}", (("a",), (0,), (1,))),
        ("a --in={0}.x", (("a",), ("--in=", 0, ".x"))),
        ("a 'b c'  d", (("a",), ("b c",), ("d",))),
        ("a {{0}}", (("a",), ("{", "0", "}"))),
        ("a '|' '$HOME'", (("a",), ("|",), ("$HOME",))),
        ("a {007}", (("a",), (7,))),
    ],
)
def test_a_command_is_split_into_words_and_files(text, words):
    found = Command.of(text)
    joined = tuple(merge_texts(word) for word in found.words)
    assert joined == tuple(merge_texts(word) for word in words)
    assert found.text == text


def merge_texts(word):
    """Return a word with neighbouring texts as one."""
    pieces = []
    for piece in word:
        if pieces and isinstance(piece, str) and isinstance(pieces[-1], str):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return tuple(pieces)


QUOTE, BETWEEN = "'", "'\"'\"'"
WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(WORD, min_size=1, max_size=4))
def test_quoted_words_are_literal(words):
    quoted = (f"'{word.replace(QUOTE, BETWEEN)}'" for word in words)
    text = " ".join(quoted).replace("{", "{{").replace("}", "}}")
    assert ["".join(map(str, word)) for word in Command.of(text).words] == words


@pytest.mark.parametrize(
    "text", ["a | b", "a > out", "a; b", "a && b", "a $HOME", "a `b`", "(a)", "a &", "a <in"]
)
def test_shell_syntax_is_rejected(text):
    with pytest.raises(ParameterError, match="shell"):
        Command.of(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {x}", "stands for the model's file"),
        ("a {0!r}", "stands for the model's file"),
        ("a {0:3}", "stands for the model's file"),
        ("a {", "stands for the model's file"),
        ("a {-1}", "stands for the model's file"),
        ("a {1234}", "stands for the model's file"),
        ("a 'b", "No closing quotation"),
        ("  ", "must not be empty"),
    ],
)
def test_other_texts_are_no_commands(text, message):
    with pytest.raises(ParameterError, match=message):
        Command.of(text)


# -- running -----------------------------------------------------------------------------------


def test_a_command_gets_a_file_of_each_model_that_it_names(models, tmp_path):
    Command.of(f"cp {{1}} {tmp_path}/one.fits").run(models, "jump")
    np.testing.assert_array_equal(fits.getdata(tmp_path / "one.fits", "SCI"), np.ones((2, 3)))


@pytest.mark.parametrize("status", [0, 1])
def test_files_are_gone_after_the_command(models, tmp_path, status):
    command = Command.of(f"sh -c 'echo \"$0\" > {tmp_path}/name; exit {status}' {{0}}")
    with pytest.raises(StepError) if status else nullcontext():
        command.run(models, "jump")
    name = Path((tmp_path / "name").read_text().strip())
    assert name.name == "model0.fits"
    assert not name.parent.exists()
    assert is_process_folder(name.parent, "hooks")  # which the next batch removes after a kill


def test_a_command_without_files_needs_no_models(tmp_path):
    Command.of(f"touch {tmp_path}/done").run([], "jump")
    assert (tmp_path / "done").exists()


def test_a_model_that_the_step_does_not_have_is_an_error(models):
    with pytest.raises(StepError, match=r"jump: command 'a \{2\}': .*\{2\}.* 2 model\(s\)"):
        Command.of("a {2}").run(models, "jump")


def test_the_output_is_logged_line_by_line_without_control_characters(caplog):
    with caplog.at_level(logging.INFO, logger="calbatch"):
        Command.of(r"printf 'one\n\n\033[2Jtwo\n'").run([], "jump")
    assert caplog.messages[1:] == [
        "jump: standard output: one", "jump: standard output: [2Jtwo",
    ]  # fmt: skip


def test_only_the_end_of_a_long_output_is_logged(caplog):
    code = "for n in range(5000): print(n)"
    with caplog.at_level(logging.INFO, logger="calbatch"):
        Command.of(shlex.join([sys.executable, "-c", code])).run([], "jump")
    assert caplog.messages[-1] == "jump: standard output: 4999"
    assert 500 < len(caplog.messages) < 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sh -c 'echo why >&2; exit 3'", "status 3: why$"),
        ("false", "status 1$"),
        ("sh -c 'kill -9 $$'", "signal 9$"),
        ("no-such-program", "cannot be run: .*no-such-program"),
    ],
)
def test_a_command_that_fails_is_an_error_with_its_last_words(text, message):
    with pytest.raises(StepError, match=rf"^jump: command .*{message}"):
        Command.of(text).run([], "jump")


def test_a_command_reads_nothing_from_the_terminal(tmp_path):
    Command.of(f"sh -c 'cat > {tmp_path}/read'").run([], "jump")
    assert (tmp_path / "read").read_bytes() == b""


# -- ending ------------------------------------------------------------------------------------

PROGRAM = """
import sys
import numpy as np
from calbatch.calibrate.hooks.shellhook import Command
from calbatch.models import datamodels
image = datamodels.ImageModel(data=np.zeros((2, 3), np.float32))
Command.of(sys.argv[1]).run([image], "jump")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_ends_with_the_process_that_runs_it(tmp_path, monkeypatch, number):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    script = f"sleep 600 & echo $! > {tmp_path}/writing; mv {tmp_path}/writing {tmp_path}/pid; wait"
    command = [sys.executable, "-c", PROGRAM, f"sh -c {shlex.quote(script)} {{0}}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        eventually((tmp_path / "pid").exists)
        process.send_signal(number)
    sleeping = int((tmp_path / "pid").read_text())
    eventually(lambda: not is_running(sleeping))
    remove_abandoned("hooks", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["pid"]


def is_running(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
