"""Leftovers of killed drivers and workers: the next batch removes them, and nothing else."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
from support.batches import DATE, calbatch, products_in, quiet_console, unfinished_products
from support.chaos import driver_of, kill, with_children
from support.gated import HELD
from support.placed import eventually, make_importable

from calbatch import cluster
from calbatch.cluster.batch.leftovers import remove_leftovers
from calbatch.cluster.batch.liveness import SILENCE
from calbatch.cluster.folder import BatchFolder, make_batch_name
from calbatch.cluster.ledger import Ledger, View
from calbatch.cluster.ledger.store import NAME as LEDGER
from calbatch.cluster.owner import is_owner_dead, write_owner
from calbatch.models.storage.scratch import clear_scratch

OWN = (
    "import calbatch.models.temporary as t; "
    "print(t.make_process_folder('test'), flush=True); input()"
)
SEMAPHORES = Path("/dev/shm")


@pytest.fixture
def temporary(monkeypatch):
    """Return a temporary folder of this test's processes, with a short name, as sockets need."""
    folder = Path(tempfile.mkdtemp(prefix="cb"))
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_the_same_command_again_removes_what_a_kill_of_everything_left(
    simulated, forked_drivers, tmp_path, monkeypatch, temporary
):
    make_importable(monkeypatch)
    out, state = tmp_path / "out", tmp_path / "out" / ".calbatch"
    how = ("-o", out, "--scheduler", "local", "--workers", "1", "--date", DATE, "--no-fsync")
    command = ("submit", HELD, simulated.exposures[0], *how, "--gate", tmp_path / "gate")
    killed = BatchFolder(out, calbatch(*command).out.strip())
    eventually(lambda: unfinished_products(out) and list(killed.logs.iterdir()), 60)
    assert {p.name.split("-")[1] for p in temporary.glob("calbatch-*")} == {"sockets", "workers"}
    [sockets] = temporary.glob("calbatch-sockets-*")
    kill(*with_children(driver_of(killed)))
    assert list(SEMAPHORES.glob(f"sem.{sockets.name}-*"))
    assert list(state.glob("staging/*/*/.*.part"))
    assert list(killed.logs.iterdir())
    older = out / f".a.fits.{killed.name}-{socket.gethostname()}-1-{uuid.uuid4().hex}.part"
    other = out / ".somebody-elses.part"
    older.touch()
    other.touch()
    (tmp_path / "gate").touch()
    again = BatchFolder(out, calbatch(*command).out.strip())
    eventually(lambda: calbatch("status", again.name).status == 0, 60)
    driver = driver_of(again)
    if driver is not None:
        driver.wait(30)
    assert [p.name for p in products_in(out)] == [other.name, *(
        p.name for p in products_in(out) if p.suffix == ".fits")]  # fmt: skip
    assert not list(killed.logs.iterdir())
    assert not list(again.logs.iterdir())
    assert not (state / "staging").exists()
    assert not list(state.glob("retired-*"))
    left = [p.name for p in temporary.iterdir() if not p.name.startswith("dask-scratch-space")]
    assert left == []
    assert not list(SEMAPHORES.glob(f"sem.{sockets.name}-*"))
    assert not list(temporary.glob("dask-scratch-space*/worker*"))
    with View(state) as view:
        assert view.batch(killed.name).state == "interrupted"


def test_a_folder_whose_process_lives_stays(monkeypatch, temporary):
    processes = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", OWN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append((process, Path(process.stdout.readline().strip())))
    (first, mine), (second, theirs) = processes
    foreign = temporary / "calbatch-test-notours"
    foreign.mkdir()
    first.kill()
    first.wait()
    said = subprocess.run(
        [sys.executable, "-c", OWN], input="\n", capture_output=True, text=True, check=True
    )
    assert not mine.exists()
    assert theirs.exists()
    assert foreign.exists()
    assert Path(said.stdout.strip()).exists()  # it is its owner who removes it
    for process in (first, second):
        process.stdin.close()
        process.stdout.close()
    second.wait()


def test_folders_of_killed_processes_go_with_a_batch_that_needs_none(
    simulated, tmp_path, monkeypatch, temporary
):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    how = {"scheduler": "sync", "date": DATE, "fsync": False, "console": quiet_console()}
    left = []
    for kind in ("hooks", "sockets", "workers"):
        made = subprocess.run(
            [sys.executable, "-c", OWN.replace("test", kind)],
            input="\n", capture_output=True, text=True, check=True,
        )  # fmt: skip
        left.append(Path(made.stdout.strip()))
    assert all(folder.exists() for folder in left)
    cluster.run("superbias", simulated.exposures[:1], tmp_path, **how)
    assert not any(folder.exists() for folder in left)


