"""Batches whose workers, schedulers and drivers are killed: all is done, once."""

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
from support.batches import DATE, calbatch, products_in, small_set, sums

from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import View
from calbatch.cluster.ledger.store import NAME

HOW = ("--date", DATE, "--no-fsync")


@pytest.fixture
def exposures(tmp_path, monkeypatch):
    """Return a function that makes so many exposures."""
    made = small_set()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)

    def copies(count):
        folder = tmp_path / "in"
        folder.mkdir()
        for number in range(count):
            source = made.exposures[number % len(made.exposures)]
            shutil.copy(source, folder / f"e{number:04}_uncal.fits")
        return folder

    return copies


def submitted(inputs, output, *options):
    said = calbatch("submit", "detector1", inputs, "-o", output, *options, *HOW)
    return BatchFolder(output, said.out.strip())


def driver_of(folder):
    with suppress(OSError, ValueError, psutil.Error):
        return psutil.Process(json.loads(folder.pid.read_text())["pid"])
    return None


def workers_of(driver):
    """Return the processes that a driver's workers run in: those that its server has forked."""
    with suppress(psutil.Error):
        return [p for p in driver.children(recursive=True) if p.ppid() != driver.pid]
    return []


def kill(*processes):
    for process in processes:
        with suppress(psutil.Error):
            process.kill()


def status(folder):
    return json.loads(calbatch("status", folder.name, "--json").out)


def require_consistent(folder, count):
    """Require that all is done, once, with nothing left behind, and that the ledger agrees."""
    assert not list(folder.output.rglob("*.part"))
    assert not list(folder.logs.iterdir())
    with sqlite3.connect(folder.state / NAME) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with View(folder.state) as view:
        row = view.batch(folder.name)
        assert row.state == "done"
        states = view.counts(row.id)
        assert sum(states.values()) == count
        assert set(states) <= {"done", "kept"}
        told = [p.path for e in view.exposures(row.id) for p in view.products(e.id)]
    assert sorted(told) == [str(p) for p in products_in(folder.output)]


def killed_all_the_time(folder, every, drivers, count):
    """Kill workers now and then, and the driver so many times; return how many workers it was."""
    chance, killed, ends = (
        random.Random(1),
        0,
        [count * (n + 1) / (drivers + 1) for n in range(drivers)],
    )
    last, end = time.monotonic(), time.monotonic() + 240
    while True:
        assert time.monotonic() < end, status(folder)
        found = status(folder)
        driver = driver_of(folder)
        if found["state"] == "done":
            return killed
        if found["state"] in ("interrupted", "failed"):
            calbatch("resume", folder.name, "--detach")  # refused while the driver is just ending
            time.sleep(0.5)
        elif driver and ends and found["done"] + found["before"] >= ends[0]:
            ends.pop(0)
            kill(*driver.children(recursive=True), driver)
        elif driver and time.monotonic() - last > every and (workers := workers_of(driver)):
            kill(chance.choice(workers))
            killed, last = killed + 1, time.monotonic()
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("count", "every", "drivers"),
    [
        pytest.param(16, 2.0, 1, id="sample"),
        pytest.param(200, 2.0, 3, id="whole", marks=pytest.mark.slow),
    ],
)
def test_workers_and_drivers_die(exposures, tmp_path, count, every, drivers):
    inputs = exposures(count)
    how = ("-o", tmp_path / "out", "--scheduler", "local", "--workers", "2", *HOW)
    folder = BatchFolder(
        tmp_path / "out", calbatch("submit", "detector1", inputs, *how).out.strip()
    )
    try:
        killed = killed_all_the_time(folder, every, drivers, count)
    finally:
        driver = driver_of(folder)
        kill(*(driver.children(recursive=True) if driver else []), *([driver] if driver else []))
    assert killed
    require_consistent(folder, count)
    undisturbed = calbatch(
        "run", "detector1", inputs, "-o", tmp_path / "b", "--scheduler", "sync", *HOW
    )
    assert undisturbed.status == 0
    assert sums(folder.output) == sums(tmp_path / "b")


class Running:
    """A scheduler and its workers, each a process; what is killed can be started again."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.processes = folder, []
        self.start()

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.port}"

    def start(self):
        self._run("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        for _ in range(2):
            self._run(
                "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard",
                "--local-directory", str(self.folder),
            )  # fmt: skip

    def _run(self, *arguments):
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        log = (self.folder / "dask.log").open("ab")
        with log:
            self.processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            )

    def kill(self):
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes = []


@pytest.fixture
def running(tmp_path):
    folder = tmp_path / "dask"
    folder.mkdir()
    there = Running(folder)
    yield there
    there.kill()


def test_a_scheduler_dies_and_comes_back(exposures, tmp_path, running):
    inputs, count = exposures(40), 40
    how = ("-o", tmp_path / "out", "--scheduler", running.address, *HOW)
    folder = BatchFolder(
        tmp_path / "out", calbatch("submit", "detector1", inputs, *how).out.strip()
    )
    end = time.monotonic() + 120
    while status(folder)["done"] < 5:
        assert time.monotonic() < end, (status(folder), folder.log.read_text())
        if status(folder)["state"] in ("failed", "interrupted"):  # no scheduler yet
            calbatch("resume", folder.name, "--detach")
        time.sleep(0.1)
    running.kill()
    time.sleep(1.0)
    running.start()
    while status(folder)["state"] == "running":
        assert time.monotonic() < end, (status(folder), folder.log.read_text())
        time.sleep(0.2)
    require_consistent(folder, count)
    with View(folder.state) as view:
        kinds = [event.kind for event in view.events(view.batch(folder.name).id)]
    assert "site lost" in kinds
