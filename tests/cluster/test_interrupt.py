"""Ctrl-C, and being told to stop: nothing stays behind."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from support.batches import small_set

SLOW = """
import time
from calbatch.calibrate.step import Step
from calbatch.models.datamodels import RampModel

def wait(data, *, seconds):
    time.sleep(seconds)
    return data

class Slow(Step):
    def process(self, exposure):
        return RampModel(exposure).map_tiles(wait, ["data"], seconds=2.0)
"""


# A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from calbatch.cluster.cli import main; main()"
)


@pytest.fixture
def begun(tmp_path):
    """Return a function that starts a slow batch and waits until it is at its first product."""
    (tmp_path / "slow.py").write_text(SLOW)
    made = small_set()
    processes = []

    def begin(*options):
        command = [sys.executable, "-c", PROGRAM, "run"]
        command += ["slow:Slow", made.folder / "exposures", "-o", tmp_path / "out", *options]
        process = subprocess.Popen(
            command,
            env={**os.environ, **made.environment(), "PYTHONPATH": str(tmp_path)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        processes.append(process)
        end = time.monotonic() + 120
        while not list((tmp_path / "out").rglob(".*.part")):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < end
            time.sleep(0.02)
        return process

    yield begin
    for process in processes:
        process.kill()


@pytest.mark.parametrize(
    ("options", "number", "whole_group"),
    [
        (("--scheduler", "local", "--workers", "2"), signal.SIGINT, True),
        (("--scheduler", "local", "--workers", "2", "--grain", "tile"), signal.SIGTERM, False),
        (("--scheduler", "threads"), signal.SIGINT, True),
        (("--scheduler", "sync"), signal.SIGTERM, False),
    ],
    ids=["terminal-local", "told-local-tiles", "terminal-threads", "told-sync"],
)
def test_nothing_stays_behind(begun, tmp_path, options, number, whole_group):
    process = begun(*options)
    children = psutil.Process(process.pid).children(recursive=True)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping: what is not finished is given up" in said
    assert said.splitlines()[-1].startswith("calbatch: interrupted")
    assert "Traceback" not in said
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not list((tmp_path / "out").rglob("staging"))
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