def test_scratch_of_living_processes_and_of_other_hosts_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_SCRATCH_DIR", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    name = f".a.fits.{make_batch_name()}"
    dead = [f"{name}-here-{ended.pid}-{'0' * 32}.part", f".b.fits.here-{ended.pid}-{'1' * 32}.part"]
    kept = [
        f"{name}-here-{os.getpid()}-{'0' * 32}.part",
        f"{name}-there-{ended.pid}-{'0' * 32}.part",
        f"{name}-here-{ended.pid}.part",
    ]
    for made in dead + kept:
        (tmp_path / made).touch()
    clear_scratch.cache_clear()
    clear_scratch("here")
    clear_scratch.cache_clear()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_scratch_of_other_ledgers_batches_stays(tmp_path, monkeypatch):
    from calbatch.models.storage.location import Url

    monkeypatch.setenv("CALBATCH_SCRATCH_DIR", str(tmp_path))
    mine, other = BatchFolder(Url(f"memory://{tmp_path}"), make_batch_name()), make_batch_name()
    mine.make()
    tail = f"elsewhere-1-{'0' * 32}.part"
    for name in (mine.name, other):
        (tmp_path / f".a.fits.{name}-{tail}").touch()
    remove_leftovers(mine)
    assert [p.name for p in tmp_path.iterdir()] == [f".a.fits.{other}-{tail}"]


def test_an_owner_is_dead_only_if_that_is_known(tmp_path):
    file = tmp_path / "owner.json"
    assert not is_owner_dead(file)
    write_owner(file)
    assert not is_owner_dead(file)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_owner(file, process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert is_owner_dead(file)
    file.write_text(file.read_text().replace(socket.gethostname(), "another"))
    assert not is_owner_dead(file)


def test_what_was_done_but_for_saying_so_is_done_when_resumed(simulated, tmp_path):
    how = {"scheduler": "sync", "date": DATE, "fsync": False, "console": quiet_console()}
    result = cluster.run("superbias", simulated.exposures[:1], tmp_path, **how)
    folder = result.folder
    with Ledger(folder.state) as ledger:  # as a driver that is killed leaves it
        ledger.set_driver(result.batch.id, "sync", None)
    folder.manifest.unlink()
    (folder.logs / "0-1.log").touch()
    (folder.state / "staging" / "0" / "0-1").mkdir(parents=True)
    for _ in range(2):
        assert calbatch("resume", folder.name).status == 0
        assert calbatch("status", folder.name).status == 0
    assert folder.manifest.exists()
    assert not list(folder.logs.iterdir())
    assert not (folder.state / "staging").exists()


def test_a_batch_with_signs_of_life_on_another_host_is_spared(simulated, tmp_path):
    """Its file system does not lock across hosts, or the ledger would be refused."""
    how = {"scheduler": "sync", "date": DATE, "fsync": False, "console": quiet_console()}
    first = cluster.run("superbias", simulated.exposures[:1], tmp_path, **how).folder
    log = first.logs / "0-1.log"

    def again(silent):
        log.touch()
        with Ledger(first.state) as ledger:
            ledger.set_driver(ledger.batch(first.name).id, "sync", None)
        with sqlite3.connect(first.state / LEDGER) as ledger:
            ledger.execute(
                "UPDATE batches SET host = 'another', beat = beat - ? WHERE name = ?",
                (silent, first.name),
            )
        cluster.run("superbias", simulated.exposures[1:2], tmp_path, **how)
        with View(first.state) as view:
            return view.batch(first.name).state, log.exists()

    assert again(0.0) == ("running", True)
    assert again(2 * SILENCE) == ("interrupted", False)


def test_a_driver_notes_that_those_before_it_died(simulated, tmp_path):
    how = {"scheduler": "sync", "date": DATE, "fsync": False, "console": quiet_console()}
    first = cluster.run("superbias", simulated.exposures[:1], tmp_path, **how)
    with Ledger(first.folder.state) as ledger:  # as a driver that is killed leaves it
        ledger.set_driver(first.batch.id, "sync", None)
    cluster.run("superbias", simulated.exposures[1:2], tmp_path, **how)
    with View(first.folder.state) as view:
        assert [row.state for row in view.batches()] == ["interrupted", "done"]
