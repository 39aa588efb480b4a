"""Starting drivers, in the background or in a Slurm job."""

import os
import sys
from pathlib import Path

import pytest
from support.recorded import record_batch

from calbatch.calibrate.step import Step
from calbatch.cluster.batch import launching, liveness
from calbatch.cluster.batch.launching import job_name, launch, start_driver
from calbatch.cluster.batch.liveness import is_driver_alive, read_job, record_job
from calbatch.cluster.batch.order import Order
from calbatch.cluster.batch.registering import RegisteredBatch
from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import Ledger, LedgerError, View
from calbatch.cluster.sites.named_sites import NamedSite
from calbatch.cluster.sites.options import LocalOptions, SlurmOptions

SLURM = NamedSite("big", "slurm", SlurmOptions(partition="long", driver_walltime="1:00:00"))


@pytest.fixture
def folder(tmp_path):
    return record_batch(tmp_path, [{}], state=None)


@pytest.fixture
def started(monkeypatch):
    """Collect the commands of background drivers, which are this process."""
    found = []

    def start(command, log):
        found.append((command, log))
        return os.getpid()

    monkeypatch.setattr(liveness, "start_detached", start)
    return found


@pytest.fixture
def slurm(monkeypatch):
    """Collect the jobs submitted to Slurm and those cancelled; job 1 is still queued."""
    found = {"submitted": [], "cancelled": []}

    def submit(command, log, job):
        found["submitted"].append((command, log, job))
        return "4711"

    monkeypatch.setattr(launching, "submit_driver", submit)
    monkeypatch.setattr(launching, "cancel_job", found["cancelled"].append)
    monkeypatch.setattr(liveness, "is_job_alive", lambda job: job == "1")
    return found


def batch(folder, **fields):
    return RegisteredBatch(
        **{
            "folder": folder, "step": Step(), "order": Order(inputs=()),
            "inputs": [(0, Path(__file__))], "total": 1,
        } | fields
    )  # fmt: skip


def view(folder):
    with View(folder.state) as ledger:
        return ledger.batch(folder.name)


@pytest.mark.parametrize("site", [None, NamedSite("here", "local", LocalOptions())])
def test_without_slurm_the_driver_is_a_process_in_the_background(folder, started, site):
    start_driver(folder, site)
    [(command, log)] = started
    assert command[:4] == [sys.executable, "-P", "-m", "calbatch.cluster"]
    assert command[4:] == ["drive", str(folder.output), folder.name]
    assert log == folder.log
    assert is_driver_alive(folder, view(folder))
    assert read_job(folder) is None


def test_a_driver_of_a_slurm_site_is_a_job(folder, started, slurm):
    start_driver(folder, SLURM)
    [(command, log, job)] = slurm["submitted"]
    assert command[4:] == ["drive", str(folder.output), folder.name]
    assert log == folder.log
    assert (job.name, job.partition) == (f"calbatch-{folder.name}", "long")
    assert read_job(folder) == "4711"
    assert started == []


@pytest.mark.parametrize(("earlier", "cancelled"), [("1", ["1"]), ("2", [])])
def test_a_job_that_still_waits_is_replaced(folder, started, slurm, earlier, cancelled):
    record_job(folder, earlier)
    folder.pid.write_text("an earlier driver")
    start_driver(folder)
    assert slurm["cancelled"] == cancelled
    assert read_job(folder) is None
    assert is_driver_alive(folder, view(folder))


def test_the_jobs_name_has_that_of_the_batch(folder):
    assert job_name(folder) == f"calbatch-{folder.name}"


def test_a_launched_batch_frees_the_ledger_for_its_driver(folder, started):
    with Ledger(folder.state) as ledger:
        launch(batch(folder, ledger=ledger))
        with Ledger(folder.state) as driver:
            assert driver.batch(folder.name).state == "planned"
    assert len(started) == 1


@pytest.mark.parametrize("error", [RequestError("no partition long"), OSError("no more processes")])
def test_a_new_batch_whose_driver_is_refused_disappears(folder, monkeypatch, error):
    def refuse(command, log):
        raise error

    monkeypatch.setattr(liveness, "start_detached", refuse)
    with pytest.raises(type(error), match=str(error)):
        launch(batch(folder, fresh=True))
    assert not folder.path.exists()
    with pytest.raises(LedgerError, match="has no batch"):
        view(folder)


def test_an_older_batch_whose_driver_is_refused_fails(folder, monkeypatch):
    def refuse(command, log):
        raise RequestError("no partition long")

    monkeypatch.setattr(liveness, "start_detached", refuse)
    with pytest.raises(RequestError):
        launch(batch(folder))
    row = view(folder)
    assert (row.state, row.reason) == (
        "failed",
        "its driver could not be started: no partition long",
    )
