"""Log files of attempts."""

import faulthandler
import logging
import os
import stat
import subprocess
import sys
import threading

import pytest
from support.waiting import eventually

from calbatch.cluster.exposure import log as log_module
from calbatch.cluster.exposure.log import collect_log, find_memory_exhaustion, log_to_file

LOG = logging.getLogger("calbatch.somewhere")


def test_records_are_logged_until_the_attempt_ends(tmp_path):
    path = tmp_path / "0-1.log"
    with log_to_file(path):
        LOG.warning("odd: %s", "a\x1b[31m")
        text = path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text.startswith("began ")
    assert f":{os.getpid()}\n" in text
    assert text.endswith("WARNING calbatch.somewhere: odd: a\\x1b[31m\n")
    assert not path.exists()
    LOG.warning("later")
    assert not path.exists()


def test_the_log_is_removed_after_a_failure(tmp_path):
    with pytest.raises(ValueError, match="no"), log_to_file(tmp_path / "log"):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []


def test_records_of_other_threads_are_not_logged(tmp_path):
    with log_to_file(tmp_path / "log"):
        thread = threading.Thread(target=LOG.warning, args=("of another exposure",))
        thread.start()
        thread.join()
        assert "another" not in (tmp_path / "log").read_text()


def test_tracebacks_of_crashes_go_where_this_process_sends_them(tmp_path):
    was_enabled = faulthandler.is_enabled()
    with log_to_file(tmp_path / "log"):
        assert faulthandler.is_enabled()
    assert faulthandler.is_enabled() == was_enabled


@pytest.mark.parametrize("path", [None, "absent/log"])
def test_without_a_log_file_the_attempt_goes_on(tmp_path, path):
    with log_to_file(path and tmp_path / path):
        LOG.warning("nothing is written")
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    with log_to_file(tmp_path / "log"):
        LOG.warning("not there")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_growing_memory_is_logged(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "MEMORY_EVERY", 0.001)
    path = tmp_path / "log"
    with log_to_file(path, limit=1_000_000):  # this process has more than that
        eventually(lambda: "memory: " in path.read_text())
        text = path.read_text()
    assert find_memory_exhaustion(text).endswith(" MB of 1 MB")


CRASH = """
import sys, faulthandler
from pathlib import Path
from calbatch.cluster.exposure.log import log_to_file
with log_to_file(Path(sys.argv[1])):
    faulthandler._sigsegv()
"""


def test_a_crash_leaves_a_traceback(tmp_path):
    path = tmp_path / "log"
    subprocess.run([sys.executable, "-c", CRASH, path], capture_output=True)
    text = collect_log(path)
    assert "Fatal Python error: Segmentation fault" in text
    assert not path.exists()
    assert collect_log(path) == ""


def test_the_middle_of_a_long_log_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(log_module, "LONGEST", 10)
    for length in (5, 10, 15, 20):
        text = "".join(chr(65 + n) for n in range(length))
        (tmp_path / "log").write_text(text)
        assert collect_log(tmp_path / "log") == text
    (tmp_path / "log").write_text("a" * 10 + "b" * 10 + "c" * 10)
    assert collect_log(tmp_path / "log") == "a" * 10 + "\n...\n" + "c" * 10


def test_bytes_that_are_not_text_are_escaped(tmp_path):
    (tmp_path / "log").write_bytes(b"a\xffb")
    assert collect_log(tmp_path / "log") == r"a\xffb"


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("", ""),
        ("memory: 700000000 of 1000000000 bytes", ""),
        (
            "memory: 700000000 of 1000000000 bytes\nmemory: 900000000 of 1000000000 bytes",
            "out of memory: the worker had 900 MB of 1000 MB",
        ),
    ],
)
def test_running_out_of_memory_is_recognized(log, message):
    assert find_memory_exhaustion(log) == message
