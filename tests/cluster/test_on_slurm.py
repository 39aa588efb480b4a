"""Whole batches on a real Slurm: the driver is a job, and so are its workers."""

import json
import time

import pytest
import yaml
from support.batches import DATE, calbatch, products_in, small_set, sums
from support.gated import GATE, SLOW
from support.onehost import slurm
from support.placed import importable

from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import View

pytestmark = pytest.mark.services


@pytest.fixture
def submit(slurm_host, tmp_path, monkeypatch):
    """Return a function that submits a batch to a site on Slurm."""
    made = small_set()
    site = {"kind": "slurm", "jobs": 1, "memory": "1GiB", "interface": "lo", "patience": 20.0}
    config = {"calbatch": {"sites": {"node": {**site, "logs": str(tmp_path / "jobs")}}}}
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask" / "calbatch.yaml").write_text(yaml.safe_dump(config))
    settings = {
        **made.environment(), GATE: str(tmp_path / "gate"),
        "DASK_CONFIG": str(tmp_path / "dask"), "CALBATCH_STATE_DIR": str(tmp_path / "state"),
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    importable(monkeypatch)
    import dask

    dask.config.refresh(paths=[str(tmp_path / "dask")])

    def submitted(pipeline, *options):
        how = ("-o", tmp_path / "out", "--site", "node", "--date", DATE, "--no-fsync", *options)
        said = calbatch("submit", pipeline, made.folder / "exposures", *how)
        assert said.status == 0, said.err
        return BatchFolder(tmp_path / "out", said.out.strip())

    yield submitted
    dask.config.refresh()


def until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def state(folder):
    return json.loads(calbatch("status", folder.name, "--json").out)["state"]


def log(folder):
    return folder.log.read_text() if folder.log.exists() else ""


def job(folder):
    return folder.job.read_text().strip()


def test_a_batch_is_done_by_jobs(submit, tmp_path):
    folder = submit("detector1")
    assert job(folder).isdecimal()
    until(lambda: state(folder) not in ("planned", "running"))
    assert state(folder) == "done", log(folder)
    assert "1 Slurm job with 1 worker each" in calbatch("logs", folder.name).out
    assert "slurm" in calbatch("sites").out
    exposures = small_set().folder / "exposures"
    how = ("--scheduler", "sync", "--date", DATE)
    assert calbatch("run", "detector1", exposures, "-o", tmp_path / "b", *how).status == 0
    assert sums(folder.output) == sums(tmp_path / "b")
    until(lambda: slurm("squeue", "-h") == "")


def test_a_driver_that_is_queued_again_goes_on(submit, tmp_path):
    folder = submit(SLOW)
    until(lambda: list(folder.output.glob(".*.part")))
    slurm("scontrol", "requeue", job(folder))
    until(lambda: "PENDING" in slurm("scontrol", "show", "job", job(folder)))
    until(lambda: slurm("sinfo", "-h", "-o", "%t") == "idle")  # the first run is over
    (tmp_path / "gate").touch()
    slurm("scontrol", "update", f"JobId={job(folder)}", "StartTime=now")
    until(lambda: state(folder) == "done", 150)
    assert len(products_in(folder.output)) == 3
    with View(folder.state) as view:
        assert view.counts(view.batch(folder.name).id) == {"done": 3}


def test_a_batch_is_cancelled_and_resumed(submit, tmp_path):
    folder = submit(SLOW)
    until(lambda: list(folder.output.glob(".*.part")))
    assert calbatch("cancel", folder.name, "--now").status == 0
    until(lambda: state(folder) == "cancelled")
    assert products_in(folder.output) == []
    until(lambda: slurm("squeue", "-h") == "")
    (tmp_path / "gate").touch()
    assert calbatch("resume", folder.name, "--detach").status == 0
    until(lambda: state(folder) == "done")
    assert len(products_in(folder.output)) == 3


def test_a_batch_whose_workers_jobs_are_cancelled_is_done_all_the_same(submit, tmp_path):
    folder = submit(SLOW)
    until(lambda: list(folder.output.glob(".*.part")))
    workers = [n for n in slurm("squeue", "-h", "-o", "%i").split() if n != job(folder)]
    assert workers
    slurm("scancel", *workers)
    (tmp_path / "gate").touch()
    until(lambda: state(folder) == "done", 150)
    assert len(products_in(folder.output)) == 3
