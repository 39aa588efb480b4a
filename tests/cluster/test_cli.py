"""The entry point of the command line."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from calbatch.cluster import cli

ENDING = """
import atexit, sys, threading, weakref
from calbatch.cluster import cli
from calbatch.cluster.cli import app

class Kept:
    pass

def end():
    kept = app.kept = Kept()
    weakref.finalize(kept, print, "finalized")
    atexit.register(print, "left")
    threading.Thread(target=lambda: (threading.Event().wait(0.05), print("waited"))).start()
    raise SystemExit({code})

app.main = end
cli.main()
"""


@pytest.mark.parametrize(("code", "status"), [(0, 0), (None, 0), (3, 3), (130, 130), ("'no'", 1)])
def test_the_process_ends_with_the_status_when_all_has_been_done(code, status):
    done = subprocess.run(
        [sys.executable, "-c", ENDING.format(code=code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert done.stdout.splitlines() == ["waited", "left", "finalized"]
    assert done.stderr == ("no\n" if status == 1 else "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_output_that_cannot_be_written_is_reported_as_pythons_is():
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = ["sh", "-c", '"$0" -c "$1" >/dev/full', sys.executable]
    statuses = [
        subprocess.run([*command, code], env=buffered, stderr=subprocess.DEVNULL, check=False)
        for code in (ENDING.format(code=0), "print(1)")
    ]
    assert statuses[0].returncode == statuses[1].returncode != 0


def test_the_entry_point_is_the_installed_command():
    [point] = entry_points(group="console_scripts", name="calbatch")
    assert point.load() is cli.main
