"""Workers that are stopped, and workers that are only busy."""

import contextlib
import os
import signal
import sys
from pathlib import Path

import cloudpickle
import psutil
import pytest
from distributed import LocalCluster
from hypothesis import given
from hypothesis import strategies as st
from support.batches import DATE, calibrate_on, products_in, quiet_console, small_set
from support.gated import GATE, SLOW
from support.onehost import free_ports
from support.placed import make_importable
from support.services import end_process, start_process
from support.waiting import eventually

from calbatch import cluster
from calbatch.calibrate.step import Step
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.folder import state_of
from calbatch.cluster.ledger import LedgerError, View
from calbatch.cluster.sites import placement
from calbatch.cluster.sites.silence import Condition, Heartbeats, condition_of
from calbatch.models.datamodels import RampModel
from calbatch.models.storage.files import read_stamp

SILENCE = 2.0
"""Seconds of silence after which these tests give a stopped worker up."""


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Return a site of two workers of this process, and the gate of their exposures."""
    gate = tmp_path_factory.mktemp("gate") / "gate"
    with pytest.MonkeyPatch.context() as patch:
        make_importable(patch)
        patch.setenv(GATE, str(gate))
        with placement.open_place(placement.Place("local", 2, "exposure")) as site:
            yield site, gate


def beginning(folder):
    """Return the processes that have begun an exposure of a batch, by its number."""
    found = {}
    for log in sorted(folder.glob(".calbatch/*/logs/*.log")):
        words = log.read_text().split()
        if words:
            found[int(log.name.split("-")[0])] = int(words[3].rpartition(":")[2])
    return found


def stopping(out, gate, stopped):
    """Stop the worker that has the first exposure, and let the others go on."""
    pids = eventually(lambda: (found := beginning(out)) and 0 in found and found)
    os.kill(pids[0], signal.SIGSTOP)
    stopped.append(pids[0])
    gate.touch()


def background(function, *arguments):
    import threading

    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


def calibrate_with_a_stopped_worker(site, gate, out, silence=SILENCE):
    """Stop a worker while its site calibrates; return the result, the process, and the events."""
    gate.unlink(missing_ok=True)
    stopped = []
    thread = background(stopping, out, gate, stopped)
    policy = RetryPolicy(silence=silence)
    result = calibrate_on(site, SLOW, small_set().exposures, out, policy)
    thread.join()
    tries, events = attempts_and_events(result)
    assert result.counts == {"done": 3}
    assert tries[0] == ["death", "done"]
    return result, stopped[0], [e.text for e in events if e.kind == "silence"]


def attempts_and_events(result):
    with View(result.folder.state) as view:
        rows = list(view.exposures(result.batch.id))
        tries = {row.number: [a.result for a in view.attempts(row.id)] for row in rows}
        return tries, view.events(result.batch.id)


def test_a_stopped_worker_is_reported_and_its_exposure_tried_again(workers, tmp_path):
    site, gate = workers
    _, stopped, reports = calibrate_with_a_stopped_worker(site, gate, tmp_path / "out")
    assert sum(str(Condition.STOPPED) in text for text in reports) == 1
    eventually(lambda: not psutil.pid_exists(stopped) or _has_ended(stopped))
    eventually(lambda: len(site.client.nthreads()) == 2)  # another has taken its place


def _has_ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Holding(Step):
    """A step whose kernel holds the interpreter for longer than a stopped worker is waited for."""

    def process(self, exposure):
        return RampModel(exposure).map_tiles(_hold, ["data"])


def _hold(data):
    import ctypes

    ctypes.PyDLL(None).usleep(int(2 * SILENCE * 1e6))  # PyDLL, unlike CDLL, keeps the interpreter
    return data


def test_a_kernel_that_holds_the_interpreter_is_waited_for(workers, tmp_path):
    site, _ = workers
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    policy = RetryPolicy(silence=SILENCE)
    result = calibrate_on(site, Holding, small_set().exposures[:1], tmp_path / "out", policy)
    tries, events = attempts_and_events(result)
    assert tries == {0: ["done"]}
    told = [e.text for e in events if e.kind == "silence"]
    assert sum(str(Condition.BUSY) in text for text in told) == 1
    assert not any(str(Condition.STOPPED) in text for text in told)


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Return a scheduler of others, with two workers that no nanny watches, and their gate."""
    make_importable(monkeypatch)
    gate = tmp_path / "gate"
    monkeypatch.setenv(GATE, str(gate))
    quietly = {"dashboard_address": "127.0.0.1:0", "silence_logs": 50, "host": "127.0.0.1"}
    processes = []
    with (
        LocalCluster(n_workers=0, protocol="tcp", **quietly) as cluster,
        (tmp_path / "workers.log").open("wb") as log,
    ):
        how = ("--nthreads", "1", "--no-nanny", "--no-dashboard", cluster.scheduler_address)
        for _ in range(2):
            program = ("-m", "distributed.cli.dask_worker", *how)
            processes.append(start_process(sys.executable, *program, log=log, cwd=tmp_path))
        with placement.open_place(
            placement.Place(cluster.scheduler_address, 0, "exposure")
        ) as site:
            site.client.wait_for_workers(2, timeout=120)
            yield site, gate
        for process in processes:
            process.send_signal(signal.SIGCONT)
            end_process(process)


