"""Exposures calibrated as they arrive, while the scheduler comes and goes."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
from support.batches import DATE, small_set
from support.waiting import eventually

from calbatch.cluster.folder import STATE
from calbatch.cluster.ledger import View

DASK = [sys.executable, "-m"]


@pytest.fixture
def started():
    """Return a function that starts a program; the program is killed after the test."""
    running = []

    def start(*arguments, **settings):
        process = subprocess.Popen(
            [*DASK, *map(str, arguments)],
            env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def dask(started, port):
    """Start a scheduler and a worker."""
    address = f"tcp://127.0.0.1:{port}"
    listening = ("--host", "127.0.0.1", "--port", port, "--no-dashboard")
    return [
        started("distributed.cli.dask_scheduler", *listening),
        started("distributed.cli.dask_worker", address, "--nthreads", 1, "--no-dashboard"),
    ]


def events(out):
    """Return the kinds of events of a folder's batches."""
    with View(out / STATE) as view:
        return {event.kind for row in view.batches() for event in view.events(row.id)}


@pytest.mark.ci
def test_watch_reconnects_to_a_restarted_scheduler(started, tmp_path):
    made, folder, out = small_set(), tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    settings = {
        **made.environment(), "CALBATCH_STATE_DIR": str(tmp_path / "state"),
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s",
    }  # fmt: skip
    first = dask(started, port)
    how = ("--scheduler", f"tcp://127.0.0.1:{port}", "--settle", 0.2, "--idle", 4, "--no-fsync")
    eventually(lambda: "Registered" in first[1].stdout.readline())
    watching = started(
        "calbatch.cluster", "watch", "superbias", folder, "-o", out, "--date", DATE, *how,
        **settings,
    )  # fmt: skip
    shutil.copy(made.exposures[0], folder)
    eventually(lambda: len(list(out.glob("*.fits"))) == 1)
    for process in first:
        process.kill()
        process.wait()
    shutil.copy(made.exposures[1], folder)
    eventually(lambda: "site lost" in events(out))
    dask(started, port)
    eventually(lambda: len(list(out.glob("*.fits"))) == 2)
    completed, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0, completed
    assert completed.count("1/1 done, 0 failed") == 2
