"""Batches on a real Slurm, with jobs for the driver and for its workers."""

import json

import pytest
import yaml
from support.batches import (
    DATE,
    calbatch,
    checksums,
    make_copies,
    products_in,
    small_set,
    unfinished_products,
)
from support.chaos import driver_of, kill, require_consistent, run_disturbed, spread_actions
from support.gated import BRIEF, DYING, GATE, HUNGRY, SLOW, WANTED
from support.onehost import is_left, slurm, start_soon
from support.pages_of_batches import read_batch, read_data
from support.placed import make_importable
from support.toys import registered_toys, write_ordered_association
from support.waiting import eventually

from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import View

pytestmark = pytest.mark.services


@pytest.fixture
def submit(slurm_host, hold, tmp_path, monkeypatch):
    """Return a function that submits a batch to a site on Slurm."""
    made = small_set()
    # a nanny gives up a worker that takes longer to start
    site = {"kind": "slurm", "jobs": 1, "memory": "1GiB", "interface": "lo", "patience": 120.0}
    config = {"calbatch": {"sites": {"node": {**site, "logs": str(tmp_path / "jobs")}}}}
    (tmp_path / "dask").mkdir()
    (tmp_path / "dask" / "calbatch.yaml").write_text(yaml.safe_dump(config))
    settings = {
        **made.environment(), GATE: str(tmp_path / "gate"),
        "DASK_CONFIG": str(tmp_path / "dask"), "CALBATCH_STATE_DIR": str(tmp_path / "state"),
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    make_importable(monkeypatch)
    import dask

    dask.config.refresh(paths=[str(tmp_path / "dask")])

    def submit_batch(pipeline, *options, inputs=made.folder / "exposures"):
        how = ("-o", tmp_path / "out", "--site", "node", "--date", DATE, "--no-fsync", *options)
        completed = calbatch("submit", pipeline, inputs, *how)
        assert completed.status == 0, completed.err
        return BatchFolder(tmp_path / "out", completed.out.strip())

    yield submit_batch
    dask.config.refresh()


def until(condition, seconds=240):
    eventually(condition, seconds, every=0.2, state=lambda: f"jobs are {slurm('squeue')}")


def state(folder):
    return json.loads(calbatch("status", folder.name, "--json").out)["state"]


def dashboard(folder):
    return json.loads(calbatch("status", folder.name, "--json").out)["dashboard"]


def log(folder):
    return folder.log.read_text() if folder.log.exists() else ""


def job(folder):
    return folder.job.read_text().strip()


def workers(folder):
    """Return the numbers of the workers' jobs."""
    name = f"--name=calbatch-{folder.name}-workers"
    return slurm("squeue", "-h", "-o", "%i", "-t", "RUNNING", name).split()


def soon(folder):
    """Release a requeued driver from the two minutes that Slurm makes it wait."""
    shown = slurm("scontrol", "-o", "show", "job", job(folder))
    if "JobState=PENDING" in shown and "Reason=BeginTime" in shown:
        until(lambda: driver_of(folder) is None and not is_left(job(folder)))
        start_soon(job(folder))


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
    assert checksums(folder.output) == checksums(tmp_path / "b")
    until(lambda: slurm("squeue", "-h") == "")


@pytest.mark.slow
def test_associations_and_exposures_in_order_are_done_by_jobs(submit, tmp_path, monkeypatch):
    inputs = write_ordered_association(small_set().exposures, tmp_path / "in")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=":")
    with registered_toys(tmp_path / "site", monkeypatch):
        folder = submit("ordered,rating,toy2", "--site.jobs", "2", inputs=inputs)
        until(lambda: state(folder) not in ("planned", "running"))
        assert state(folder) == "done", log(folder)
        how = ("--scheduler", "sync", "--date", DATE)
        done = calbatch("run", "ordered,rating,toy2", inputs, "-o", tmp_path / "b", *how)
    assert done.status == 0, done.err
    assert "p_cal.fits" in checksums(folder.output)
    assert checksums(folder.output) == checksums(tmp_path / "b")
    until(lambda: slurm("squeue", "-h") == "")


