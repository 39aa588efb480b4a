"""`calbatch submit`, `resume`, `cancel`, `list`, `prune`, `report` and `drive`."""

import json
import os
import shutil
from dataclasses import replace

import pytest
from support.batches import calbatch
from support.recorded import change_batch, record_batch
from support.waiting import now

from calbatch.cluster.batch import launching, python_api, registering, session
from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.liveness import record_driver
from calbatch.cluster.batch.result import Ending, Result
from calbatch.cluster.cli.app import cli
from calbatch.cluster.cli.commands import batches
from calbatch.cluster.driver.control import StopRequest, read_stop_request, request_stop
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import DamagedLedgerError, Ledger, LedgerError, View, store
from calbatch.cluster.ledger.store import NAME


@pytest.fixture(autouse=True)
def _registry(monkeypatch, tmp_path_factory):
    """Set up a registry for each test, and a wide terminal."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path_factory.mktemp("registry")))
    monkeypatch.setenv("COLUMNS", "250")


def row(folder):
    with View(folder.state) as view:
        return view.batch(folder.name)


def running(folder):
    made = record_batch(folder, [{"state": "running", "attempts": 1}], state="running")
    record_driver(made, os.getpid())
    return made


# -- submit and resume -------------------------------------------------------------------------


@pytest.fixture
def taken(monkeypatch, tmp_path):
    """Return an unfinished batch as from `resume_batch`, and lists of the resulting calls."""
    folder = record_batch(tmp_path, [{}, {"state": "done"}], "interrupted")
    calls = {"launched": [], "driven": [], "taken": []}
    batch = registering.RegisteredBatch(
        folder=folder, step=None, order=None, inputs=[(0, "e0")], total=2
    )

    def resume_batch(folder, **how):
        calls["taken"].append(how)
        return calls["batch"]

    def drive(begun, console, **how):
        calls["driven"].append(begun)
        return Result(folder, 1.0, Ending(state="done"))

    def launch(begun, announce):
        announce(begun.folder)
        calls["launched"].append(begun)

    calls["batch"] = batch
    monkeypatch.setattr(registering, "resume_batch", resume_batch)
    monkeypatch.setattr(launching, "launch", launch)
    monkeypatch.setattr(session, "drive", drive)
    return calls


def find_commands(text):
    """Return the name and the first argument of each command in a text that click accepts."""
    lines = [line.partition("#")[0].split() for line in text.splitlines() if "calbatch" in line]
    for program, name, *arguments in lines:
        assert program == "calbatch"
        cli.commands[name].make_context(name, arguments)
    return [line[1:3] for line in lines]


def test_a_submitted_batch_is_launched_and_its_name_printed(taken, monkeypatch, capsys):
    orders = []

    def build_order(arguments, source):
        orders.append(arguments)
        return "step", "order"

    monkeypatch.setattr(python_api, "build_order", build_order)
    monkeypatch.setattr(
        python_api, "begin_batch", lambda step, order, hold: taken["batch"] if hold else None
    )
    assert batches.submit("jump", ["a.fits"], workers=2) == 0
    name, said = taken["batch"].folder.name, capsys.readouterr()
    assert said.out == f"{name}\n"
    assert find_commands(said.err) == [["status", name], ["logs", name], ["cancel", name]]
    assert orders == [BatchArguments("jump", ["a.fits"], workers=2)]
    assert taken["launched"] == [taken["batch"]]


def test_a_resumed_batch_is_driven_here_or_in_the_background(taken, capsys):
    name = taken["batch"].folder.name
    assert batches.resume(name, detach=False, debug=False) == 0
    assert taken["driven"] == [taken["batch"]]
    assert "peak memory" in capsys.readouterr().out
    assert batches.resume(name, detach=True, debug=False) == 0
    said = capsys.readouterr()
    assert said.out == f"{name}\n"
    assert find_commands(said.err) == [["status", name], ["logs", name], ["cancel", name]]
    assert taken["launched"] == [taken["batch"]]
    assert taken["taken"] == [{"failed": True, "hold": True}] * 2


def test_a_batch_of_which_nothing_is_left_is_not_driven(taken, capsys):
    taken["batch"] = replace(taken["batch"], inputs=[])
    assert batches.resume(taken["batch"].folder.name, detach=False, debug=False) == 0
    assert taken["driven"] == taken["launched"] == []
    assert "nothing" in capsys.readouterr().err


# -- drive -------------------------------------------------------------------------------------


def test_a_driver_withdraws_the_time_limit_of_the_one_before(taken):
    folder = taken["batch"].folder
    request_stop(folder.control, StopRequest.LATER)
    assert batches.drive(str(folder.output), folder.name) == 0
    assert read_stop_request(folder.control) is None
    assert taken["taken"] == [{"hold": True}]


@pytest.fixture
def in_job(monkeypatch):
    """Be in the job of the driver; return the jobs put back into the queue."""
    requeued = []
    monkeypatch.setattr(batches, "own_job", lambda name: "4711")
    monkeypatch.setattr(batches, "requeue_job", requeued.append)
    return requeued


def driving(monkeypatch, folder, state, request=None, error=None):
    def drive(begun, console):
        if request:
            request_stop(folder.control, request)
        if error:
            raise error
        return Result(folder, 1.0, Ending(state=state))

    monkeypatch.setattr(session, "drive", drive)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_a_driver_whose_time_is_up_goes_back_into_the_queue(taken, monkeypatch, in_job, error):
    folder = taken["batch"].folder
    driving(monkeypatch, folder, "interrupted", StopRequest.LATER, error)
    assert batches.drive(str(folder.output), folder.name) == 130
    assert in_job == ["4711"]
    assert row(folder).state == "planned"


def test_a_driver_that_cannot_go_back_into_the_queue_leaves_the_batch_interrupted(
    taken, monkeypatch, in_job
):
    def refuse(job):
        raise RequestError("scontrol: not permitted")

    folder = taken["batch"].folder
    driving(monkeypatch, folder, "interrupted", StopRequest.LATER)
    monkeypatch.setattr(batches, "requeue_job", refuse)
    with pytest.raises(RequestError, match="not permitted"):
        batches.drive(str(folder.output), folder.name)
    assert row(folder).state == "interrupted"
    assert "scontrol: not permitted" in row(folder).reason


@pytest.mark.parametrize(("state", "status"), [("done", 0), ("cancelled", 130), ("failed", 1)])
def test_a_driver_that_ends_by_itself_does_not_go_back_into_the_queue(
    taken, monkeypatch, in_job, state, status
):
    folder = taken["batch"].folder
    driving(monkeypatch, folder, state, StopRequest.DRAIN)
    assert batches.drive(str(folder.output), folder.name) == status
    assert in_job == []


def test_an_interrupted_driver_whose_time_is_not_up_is_interrupted(taken, monkeypatch, in_job):
    folder = taken["batch"].folder
    driving(monkeypatch, folder, "interrupted", None, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        batches.drive(str(folder.output), folder.name)
    assert in_job == []


# -- cancel ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("now", "request_"), [(True, StopRequest.NOW), (False, StopRequest.DRAIN)])
def test_a_running_batch_is_asked_to_end(tmp_path, capsys, now, request_):
    folder = running(tmp_path)
    assert batches.cancel(folder.name, now=now) == 0
    assert read_stop_request(folder.control) is request_
    assert row(folder).state == "running"
    assert capsys.readouterr().out.startswith(f"{folder.name}: ")


@pytest.mark.parametrize("state", ["done", "failed", "interrupted"])
def test_a_batch_that_has_ended_cannot_be_cancelled(tmp_path, state):
    folder = record_batch(tmp_path, [{}], state)
    with pytest.raises(RequestError, match=rf"is not running \({state}\)"):
        batches.cancel(folder.name, now=True)
    assert not folder.control.exists()


# -- list, prune, report -----------------------------------------------------------------------


def test_batches_are_listed_with_their_states(tmp_path, capsys):
    first = record_batch(tmp_path / "a", [{}, {}], "failed")
    second = running(tmp_path / "b")
    damaged = record_batch(tmp_path / "c", [{}])
    (damaged.state / NAME).write_bytes(b"no database")
    gone = record_batch(tmp_path / "d", [{}])
    (gone.state / NAME).unlink()
    shutil.rmtree(gone.path)
    assert batches.show() == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [[c.strip() for c in line.strip("│").split("│")] for line in lines if "│" in line]
    assert sorted(cells) == sorted(
        [
            [first.name, "failed", "jump", "2", str(tmp_path / "a")],
            [second.name, "running", "jump", "1", str(tmp_path / "b")],
            [damaged.name, "damaged ledger", "?", "?", str(tmp_path / "c")],
        ]
    )


def test_batches_are_listed_for_programs(tmp_path):
    first = record_batch(tmp_path / "a\x1b", [{}, {}], "failed")
    damaged = record_batch(tmp_path / "b", [{}])
    (damaged.state / NAME).write_bytes(b"no database")
    found = [json.loads(line) for line in calbatch("list", "--json").out.splitlines()]
    assert found == [
        {"batch": first.name, "state": "failed", "pipeline": "jump", "exposures": 2,
         "output": str(tmp_path / "a\x1b"), "dashboard": None},
        {"batch": damaged.name, "state": "damaged ledger", "pipeline": None, "exposures": None,
         "output": str(tmp_path / "b"), "dashboard": None},
    ]  # fmt: skip


def test_batches_that_run_are_listed_with_their_dashboards(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    link = "http://127.0.0.1:40213/calbatch#kq3vJ2mB0cX5WbT9sHn1Zg"
    running_one, ended = running(tmp_path / "a"), record_batch(tmp_path / "b", [{}])
    for folder in (running_one, ended):
        change_batch(folder, lambda ledger, number: ledger.set_dashboard(number, link))
    out = calbatch("list").out
    assert out.splitlines()[-1] == f"{running_one.name}: {link}"
    assert out.count(link) == 1
    found = [json.loads(line)["dashboard"] for line in calbatch("list", "--json").out.splitlines()]
    assert sorted(found, key=str) == [None, link]


def age(folder, days):
    """Make a batch older."""
    with Ledger(folder.state) as ledger:
        ledger._change("UPDATE batches SET created = ?", now() - days * 86400)


def test_old_batches_are_forgotten_and_their_products_stay(tmp_path, capsys):
    old, new = record_batch(tmp_path / "a", [{}]), record_batch(tmp_path / "b", [{}])
    active = running(tmp_path / "c")
    (tmp_path / "a" / "e_rate.fits").touch()
    for folder in (old, active):
        age(folder, 31)
    assert batches.prune([], older_than=30.0) == 0
    said = capsys.readouterr().out
    assert old.name in said
    assert new.name not in said
    assert not old.path.exists()
    assert (tmp_path / "a" / "e_rate.fits").exists()
    with pytest.raises(LedgerError, match="has no batch"):
        row(old)
    assert (row(new).state, row(active).state) == ("done", "running")


def test_a_named_batch_is_forgotten_at_any_age(tmp_path):
    folder = record_batch(tmp_path, [{}])
    batches.prune([folder.name], older_than=30.0)
    assert not folder.path.exists()


def test_a_named_batch_that_runs_cannot_be_forgotten(tmp_path):
    folder = running(tmp_path)
    with pytest.raises(RequestError, match=f"{folder.name}: running; `calbatch cancel`"):
        batches.prune([folder.name], older_than=30.0)
    assert folder.path.exists()


def test_a_batch_beside_one_at_work_stays(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(store, "LOCK_PATIENCE", 0.0)
    folder = record_batch(tmp_path, [{}])
    age(folder, 31)
    with Ledger(folder.state):
        batches.prune([], older_than=30.0)
        assert f"{folder.name}: stays: " in capsys.readouterr().out
        with pytest.raises(LedgerError, match="is running there"):
            batches.prune([folder.name], older_than=30.0)
    assert folder.path.exists()


def test_a_damaged_ledger_is_reported_and_pruned_only_by_hand(tmp_path, capsys):
    folder = record_batch(tmp_path, [{}])
    (folder.state / NAME).write_bytes(b"no database")
    assert batches.prune([], older_than=0.0) == 0
    assert "damaged" in capsys.readouterr().out
    with pytest.raises(DamagedLedgerError):
        batches.prune([folder.name], older_than=0.0)
    assert folder.path.exists()
