"""Batches in the background: submitted, followed, cancelled, killed, resumed."""

import json
import os
import re
import signal
from pathlib import Path

import psutil
import pytest
from support.batches import DATE, calbatch, checksums, products_in, small_set, unfinished_products
from support.gated import GATE, SLOW
from support.placed import make_importable
from support.waiting import eventually

from calbatch.cluster.driver.control import StopRequest, request_stop
from calbatch.cluster.folder import BatchFolder, find_batch, find_registered
from calbatch.cluster.ledger import View

FORKED = pytest.mark.usefixtures("forked_drivers")


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Return a function that submits a batch, which waits until its gate file exists."""
    made = small_set()
    settings = {**made.environment(), GATE: str(tmp_path / "gate")}
    settings["CALBATCH_STATE_DIR"] = str(tmp_path / "state")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    make_importable(monkeypatch)
    pids = []

    def submit(pipeline=SLOW, *options):
        how = ("--scheduler", "sync", "--date", DATE, "--no-fsync", *options)
        completed = calbatch(
            "submit", pipeline, made.folder / "exposures", "-o", tmp_path / "out", *how
        )
        assert completed.status == 0, completed.err
        folder = BatchFolder(tmp_path / "out", completed.out.strip())
        eventually(folder.pid.exists)
        pids.append(json.loads(folder.pid.read_text())["pid"])
        return folder

    yield submit
    for pid in pids:
        with_children(pid)


def with_children(pid):
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        one.kill()


def state(folder):
    completed = calbatch("status", folder.name, "--json")
    return json.loads(completed.out)["state"], completed.status


def driver(folder):
    return json.loads(folder.pid.read_text())["pid"]


def test_another_process_follows_a_batch_to_its_end(service, tmp_path):
    folder = service()
    eventually(lambda: state(folder) == ("running", 3))
    assert calbatch("status", folder.output).out.startswith(f"{folder.name} running: 0/3 done")
    assert folder.name in calbatch("list").out
    (tmp_path / "gate").touch()
    completed = calbatch("status", folder.name, "--watch")
    assert completed.status == 0
    assert f"{folder.name} done: 3/3 done" in completed.out
    assert len(products_in(folder.output)) == 3
    assert "in this process" in calbatch("logs", folder.name).out
    assert re.search(r"_00002_.*: done\n", calbatch("logs", folder.name, "_00002_").out)
    assert calbatch("report", folder.name).status == 0
    eventually(lambda: not psutil.pid_exists(driver(folder)))


@FORKED
def test_a_failed_batch_is_reported(service, tmp_path):
    folder = service("flat_field", "--context", "jwst_0001.pmap")
    eventually(lambda: state(folder)[1] != 3)
    assert state(folder) == ("failed", 1)
    completed = calbatch("logs", folder.name, "--number", 0)
    assert "failed" in completed.out
    assert "Traceback" in completed.out


@FORKED
@pytest.mark.parametrize("now", [False, True])
def test_a_running_batch_is_cancelled_and_resumed(service, tmp_path, now):
    folder = service(SLOW, "--scheduler", "local", "--workers", "1")
    eventually(lambda: unfinished_products(folder.output))
    assert calbatch("cancel", folder.name, *["--now"] * now).status == 0
    if not now:
        (tmp_path / "gate").touch()
    eventually(lambda: state(folder)[1] != 3)
    assert state(folder) == ("cancelled", 130)
    done = len([p for p in products_in(folder.output) if p.suffix == ".fits"])
    assert done == len(products_in(folder.output))
    assert (done == 0) == now
    assert done < 3
    completed = calbatch("cancel", folder.name)
    assert completed.status == 2
    assert "is not running (cancelled)" in completed.err
    (tmp_path / "gate").touch()
    assert calbatch("resume", folder.name).status == 0
    assert state(folder) == ("done", 0)
    assert len(products_in(folder.output)) == 3


def test_a_batch_cancelled_before_its_driver_starts_calibrates_nothing(service, tmp_path):
    folder = service(SLOW, "--scheduler", "local", "--workers", "1")
    with_children(driver(folder))
    eventually(lambda: state(folder)[1] != 3)
    # As `calbatch cancel` does while the driver's job is queued.
    request_stop(folder.control, StopRequest.DRAIN)
    completed = calbatch("drive", folder.output, folder.name)
    assert state(folder) == ("cancelled", 130)
    assert completed.status == 130
    assert not products_in(folder.output)
    (tmp_path / "gate").touch()
    assert calbatch("resume", folder.name).status == 0
    assert len(products_in(folder.output)) == 3


@FORKED
def test_a_killed_driver_is_detected_and_its_batch_resumed(service, tmp_path):
    folder = service()
    eventually(lambda: unfinished_products(folder.output))
    with_children(driver(folder))
    eventually(lambda: state(folder) == ("interrupted", 130))
    (tmp_path / "gate").touch()
    completed = calbatch("resume", folder.name, "--detach")
    assert completed.out.strip() == folder.name, completed.err
    eventually(lambda: state(folder) == ("done", 0))
    exposures = small_set().folder / "exposures"
    how = ("--scheduler", "sync", "--date", DATE)
    assert calbatch("run", SLOW, exposures, "-o", tmp_path / "b", *how).status == 0
    assert checksums(folder.output) == checksums(tmp_path / "b")
    with View(folder.state) as view:
        row = view.batch(folder.name)
        assert view.counts(row.id) == {"done": 3}
        assert row.reason == ""


def test_a_signal_stops_a_batch(service):
    folder = service()
    eventually(lambda: unfinished_products(folder.output))
    os.kill(driver(folder), signal.SIGTERM)
    eventually(lambda: state(folder) == ("interrupted", 130))
    assert products_in(folder.output) == []


@FORKED
def test_pruning_keeps_products(service, tmp_path):
    (tmp_path / "gate").touch()
    folder = service()
    eventually(lambda: state(folder) == ("done", 0))
    eventually(lambda: not psutil.pid_exists(driver(folder)))
    assert calbatch("prune").status == 0  # too recent
    assert folder.path.is_dir()
    assert calbatch("prune", folder.name).status == 0
    assert not folder.path.exists()
    assert len(products_in(folder.output)) == 3
    completed = calbatch("status", folder.name)
    assert completed.status == 2
    assert "neither one of your batches" in completed.err


@FORKED
def test_a_second_driver_is_refused(service, tmp_path):
    folder = service()
    eventually(lambda: state(folder) == ("running", 3))
    completed = calbatch("run", SLOW, small_set().exposures[0], "-o", folder.output)
    assert completed.status == 2
    assert f"a batch is running there, driven by process {driver(folder)} on" in completed.err


@FORKED
def test_file_names_do_not_control_the_terminal(service, tmp_path):
    made = small_set()
    odd = tmp_path / "in" / "\x1b[31mred\n_uncal.fits"
    odd.parent.mkdir()
    odd.write_bytes(Path(made.exposures[0]).read_bytes())
    (tmp_path / "gate").touch()
    calbatch("run", SLOW, odd.parent, "-o", tmp_path / "out", "--scheduler", "sync")
    completed = calbatch("logs", tmp_path / "out", "--number", 0)
    assert "\\x1b[31mred\\n_uncal.fits" in completed.out
    assert "\x1b" not in completed.out


def test_the_last_batch_is_the_one_registered_last(tmp_path, monkeypatch):
    """Batches registered within one second are not ordered by their names."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "state"))
    made = small_set()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    names = []
    for _ in range(6):
        how = ("--scheduler", "sync", "--no-fsync", "--date", DATE)
        calbatch("run", "superbias", made.exposures[0], "-o", tmp_path / "out", *how)
        names.append(find_batch(None).name)
        assert find_batch(str(tmp_path / "out")).name == names[-1]
    assert len(set(names)) == 6
    assert [folder.name for folder in find_registered()] == names
