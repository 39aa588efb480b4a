"""Folders that others can write to: no link is followed, no foreign state is trusted."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import dask
import pytest
from support.batches import DATE, calbatch, make_copies, small_set

from calbatch.cluster.driver.control import StopRequest, read_stop_request, request_stop
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import STATE, find_batch
from calbatch.cluster.ledger import View
from calbatch.cluster.sites.local import open_local_cluster

HOW = ("--scheduler", "sync", "--no-fsync", "--date", DATE)
OTHER = 12345


@pytest.fixture(scope="module")
def exposures(tmp_path_factory):
    return make_copies(1, tmp_path_factory.mktemp("shared") / "in")


@pytest.fixture(autouse=True)
def _cache(simulated):
    """Provide a reference cache."""


@pytest.fixture
def done(exposures, tmp_path, monkeypatch):
    """Return the output folder of a finished batch."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    completed = calbatch("run", "superbias", exposures, "-o", tmp_path / "out", *HOW)
    assert completed.status == 0, completed.err
    return tmp_path / "out"


def give_away(folder):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(folder, OTHER, OTHER)


def replace_by_link(folder):
    real = folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(real)


def open_to_all(folder):
    folder.chmod(0o777)


@pytest.mark.parametrize("prepare", [give_away, replace_by_link, open_to_all])
def test_a_state_folder_prepared_by_others_is_not_used(prepare, exposures, done):
    name = find_batch(str(done)).name
    prepare(done / STATE)
    before = {path.name: path.stat().st_mtime_ns for path in (done / STATE).rglob("*")}
    for command in (
        ("run", "superbias", exposures, "-o", done, *HOW),
        ("submit", "superbias", exposures, "-o", done),
        ("resume", name),
        ("cancel", name, "--now"),
        ("recalibrate", name, "--context", "jwst_0001.pmap"),
        ("drive", done, name),
        ("prune", name),
        ("rebuild", done),
    ):
        completed = calbatch(*command)
        assert (command, completed.status) == (command, 2)
        assert str(done / STATE) in completed.err
    after = {path.name: path.stat().st_mtime_ns for path in (done / STATE).rglob("*")}
    assert after == before
    assert calbatch("status", name).status == 0  # reading it is allowed


@pytest.fixture
def unreadable(monkeypatch):
    """Return input and output folder of root's batch, as a user who may not read its state."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        monkeypatch.setenv("CALBATCH_STATE_DIR", str(top / "notes"))
        exposures, out = make_copies(1, top / "in"), top / "out"
        assert calbatch("run", "superbias", exposures, "-o", out, *HOW).status == 0
        for readable in (top, small_set().folder):
            readable.chmod(0o755)
        out.chmod(0o777)
        other = top / "others-notes"
        other.mkdir()
        os.chown(other, OTHER, OTHER)
        monkeypatch.setenv("CALBATCH_STATE_DIR", str(other))
        os.seteuid(OTHER)
        try:
            yield exposures, out
        finally:
            os.seteuid(0)
            small_set().folder.chmod(0o700)


def test_commands_say_whose_an_unreadable_state_folder_is(unreadable):
    exposures, out = unreadable
    for command in (
        ("status", out),
        ("logs", out),
        ("report", out),
        ("resume", out),
        ("cancel", out),
        ("prune", out),
        ("recalibrate", out, "--context", "jwst_0001.pmap"),
        ("rebuild", out),
        ("run", "superbias", exposures, "-o", out, *HOW),
        ("submit", "superbias", exposures, "-o", out),
    ):
        completed = calbatch(*command)
        assert (command, completed.status) == (command, 2)
        assert str(out / STATE) in completed.err
        assert "belongs to user root" in completed.err
        assert "chmod -R go+rX" in completed.err or "choose another output folder" in completed.err


@pytest.mark.parametrize("prepare", [give_away, replace_by_link, open_to_all])
def test_a_registry_that_others_may_have_written_is_refused(prepare, done, tmp_path):
    prepare(tmp_path / "notes")
    for command in (["resume"], ["status"], ["list"]):
        completed = calbatch(*command)
        assert completed.status == 2
        assert "CALBATCH_STATE_DIR" in completed.err


def test_all_files_of_a_batch_are_private(exposures, tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "new" / "notes"))
    before = os.umask(0)
    try:
        completed = calbatch("run", "superbias", exposures, "-o", tmp_path / "out", *HOW)
    finally:
        os.umask(before)
    assert completed.status == 0, completed.err
    folder = find_batch(None)
    assert folder.config.exists()
    for top in (folder.state, tmp_path / "new"):
        for path in (top, *top.rglob("*")):
            wanted = 0o700 if path.is_dir() else 0o600
            assert (path, stat.S_IMODE(path.lstat().st_mode)) == (path, wanted)


def test_a_stop_request_replaces_a_link(done):
    folder = find_batch(str(done))
    victim = done / "victim"
    victim.write_text("precious")
    folder.control.symlink_to(victim)
    (folder.path / ".control.part").symlink_to(victim)
    request_stop(folder.control, StopRequest.DRAIN)
    assert read_stop_request(folder.control) is StopRequest.DRAIN
    assert victim.read_text() == "precious"


PROBE = """
import os, sys
from pathlib import Path
from calbatch.cluster.planning.inputs import require_writable_folder
out, victim = map(Path, sys.argv[1:])
for name in (f".calbatch-{os.getpid()}.part", f".calbatch-{os.getpid()}"):
    (out / name).symlink_to(victim)