@pytest.mark.ci
def test_the_page_of_a_batch_is_at_the_address_that_its_status_shows(submit, tmp_path):
    folder = submit(SLOW)
    until(lambda: unfinished_products(folder.output))
    until(lambda: dashboard(folder))  # recorded when the scheduler answers
    link = dashboard(folder)
    until(lambda: "r" in (read_batch(link, folder.name) or {}).get("grid", ""))
    found = read_batch(link, folder.name)
    assert (found["state"], found["total"]) == ("running", 3)
    assert found["private"]["output"] == str(folder.output)
    (worker,) = read_data(link.partition("/calbatch#")[0])["workers"]
    assert worker["memory"] > 0
    (tmp_path / "gate").touch()
    until(lambda: state(folder) == "done")
    assert dashboard(folder) == ""


@pytest.mark.ci
def test_a_requeued_driver_continues(submit, tmp_path):
    folder = submit(SLOW)
    until(lambda: unfinished_products(folder.output))
    slurm("scontrol", "requeue", job(folder))
    until(lambda: "PENDING" in slurm("scontrol", "show", "job", job(folder)))
    until(lambda: not is_left(job(folder)) and slurm("sinfo", "-h", "-o", "%t") == "idle")
    (tmp_path / "gate").touch()
    start_soon(job(folder))
    until(lambda: state(folder) == "done")
    assert len(products_in(folder.output)) == 3
    with View(folder.state) as view:
        assert view.counts(view.batch(folder.name).id) == {"done": 3}


def test_a_batch_is_cancelled_and_resumed(submit, tmp_path):
    folder = submit(SLOW)
    until(lambda: unfinished_products(folder.output))
    assert calbatch("cancel", folder.name, "--now").status == 0
    until(lambda: state(folder) == "cancelled")
    assert products_in(folder.output) == []
    until(lambda: slurm("squeue", "-h") == "")
    (tmp_path / "gate").touch()
    assert calbatch("resume", folder.name, "--detach").status == 0
    until(lambda: state(folder) == "done")
    assert len(products_in(folder.output)) == 3


@pytest.mark.ci
def test_a_batch_finishes_although_its_workers_jobs_are_cancelled(submit, tmp_path):
    folder = submit(SLOW)
    until(lambda: unfinished_products(folder.output))
    workers = [n for n in slurm("squeue", "-h", "-o", "%i").split() if n != job(folder)]
    assert workers
    slurm("scancel", *workers)
    (tmp_path / "gate").touch()
    until(lambda: state(folder) == "done")
    assert len(products_in(folder.output)) == 3


@pytest.mark.ci
def test_a_driver_at_its_time_limit_continues_later(submit, tmp_path):
    folder = submit(SLOW, "--site.driver_walltime", "10:00")
    assert "TimeLimit=00:10:00" in slurm("scontrol", "show", "job", job(folder))
    until(lambda: unfinished_products(folder.output))
    slurm("scontrol", "update", f"JobId={job(folder)}", "TimeLimit=2")
    slurm("scancel", "--batch", "--signal=TERM", job(folder))  # as Slurm does, but sooner
    until(folder.control.exists)
    (tmp_path / "gate").touch()  # exposures in flight end, and no others start
    until(lambda: "Restarts=1" in slurm("scontrol", "show", "job", job(folder)))
    until(lambda: "PENDING" in slurm("scontrol", "show", "job", job(folder)))
    assert state(folder) == "planned"
    assert 0 < len(products_in(folder.output)) < 6
    until(lambda: soon(folder) or state(folder) == "done")
    require_consistent(folder, 3)
    assert "its job is in the queue again" in log(folder) or "time is up" in log(folder)


