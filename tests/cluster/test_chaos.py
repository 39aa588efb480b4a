"""Batches whose workers, schedulers and drivers are killed finish each exposure once."""

from contextlib import suppress

import psutil
import pytest
from support.batches import DATE, calbatch, checksums, make_copies, small_set
from support.chaos import (
    driver_of,
    kill,
    require_consistent,
    run_disturbed,
    spread_actions,
    with_children,
)
from support.gated import BRIEF, MOMENT
from support.ownscheduler import Running
from support.placed import TESTS, make_importable
from support.toys import registered_toys, write_ordered_association

from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.ledger import View

HOW = ("--date", DATE, "--no-fsync")
WHOLE = (pytest.mark.slow, pytest.mark.timeout(1500))


@pytest.fixture
def exposures(tmp_path, monkeypatch):
    """Return a function that makes a number of exposures."""
    for name, value in small_set().environment().items():
        monkeypatch.setenv(name, value)
    make_importable(monkeypatch)
    monkeypatch.setenv(MOMENT, "0.5")  # seconds, so that no batch ends between two looks at it
    return lambda count: make_copies(count, tmp_path / "in")


@pytest.fixture
def submit(tmp_path, forked_drivers):
    """Return a function that submits a batch; the driver is killed after the test."""
    folders = []

    def submit(pipeline, inputs, *options):
        completed = calbatch("submit", pipeline, inputs, "-o", tmp_path / "out", *options, *HOW)
        assert completed.status == 0, completed.err
        folders.append(BatchFolder(tmp_path / "out", completed.out.strip()))
        return folders[-1]

    yield submit
    for folder in folders:
        kill(*with_children(driver_of(folder)))


def require_as_undisturbed(folder, pipeline, inputs, where, monkeypatch):
    monkeypatch.delenv(MOMENT)
    how = ("-o", where, "--scheduler", "sync", *HOW)
    assert calbatch("run", pipeline, inputs, *how).status == 0
    assert checksums(folder.output) == checksums(where)


def kill_driver(folder):
    driver = driver_of(folder)
    kill(*with_children(driver))
    return driver is not None


@pytest.mark.parametrize(("count", "drivers"), [pytest.param(200, 3, id="whole", marks=WHOLE)])
def test_workers_and_drivers_die(exposures, submit, tmp_path, monkeypatch, count, drivers):
    inputs = exposures(count)
    folder = submit("detector1", inputs, "--scheduler", "local", "--workers", "2")

    def strike(chance):
        driver, workers = driver_of(folder), []
        with suppress(psutil.Error):  # workers are the children of the driver's fork server
            children = driver.children(recursive=True) if driver else []
            workers = [p for p in children if p.ppid() != driver.pid]
        kill(*([chance.choice(workers)] if workers else []))
        return bool(workers)

    planned = spread_actions(count, *[lambda: kill_driver(folder)] * drivers)
    assert run_disturbed(folder, every=2.0, strike=strike, planned=planned, seconds=120)
    require_consistent(folder, count)
    require_as_undisturbed(folder, "detector1", inputs, tmp_path / "b", monkeypatch)


@pytest.fixture
def running(tmp_path, hold, exposures):
    """Run a scheduler and two workers with the exposures' environment."""
    folder = tmp_path / "dask"
    folder.mkdir()
    there = Running(folder)
    yield there
    there.kill()


@pytest.mark.parametrize(
    ("count", "drivers", "pipeline"),
    [
        pytest.param(24, 1, BRIEF, id="sample", marks=pytest.mark.ci),
        pytest.param(200, 3, "detector1", id="whole", marks=WHOLE),
    ],
)
def test_workers_a_scheduler_and_drivers_die(
    exposures, submit, tmp_path, monkeypatch, running, hold, count, drivers, pipeline
):
    inputs = exposures(count)
    hold.write_text(max(inputs.iterdir()).name)
    folder = submit(pipeline, inputs, "--scheduler", running.address)

    def strike(chance):
        workers = running.workers()
        kill(*([chance.choice(workers)] if workers else []))
        return bool(workers)

    def kinds():
        with View(folder.state) as view:
            return [event.kind for event in view.events(view.batch(folder.name).id)]

    def kill_driver_that_lost_it():
        return "site lost" in kinds() and kill_driver(folder)

    before = drivers // 2
    actions = [
        *[lambda: kill_driver(folder)] * before,
        lambda: running.kill("scheduler"),
        *[kill_driver_that_lost_it] * (drivers - before),
    ]
    assert run_disturbed(
        folder, every=2.0, strike=strike, planned=spread_actions(count, *actions),
        keep=running.keep, seconds=120, hold=hold,
    )  # fmt: skip
    require_consistent(folder, count)
    require_as_undisturbed(folder, pipeline, inputs, tmp_path / "b", monkeypatch)
    assert "site lost" in kinds()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_associations_and_exposures_in_order_survive_a_lost_scheduler(
    tmp_path, running, monkeypatch
):
    inputs = write_ordered_association(small_set().exposures, tmp_path / "in")
    for folder in (tmp_path / "site", TESTS):
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    chain, out = "ordered,rating,toy2", tmp_path / "out"
    with registered_toys(tmp_path / "site", monkeypatch):
        begun = calbatch("submit", chain, inputs, "-o", out, "--scheduler", running.address, *HOW)
        assert begun.status == 0, begun.err
        folder = BatchFolder(out, begun.out.strip())
        kills = [(1, lambda: running.kill("scheduler")), (2, lambda: kill_driver(folder))]
        run_disturbed(
            folder, every=1000.0, strike=lambda chance: False, planned=kills,
            keep=running.keep, seconds=120,
        )  # fmt: skip
        how = ("-o", tmp_path / "b", "--scheduler", "sync", *HOW)
        assert calbatch("run", chain, inputs, *how).status == 0
    require_consistent(folder, 5, 2)
    assert checksums(out) == checksums(tmp_path / "b")
