"""Starting the driver of a batch, in the background or as a Slurm job."""

import json
import os

import pytest
from support.batches import DATE

from calbatch.cluster.batch import launching, liveness
from calbatch.cluster.batch.arguments import BatchArguments
from calbatch.cluster.batch.launching import job_name, launch, start_driver
from calbatch.cluster.batch.python_api import build_order
from calbatch.cluster.batch.registering import begin_batch
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import find_registered
from calbatch.cluster.ledger import HeldLedgerError, Ledger, View
from calbatch.cluster.sites.named_sites import NamedSite
from calbatch.cluster.sites.options import SlurmOptions


@pytest.fixture
def batch(simulated, tmp_path, monkeypatch):
    """Return a batch that has been registered and holds its ledger."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    how = {"scheduler": "sync", "date": DATE, "fsync": False}
    arguments = BatchArguments("superbias", simulated.exposures[:1], tmp_path / "out", **how)
    batch = begin_batch(*build_order(arguments), hold=True)
    yield batch
    batch.ledger.close()


@pytest.fixture
def commands(monkeypatch):
    """Record the commands of detached drivers instead of starting them."""
    started = []

    def start_detached(command, log):
        started.append(command)
        return os.getpid()

    monkeypatch.setattr(liveness, "start_detached", start_detached)
    return started


def test_a_driver_in_the_background_is_recorded(batch, commands):
    launch(batch)
    [command] = commands
    assert command[-3:] == ["drive", str(batch.folder.output), batch.folder.name]
    assert json.loads(batch.folder.pid.read_text())["pid"] == os.getpid()
    assert not batch.folder.job.exists()


def test_the_ledger_is_held_until_the_driver_has_been_started(batch, monkeypatch):
    def start(folder, site):
        with pytest.raises(HeldLedgerError):
            Ledger(folder.state)

    monkeypatch.setattr(launching, "start_driver", start)
    launch(batch)
    with Ledger(batch.folder.state):
        pass


@pytest.mark.parametrize("error", [RequestError("no credit left"), OSError("no processes left")])
def test_a_batch_whose_driver_is_refused_is_abandoned(batch, monkeypatch, error):
    def refuse(folder, site):
        raise error

    monkeypatch.setattr(launching, "start_driver", refuse)
    with pytest.raises(type(error), match="left"):
        launch(batch)
    assert list(find_registered()) == []
    with View(batch.folder.state) as view:
        assert view.batches() == []


@pytest.mark.parametrize("alive", [True, False])
def test_an_earlier_job_of_the_batch_is_cancelled_if_it_is_alive(
    batch, commands, monkeypatch, alive
):
    cancelled = []
    monkeypatch.setattr(liveness, "is_job_alive", lambda job: alive)
    monkeypatch.setattr(launching, "cancel_job", cancelled.append)
    liveness.record_job(batch.folder, "17")
    start_driver(batch.folder)
    assert cancelled == (["17"] if alive else [])
    assert liveness.read_job(batch.folder) is None


def test_a_job_has_the_name_of_its_batch(batch):
    assert job_name(batch.folder) == f"calbatch-{batch.folder.name}"


def test_a_driver_of_a_slurm_site_is_a_job(batch, commands, monkeypatch):
    submitted = []

    def submit(command, log, job):
        submitted.append((command[-3:], log, job.name, job.partition))
        return "4711"

    monkeypatch.setattr(launching, "submit_driver", submit)
    start_driver(batch.folder, NamedSite("big", "slurm", SlurmOptions(partition="long")))
    folder = batch.folder
    drive = ["drive", str(folder.output), folder.name]
    assert submitted == [(drive, folder.log, job_name(folder), "long")]
    assert liveness.read_job(folder) == "4711"
    assert not folder.pid.exists()
    assert commands == []