@pytest.mark.parametrize(
    "resumed",
    [
        pytest.param(True, id="resume", marks=pytest.mark.ci),
        pytest.param(False, id="new-batch", marks=pytest.mark.slow),
    ],
)
def test_a_killed_driver_leaves_nothing_to_its_successor(submit, tmp_path, resumed):
    folder = submit(SLOW)
    until(lambda: unfinished_products(folder.output))
    [certificates] = (tmp_path / "jobs").glob(".tls-*")
    [before] = workers(folder)
    kill(driver_of(folder))
    until(lambda: state(folder) == "interrupted")
    assert certificates.is_dir()
    if resumed:
        assert calbatch("resume", folder.name, "--detach").status == 0
    else:
        killed, folder = folder, submit(SLOW)
        until(lambda: workers(killed) == [])
    until(lambda: workers(folder) not in ([], [before]))
    assert not certificates.exists()
    (tmp_path / "gate").touch()
    until(lambda: state(folder) == "done")
    until(lambda: slurm("squeue", "-h") == "")
    assert not list((tmp_path / "jobs").glob(".tls-*"))
    require_consistent(folder, 3)


def test_exposures_out_of_memory_are_retried_with_more(submit, tmp_path, monkeypatch):
    monkeypatch.setenv(WANTED, str(600 * 2**20))
    inputs = make_copies(2, tmp_path / "in")
    folder = submit(HUNGRY, "--site.memory", "700MiB", inputs=inputs)
    until(lambda: state(folder) not in ("planned", "running"))
    assert state(folder) == "done", log(folder)
    require_consistent(folder, 2)
    with View(folder.state) as view:
        tries = [view.attempts(e.id) for e in view.exposures(view.batch(folder.name).id)]
    for each in tries:  # an exposure that only waited on the worker that died is not to blame
        died, done = [a for a in each if a.result != "lost"]
        assert (died.result, died.alone) == ("memory", 0)
        assert "out of memory: the worker had" in died.reason
        assert "of 734 MB" in died.reason
        assert (done.result, done.alone) == ("done", 1)
        assert done.peak > 600 * 2**20


@pytest.mark.ci
def test_a_site_without_more_memory_retries_with_the_same(submit, tmp_path, monkeypatch):
    monkeypatch.setenv(WANTED, "0")
    megabytes = int(slurm("sinfo", "-h", "-o", "%m").rstrip("+"))
    inputs = make_copies(2, tmp_path / "in")
    folder = submit(DYING, "--site.memory", f"{megabytes * 2 // 3}MiB", inputs=inputs)
    until(lambda: state(folder) not in ("planned", "running"))
    assert "an exposure that runs alone gets no more memory than others" in log(folder)
    assert state(folder) == "done", log(folder)
    require_consistent(folder, 2)


@pytest.mark.parametrize(
    ("pipeline", "count", "fates"),
    [
        pytest.param(BRIEF, 12, ["requeue"], id="sample", marks=pytest.mark.ci),
        pytest.param(
            "detector1", 200, ["kill", "requeue", "cancel"], id="whole",
            marks=(pytest.mark.slow, pytest.mark.timeout(1500)),
        ),
    ],
)  # fmt: skip
def test_jobs_of_workers_and_drivers_are_cancelled(submit, tmp_path, hold, pipeline, count, fates):
    inputs = make_copies(count, tmp_path / "in")
    hold.write_text(max(inputs.iterdir()).name)
    folder = submit(pipeline, "--site.jobs", "2", inputs=inputs)
    chosen = {
        "kill": lambda: kill(driver_of(folder)) or True,
        "requeue": lambda: slurm("scontrol", "requeue", job(folder)) or True,
        "cancel": lambda: slurm("scancel", job(folder)) or True,
    }

    def strike(chance):
        running = workers(folder)
        slurm("scancel", *([chance.choice(running)] if running else ["--name=none"]))
        return bool(running)

    planned = spread_actions(count, *[chosen[f] for f in fates])
    assert run_disturbed(
        folder, every=6.0, strike=strike, planned=planned,
        keep=lambda: soon(folder), seconds=200, hold=hold,
    )  # fmt: skip
    require_consistent(folder, count)
    how = ("--scheduler", "sync", "--date", DATE)
    assert calbatch("run", pipeline, inputs, "-o", tmp_path / "b", *how).status == 0
    assert checksums(folder.output) == checksums(tmp_path / "b")
    until(lambda: slurm("squeue", "-h") == "")
    assert not list((tmp_path / "jobs").glob(".tls-*"))
