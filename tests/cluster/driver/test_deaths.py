"""Deaths of drivers over exposures that they calibrate in their own process, and of workers."""

import os
import signal
from contextlib import contextmanager

import pytest
from support.batches import DATE, calbatch, checksums, make_copies, small_set, unfinished_products
from support.chaos import driver_of, status
from support.gated import ABORTING, FATAL, GATE, SLOW
from support.placed import make_importable
from support.waiting import eventually

from calbatch.cluster.batch.leftovers import living_batches
from calbatch.cluster.batch.liveness import SILENCE
from calbatch.cluster.driver.deaths import RecordedDeath, find_deaths, record_driver_deaths
from calbatch.cluster.exposure.policy import FailureKind
from calbatch.cluster.folder import BatchFolder, find_registered
from calbatch.cluster.ledger import Ledger, View

pytestmark = pytest.mark.usefixtures("forked_drivers")

VICTIM = "e0001"


class Batches:
    """Batches of one command, whose drivers run in the background."""

    def __init__(self, folder):
        self.inputs, self.output = make_copies(3, folder / "in"), folder / "out"
        self.gate = folder / "gate"

    def submit(self, pipeline, *options):
        """Submit a batch, and return its folder."""
        how = ("--date", DATE, "--no-fsync", *options)
        completed = calbatch("submit", pipeline, self.inputs, "-o", self.output, *how)
        assert completed.status == 0, completed.err
        return BatchFolder(self.output, completed.out.strip())

    def require_undisturbed_products(self, pipeline, other):
        """Require the products of a batch that nothing disturbs."""
        how = ("--date", DATE, "--no-fsync", "--scheduler", "sync")
        assert calbatch("run", pipeline, self.inputs, "-o", other, *how).status == 0
        assert checksums(self.output) == checksums(other)


@pytest.fixture
def batches(tmp_path, monkeypatch):
    settings = {**small_set().environment(), GATE: str(tmp_path / "gate"), FATAL: VICTIM}
    settings["CALBATCH_STATE_DIR"] = str(tmp_path / "state")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    make_importable(monkeypatch)
    yield Batches(tmp_path)
    for folder in find_registered():
        driver = driver_of(folder)
        if driver is not None and driver.pid != os.getpid():
            driver.kill()


def send(folder, number):
    """Send a signal to the driver of a batch that is calibrating, and wait for its end."""
    eventually(lambda: unfinished_products(folder.output))
    driver = driver_of(folder)
    os.kill(driver.pid, number)
    return driver


def wait_for_death(folder):
    """Wait until the driver of a batch has died, or ended."""
    eventually(lambda: status(folder)["state"] not in ("planned", "running"))
    eventually(lambda: driver_of(folder) is None)


@contextmanager
def reading(folder):
    """Open the ledger of a batch, and yield it with the batch's row."""
    with View(folder.state) as view:
        yield view, view.batch(folder.name)


def results(folder, number):
    """Return the results of an exposure's attempts, and whether each ran alone."""
    with reading(folder) as (view, row):
        attempts = view.attempts(view.exposure(row.id, number).id)
    return [(attempt.result, attempt.alone) for attempt in attempts]


def states(folder):
    """Return the states of a batch's exposures, with the processes that died over each."""
    with reading(folder) as (view, row):
        return [(exposure.state, exposure.deaths) for exposure in view.exposures(row.id)]


def site(folder):
    with reading(folder) as (_, row):
        return row.site


@pytest.mark.parametrize("again", ["resume", "repeat"])
def test_an_exposure_over_which_the_driver_was_killed_goes_to_a_worker(batches, tmp_path, again):
    first = last = batches.submit(SLOW)
    send(first, signal.SIGKILL)
    wait_for_death(first)
    assert site(first) == "threads"
    batches.gate.touch()
    if again == "resume":
        completed = calbatch("resume", first.name)
        tries = [("death", 1), ("done", 1)]
    else:
        how = ("--date", DATE, "--no-fsync")
        completed = calbatch("run", SLOW, batches.inputs, "-o", batches.output, *how)
        last, tries = list(find_registered())[-1], [("done", 1)]
        assert results(first, 0) == [("death", 1)]
        assert status(first)["state"] == "interrupted"
    assert completed.status == 0, completed.err
    assert "e0000_uncal.fits: the process that drove the batch died while calibr" in completed.err
    assert site(last) == "local"
    assert results(last, 0) == tries
    assert [state for state, _ in states(last)] == ["done"] * 3
    assert not list(first.logs.iterdir())
    batches.require_undisturbed_products(SLOW, tmp_path / "b")


@pytest.mark.parametrize("again", ["first", "later"])
def test_a_plan_names_the_place_that_a_batch_has_after_a_death(batches, again):
    folder = batches.submit(SLOW)
    plan = ("plan", SLOW, batches.inputs, "-o", batches.output, "--date", DATE)
    eventually(lambda: unfinished_products(folder.output))
    assert "in this process" in calbatch(*plan).out  # the driver is alive
    send(folder, signal.SIGKILL)
    wait_for_death(folder)
    if again == "later":
        with Ledger(folder.state) as ledger:
            record_driver_deaths(ledger, folder.output)
    before = {path: path.read_bytes() for path in folder.state.rglob("*") if path.is_file()}
    said = calbatch(*plan).out
    assert "worker process" in said
    assert "in this process" not in said
    assert before == {p: p.read_bytes() for p in folder.state.rglob("*") if p.is_file()}
    batches.gate.touch()
    how = ("--date", DATE, "--no-fsync")
    assert calbatch("run", SLOW, batches.inputs, "-o", batches.output, *how).status == 0
    assert site(list(find_registered())[-1]) == "local"
    assert "already done" in calbatch(*plan).out