require_writable_folder(out)
"""


def test_the_probe_for_write_permission_follows_no_link(tmp_path):
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.write_text("precious")
    subprocess.run([sys.executable, "-c", PROBE, out, victim], check=True)
    assert victim.read_text() == "precious"
    assert all(path.is_symlink() for path in out.iterdir())


def test_the_ledger_of_another_user_is_opened_read_only(done):
    """Otherwise SQLite would roll a journal beside it back into the targets of its links."""
    give_away(done / STATE)
    (done / STATE / "ledger.sqlite").chmod(0o666)
    with View(done / STATE) as view:
        assert view._connection.execute("PRAGMA query_only").fetchone()[0] == 1
        assert len(view.batches()) == 1
        view._connection.execute("PRAGMA query_only = OFF")
        with pytest.raises(sqlite3.OperationalError):
            view._connection.execute("DELETE FROM batches")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_the_error_for_an_unreadable_ledger_names_its_owner(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o755)
        state = Path(base) / STATE
        state.mkdir(0o700)
        (state / "ledger.sqlite").touch()
        monkeypatch.setenv("CALBATCH_STATE_DIR", f"{base}/notes")
        os.seteuid(OTHER)
        try:
            with pytest.raises(RequestError, match=rf"{state} belongs to user root.*chmod -R go"):
                find_batch(base)
        finally:
            os.seteuid(0)
            small_set().folder.chmod(0o700)


@pytest.mark.parametrize("prepared", [False, True])
def test_workers_have_a_private_folder(prepared, tmp_path):
    """Workers import from it."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "dask-scratch-space").symlink_to(victim)
    own = f"calbatch-workers-{os.getuid()}"
    if prepared:
        (tmp_path / own).symlink_to(victim)
        (tmp_path / f"{own}-abcdefgh").symlink_to(victim)
    with dask.config.set({"temporary-directory": str(tmp_path)}), ExitStack() as stack:
        site = stack.enter_context(open_local_cluster(1, "exposure"))
        (worker,) = site.client.scheduler_info()["workers"].values()
        private = Path(worker["local_directory"]).parent.parent
        assert private.parent == tmp_path
        assert private.name.startswith(f"{own}-")
        assert not private.is_symlink()
        assert stat.S_IMODE(private.lstat().st_mode) == 0o700
    assert list(victim.iterdir()) == []
    assert not private.exists()