def test_a_stopped_worker_that_goes_on_after_all_publishes_nothing(foreign, tmp_path):
    site, gate = foreign
    out = tmp_path / "out"
    result, stopped, _ = calibrate_with_a_stopped_worker(site, gate, out)
    os.kill(stopped, signal.SIGCONT)
    _until_it_rests(stopped)
    for outcome in result.outcomes:
        for product in outcome.written:
            now = read_stamp(Path(product.path))
            assert (now.size, now.mtime_ns) == (product.size, product.mtime_ns)
    assert len(products_in(out)) == 3


@pytest.mark.ci
def test_a_stopped_worker_on_another_host_without_a_nanny_counts_as_dead(
    foreign, tmp_path, monkeypatch
):
    monkeypatch.setattr("calbatch.cluster.sites.silence.find_listener", lambda address: None)
    site, gate = foreign
    silence = 20.0  # longer than a busy machine holds the other worker up
    _, _, reports = calibrate_with_a_stopped_worker(site, gate, tmp_path / "out", silence)
    assert any(str(Condition.UNWATCHED) in text for text in reports)


def _until_it_rests(pid):
    """Wait until a worker has finished its task: it exits, or uses no CPU any more."""
    used = []

    def rests():
        if _has_ended(pid):
            return True
        try:
            used.append(sum(psutil.Process(pid).cpu_times()[:2]))
        except psutil.NoSuchProcess:
            return True
        return len(used) > 40 and used[-1] - used[-40] < 0.05

    eventually(rests)


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """Return a scheduler of others with a worker and its nanny, each a process; and the gate."""
    make_importable(monkeypatch)
    gate = tmp_path / "gate"
    monkeypatch.setenv(GATE, str(gate))
    for name, value in small_set().environment().items():
        monkeypatch.setenv(name, value)
    [port] = free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    where = ("dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
    worker = ("dask_worker", address, "--nthreads", "1", "--no-dashboard")
    processes = {}
    with (tmp_path / "processes.log").open("wb") as log:

        def start(name, module, *how):
            program = ("-m", f"distributed.cli.{module}", *how)
            processes[name] = start_process(sys.executable, *program, log=log, cwd=tmp_path)

        start("scheduler", *where)
        start("worker", *worker)
        yield address, processes, gate, lambda: start("another", *worker)
        for process in reversed(processes.values()):
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.send_signal(signal.SIGCONT)
            end_process(process)


def events_of(out):
    """Return the events of a batch so far; none before its folder exists."""
    with contextlib.suppress(LedgerError), View(state_of(out)) as view:
        return [event for batch in view.batches() for event in view.events(batch.id)]
    return []


def running(address, out, **more):
    how = {"scheduler": address, "date": DATE, "fsync": False, "console": quiet_console(), **more}
    return cluster.run(SLOW, small_set().exposures, out, policy=RetryPolicy(silence=10.0), **how)


def until_told(out, kind, condition=""):
    eventually(
        lambda: any(e.kind == kind and condition in e.text for e in events_of(out)), every=0.3
    )


@pytest.mark.slow
def test_a_scheduler_that_is_stopped_is_reported_and_waited_for(apart, tmp_path):
    address, processes, gate, _ = apart
    out, told = tmp_path / "out", []

    def stop():
        eventually(lambda: beginning(out))
        processes["scheduler"].send_signal(signal.SIGSTOP)
        until_told(out, "silence", str(Condition.MUTE))
        told.append(True)
        processes["scheduler"].send_signal(signal.SIGCONT)
        gate.touch()

    thread = background(stop)
    result = running(address, out)
    thread.join()
    assert told == [True]
    assert result.counts == {"done": 3}


@pytest.mark.slow
def test_a_job_that_is_suspended_with_its_nanny_counts_as_dead(apart, tmp_path):
    address, processes, gate, start_another = apart
    out, told = tmp_path / "out", []

    def suspend():
        eventually(lambda: beginning(out))
        nanny = psutil.Process(processes["worker"].pid)
        family = [nanny, *nanny.children(recursive=True)]
        for process in family:
            process.suspend()
        until_told(out, "silence", str(Condition.UNREACHABLE))
        until_told(out, "retry")
        told.append(True)
        gate.touch()
        start_another()  # a worker that is abandoned ends when it goes on
        for process in family:
            process.resume()

    thread = background(suspend)
    result = running(address, out)
    thread.join()
    assert told == [True]
    assert result.counts == {"done": 3}
    assert "death" in attempts_and_events(result)[0][0]


# -- the rules ---------------------------------------------------------------------------------


def test_the_condition_of_a_process_is_recognized(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        process = start_process("sleep", "60", log=log)
    try:
        assert condition_of(process.pid) is Condition.BUSY
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: condition_of(process.pid) is Condition.STOPPED)
        process.send_signal(signal.SIGCONT)
        eventually(lambda: condition_of(process.pid) is Condition.BUSY)
    finally:
        process.kill()
        process.wait()
    assert condition_of(process.pid) is Condition.UNKNOWN
    assert condition_of(None) is Condition.UNKNOWN


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 100)), max_size=20), st.floats(0.5, 4))
def test_silence_is_the_time_that_was_looked_at_since_the_last_heartbeat(looks, longest):
    beats, clock, now, wanted = Heartbeats(), 0, 0.0, 0.0
    beats.look({"w": 0.0}, now, longest)
    for beaten, passed in looks:
        clock, now = clock + beaten, now + passed
        wanted = 0.0 if beaten else wanted + min(passed, longest)
        assert beats.look({"w": float(clock)}, now, longest)["w"] == pytest.approx(wanted)
    assert beats.look({}, now + 1, longest) == {}
