"""Ctrl-C and termination signals leave nothing behind."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from support.batches import small_set, unfinished_products
from support.cases import long
from support.gated import GATE, SLOW
from support.placed import TESTS
from support.waiting import eventually

# Tests that a shell runs in the background, and their children, ignore Ctrl-C.
PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from calbatch.cluster.cli.app import main; main()"
)


STOPPING = "stopping: unfinished exposures are abandoned"


def until_it_stops(lines):
    """Yield lines up to the one that announces the stop."""
    for line in lines:
        yield line
        if STOPPING in line:
            return


@pytest.fixture
def begun(tmp_path):
    """Return a function that starts a batch and waits until the batch writes a product."""
    made = small_set()
    processes = []

    def begin(*options):
        command = [sys.executable, "-c", PROGRAM, "run"]
        command += [SLOW, made.folder / "exposures", "-o", tmp_path / "out", *options]
        settings = {**made.environment(), "PYTHONPATH": TESTS, GATE: str(tmp_path / "gate")}
        process = subprocess.Popen(
            command,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        processes.append(process)
        output = tmp_path / "out"
        eventually(lambda: unfinished_products(output) or process.poll() is not None)
        assert process.poll() is None, process.stdout.read()
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("options", "number", "whole_group"),
    [
        (("--scheduler", "local", "--workers", "2"), signal.SIGINT, True),
        long(("--scheduler", "local", "--workers", "2", "--grain", "tile"), signal.SIGTERM, False),
        long(("--scheduler", "threads"), signal.SIGINT, True),
        (("--scheduler", "sync"), signal.SIGTERM, False),
    ],
    ids=["terminal-local", "told-local-tiles", "terminal-threads", "told-sync"],
)
def test_an_interrupted_batch_leaves_nothing_behind(begun, tmp_path, options, number, whole_group):
    process = begun(*options)
    children = psutil.Process(process.pid).children(recursive=True)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    completed = "".join(until_it_stops(process.stdout))
    (tmp_path / "gate").touch()  # a kernel in a thread cannot be interrupted; it returns by itself
    completed += process.communicate()[0]
    assert process.returncode == 130, completed
    assert STOPPING in completed
    assert completed.splitlines()[-1].startswith("calbatch: interrupted")
    assert "Traceback" not in completed
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not list((tmp_path / "out").rglob("staging"))
    eventually(lambda: not any(child.is_running() for child in children))