def test_an_exposure_that_kills_each_process_is_quarantined(batches):
    folder = batches.submit(ABORTING)
    wait_for_death(folder)
    completed = calbatch("resume", folder.name)
    assert completed.status == 1
    assert "Fatal Python error: Aborted; quarantined: 3 processes died" in completed.err
    assert results(folder, 1) == [("crash", 1), ("crash", 1), ("quarantined", 1)]
    assert states(folder) == [("done", 0), ("quarantined", 3), ("done", 0)]
    assert "_abort" in calbatch("logs", folder.name, VICTIM).out
    assert "death: " in calbatch("logs", folder.name).out


@pytest.mark.parametrize("again", ["resume", "repeat"])
def test_a_batch_that_must_run_in_the_drivers_process_refuses_such_an_exposure(batches, again):
    """Each driver dies over it but the fourth; it is then tried once more if that is requested."""
    last = batches.submit(ABORTING, "--scheduler", "sync")
    for _ in range(3):
        wait_for_death(last)
        if again == "resume":
            assert calbatch("resume", last.name, "--detach").status == 0
        else:
            last = batches.submit(ABORTING, "--scheduler", "sync")
    wait_for_death(last)
    assert status(last)["state"] == "failed"
    assert states(last)[1] == ("quarantined", 3)
    assert {state for state, _ in states(last)} <= {"done", "kept", "quarantined"}
    with reading(last) as (view, row):
        reason = view.exposure(row.id, 1).reason
    assert f"{VICTIM}_uncal.fits: the process that drove the batch died" in reason
    assert reason.endswith("quarantined: 3 processes died while it was running alone")
    calbatch("resume", last.name, "--detach")
    wait_for_death(last)
    assert status(last)["state"] == "interrupted"
    assert calbatch("resume", last.name).status == 1
    assert states(last)[1][0] == "quarantined"


def test_a_driver_that_dies_before_there_are_tiles_gives_the_whole_exposure_to_a_worker(batches):
    how = ("--scheduler", "local", "--workers", "4", "--early", "true")
    folder = batches.submit(ABORTING, *how)
    wait_for_death(folder)
    assert calbatch("resume", folder.name).status == 1
    assert results(folder, 1)[0] == ("crash", 1)
    assert states(folder) == [("done", 0), ("quarantined", 3), ("done", 0)]


def test_a_driver_that_a_signal_stops_counts_against_nobody(batches):
    folder = batches.submit(SLOW)
    driver = send(folder, signal.SIGTERM)
    eventually(lambda: status(folder)["state"] == "interrupted")
    batches.gate.touch()  # a kernel in a thread ends by itself
    eventually(lambda: not driver.is_running())
    assert calbatch("resume", folder.name).status == 0
    assert site(folder) == "threads"
    assert results(folder, 0) == [("lost", 0), ("done", 0)]
    assert states(folder) == [("done", 0)] * 3


@pytest.fixture
def killed(tmp_path):
    """Return an open ledger with a batch whose driver has died, and the batch's folder."""
    folder = BatchFolder(tmp_path, "b")
    folder.logs.mkdir(parents=True)
    with Ledger(folder.state) as ledger:
        paths = [f"/{number}_uncal.fits" for number in range(3)]
        batch = ledger.add_batch("b", "jump", paths, request={}, parameters={}, software={})
        ledger.set_driver(batch, "threads", None)
        yield ledger, folder


def leave_log(folder, name, process=""):
    row = f"{os.uname().nodename}:{os.getpid()}"
    (folder.logs / name).write_text(f"began 2026 in {process or row}\n")


def test_only_logs_of_the_driver_itself_count(killed):
    ledger, folder = killed
    leave_log(folder, "1-2.log")
    leave_log(folder, "0-1.log", f"{os.uname().nodename}:1")  # of a worker
    for odd in ("7-1.log", "x.log", f"2-{'9' * 40}.log", "2-0.txt"):
        leave_log(folder, odd)
    (folder.logs / "2-1.log").mkdir()
    record_driver_deaths(ledger, folder.output)
    reason = "/1_uncal.fits: the process that drove the batch died while calibrating it"
    assert find_deaths(ledger, 1) == {1: [RecordedDeath(FailureKind.DEATH, reason)]}
    assert ledger.find_exposure(1, 1).attempts == 2
    assert (folder.logs / "0-1.log").exists()
    record_driver_deaths(ledger, folder.output)
    assert len(find_deaths(ledger, 1)[1]) == 1


def test_the_log_of_an_exposure_that_has_ended_does_not_count(killed):
    ledger, folder = killed
    for number, state in enumerate(("done", "failed", "waiting")):
        ledger.update_exposure(1, number, state=state, attempts=2)
        leave_log(folder, f"{number}-1.log")
    ledger.commit()
    record_driver_deaths(ledger, folder.output)
    assert find_deaths(ledger, 1) == {}


@pytest.mark.parametrize(("silent", "count"), [(0.5, 0), (2.0, 1)])
def test_a_driver_on_another_host_has_died_once_it_is_silent(killed, silent, count):
    ledger, folder = killed
    ledger._change(f"UPDATE batches SET host = 'elsewhere', beat = beat - {silent * SILENCE}")
    ledger.commit()
    leave_log(folder, "1-1.log", f"elsewhere:{os.getpid()}")
    ledger.close()
    with Ledger(folder.state) as ours:
        record_driver_deaths(ours, folder.output, living_batches(ours))
        assert ours.find_exposure(1, 1).deaths == len(find_deaths(ours, 1)) == count
    assert (folder.logs / "1-1.log").exists() == (not count)
