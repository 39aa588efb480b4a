"""The batches that `calbatch cancel` and `calbatch resume` change if they are given no name."""

import contextlib
import os
import sqlite3

import pytest
from support.batches import calbatch
from support.recorded import record_batch

from calbatch.cluster.batch.default_batch import SHOWN, find_to_cancel, find_to_resume
from calbatch.cluster.batch.liveness import record_driver
from calbatch.cluster.driver.control import StopRequest, read_stop_request
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import forget_batch
from calbatch.cluster.ledger import DamagedLedgerError
from calbatch.cluster.ledger.store import NAME


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    """Set up a registry for each test, and a working folder without batches."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "registry"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


def running(output):
    folder = record_batch(output, [{"state": "running", "attempts": 1}], state="running")
    record_driver(folder, os.getpid())
    return folder


def test_the_only_running_batch_is_cancelled_and_named(tmp_path):
    record_batch(tmp_path / "a", [{}], "interrupted")
    folder = running(tmp_path / "b")
    record_batch(tmp_path / "c", [{}])
    said = calbatch("cancel")
    assert said.status == 0
    assert said.err == f"batch {folder.name}, with products in {tmp_path / 'b'}\n"
    assert read_stop_request(folder.control) is StopRequest.DRAIN


def test_several_running_batches_are_listed_and_none_is_cancelled(tmp_path):
    folders = [running(tmp_path / name) for name in ("a", "b\nx")]
    said = calbatch("cancel", "--now")
    assert (said.status, said.out) == (2, "")
    first, *lines = said.err.splitlines()
    assert first == "calbatch: 2 batches are running; name one:"
    assert [line.strip() for line in lines] == [
        rf"calbatch cancel {folders[1].name}  # running, {tmp_path}/b\nx",
        f"calbatch cancel {folders[0].name}  # running, {tmp_path}/a",
    ]
    assert [read_stop_request(folder.control) for folder in folders] == [None, None]


def test_the_working_folders_batch_comes_before_batches_elsewhere(tmp_path, monkeypatch):
    here, other = running(tmp_path / "a"), running(tmp_path / "b")
    monkeypatch.chdir(tmp_path / "a")
    assert calbatch("cancel").status == 0
    assert read_stop_request(here.control) is StopRequest.DRAIN
    assert read_stop_request(other.control) is None


def test_of_several_active_batches_of_a_folder_none_is_chosen(tmp_path, monkeypatch):
    first = running(tmp_path / "a")
    record_batch(tmp_path / "a", [{}], "planned")
    monkeypatch.chdir(tmp_path / "a")
    for arguments in ([], [tmp_path / "a"]):
        said = calbatch("cancel", *arguments)
        assert said.status == 2
        assert "2 batches are running; name one:" in said.err
    assert read_stop_request(first.control) is None


@pytest.mark.parametrize("command", ["cancel", "resume"])
def test_beside_a_ledger_of_a_later_version_no_other_batch_is_meant(tmp_path, monkeypatch, command):
    here = record_batch(tmp_path / "a", [{}], "interrupted")
    with contextlib.closing(sqlite3.connect(here.state / NAME)) as ledger:
        ledger.execute("PRAGMA user_version = 99")
    other = running(tmp_path / "b")
    monkeypatch.chdir(tmp_path / "a")
    said = calbatch(command)
    assert said.status == 2
    assert "use a later version of calbatch" in said.err
    assert read_stop_request(other.control) is None


def test_in_a_folder_whose_batch_has_ended_no_other_is_cancelled(tmp_path, monkeypatch):
    record_batch(tmp_path / "a", [{}])
    other = running(tmp_path / "b")
    monkeypatch.chdir(tmp_path / "a")
    said = calbatch("cancel")
    assert said.status == 2
    assert f"none of the batches of this folder, {tmp_path / 'a'}, is running" in said.err
    assert read_stop_request(other.control) is None


def test_an_output_folder_stands_for_the_batch_that_runs_in_it(tmp_path):
    earlier = running(tmp_path / "a")  # as after `calbatch resume` of an earlier batch
    latest = record_batch(tmp_path / "a", [{}])
    assert find_to_cancel(str(tmp_path / "a")) == earlier
    assert find_to_cancel(latest.name) == latest
    assert find_to_resume(str(tmp_path / "a")) == latest


@pytest.mark.parametrize("command", ["cancel", "resume"])
def test_without_candidates_a_name_is_asked_for(tmp_path, command):
    record_batch(tmp_path / "a", [{"state": "done"}])
    said = calbatch(command)
    assert (said.status, said.out) == (2, "")
    assert "calbatch: none of your batches is " in said.err
    assert "`calbatch list`" in said.err


def test_the_only_unfinished_batch_is_resumed(tmp_path):
    record_batch(tmp_path / "a", [{"state": "done"}])
    running(tmp_path / "b")
    record_batch(tmp_path / "b2", [{}], "failed")
    record_batch(tmp_path / "b2", [{"state": "done"}])  # the same exposures, calibrated again
    folder = record_batch(tmp_path / "c", [{}], "interrupted")
    assert find_to_resume(None) == folder
    record_batch(tmp_path / "d", [{}], "failed")
    with pytest.raises(RequestError, match="2 batches are unfinished; name one:"):
        find_to_resume(None)


def test_the_latest_batch_of_the_working_folder_is_resumed(tmp_path, monkeypatch):
    record_batch(tmp_path / "a", [{}], "failed")
    folder = record_batch(tmp_path / "a", [{}], "interrupted")
    record_batch(tmp_path / "b", [{}], "interrupted")
    forget_batch(folder)  # it is found all the same
    monkeypatch.chdir(tmp_path / "a")
    assert find_to_resume(None) == folder


def test_many_candidates_are_cut_short(tmp_path):
    for number in range(SHOWN + 2):
        record_batch(tmp_path / str(number), [{}], "interrupted")
    lines = calbatch("resume").err.splitlines()
    assert len(lines) == SHOWN + 2
    assert lines[1].endswith(f"/{SHOWN + 1}")
    assert lines[-1].strip() == "and 2 older ones"


def test_damaged_ledgers_elsewhere_are_reported_only_if_there_is_no_candidate(
    tmp_path, monkeypatch
):
    damaged = record_batch(tmp_path / "a", [{}], "interrupted")
    (damaged.state / NAME).write_bytes(b"no database")
    with pytest.raises(DamagedLedgerError, match=f"calbatch rebuild {tmp_path / 'a'}"):
        find_to_resume(None)
    folder = record_batch(tmp_path / "b", [{}], "interrupted")
    assert find_to_resume(None) == folder
    monkeypatch.chdir(tmp_path / "a")
    with pytest.raises(DamagedLedgerError):
        find_to_resume(None)
