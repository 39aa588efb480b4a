"""Workers whose time is limited, as processes of their own."""

import os
import time
from contextlib import contextmanager
from dataclasses import replace

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from support.batches import small_set
from support.gated import GATE, SLOW
from support.placed import about, eventually, importable, jobs, longest_known, slowly

from calbatch.cluster.draining import BEGAN, ENDS, Draining, expected
from calbatch.cluster.local import SETTINGS
from calbatch.cluster.request import configured
from calbatch.cluster.slurm import OnSlurm

HERE = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
SETTINGS = {**SETTINGS, "distributed.worker.memory.monitor-interval": "20 ms"}


def limited(seconds: float) -> dict:
    """Return the environment of a worker that began now."""
    return {BEGAN: str(time.time()), ENDS: str(time.time() + seconds)}


@contextmanager
def workers(**environments):
    """Run a worker in each of some environments; give a client."""
    how = {"nthreads": 1, "host": "127.0.0.1", "memory_limit": "1GiB"}
    specs = {
        name: {"cls": Nanny, "options": {**how, "env": environment}}
        for name, environment in environments.items()
    }
    scheduler = {"cls": Scheduler, "options": HERE}
    with (
        dask.config.set(SETTINGS),
        SpecCluster(workers=specs, scheduler=scheduler, silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(Draining())
        yield client


def noted(folder, what):
    """Return when tasks began, or ended."""
    lines = (folder / what).read_text().splitlines()
    return {int(number): float(when) for number, when in (line.split() for line in lines)}, lines


def names(client):
    return {w["name"] for w in client.scheduler_info(n_workers=-1)["workers"].values()}


def test_nothing_is_begun_that_cannot_end(tmp_path, monkeypatch):
    importable(monkeypatch)
    environment = limited(8)
    end = float(environment[ENDS])
    with workers(short=environment) as client:
        futures = [client.submit(slowly, n, 1.0, str(tmp_path), pure=False) for n in range(30)]
        eventually(lambda: not client.nthreads(), 20)
        gone = time.time()
        began, lines = noted(tmp_path, "begun")
        ended, _ = noted(tmp_path, "ended")
        assert 2 <= len(began) < 8
        assert len(lines) == len(began) == len(ended)  # none was interrupted, none begun twice
        assert max(began.values()) < end - 1.0
        assert gone < end + 1
        assert not all(future.done() for future in futures)


def test_others_do_what_is_left(tmp_path, monkeypatch):
    importable(monkeypatch)
    with workers(short=limited(7), long={}) as client:
        expected(client, 2.5)
        futures = [client.submit(slowly, n, 0.5, str(tmp_path), pure=False) for n in range(24)]
        assert sorted(client.gather(futures)) == list(range(24))
        _, lines = noted(tmp_path, "begun")
        assert len(lines) == 24
        eventually(lambda: names(client) == {"long"}, 20)


def test_the_longest_is_known_from_others(tmp_path):
    environment = limited(7)
    with workers(short=environment) as client:
        assert len(client.nthreads()) == 1
        expected(client, 1000.0)  # then half of the time is kept
        eventually(lambda: not client.nthreads(), 15)
        left = float(environment[ENDS]) - time.time()
        assert 1.5 < left < 4


def test_what_takes_too_long_goes_to_another_in_the_end(tmp_path, monkeypatch):
    importable(monkeypatch)
    with workers(short=limited(4)) as client:
        future = client.submit(slowly, 1, 60.0, str(tmp_path), pure=False)
        eventually((tmp_path / "begun").exists)
        eventually(lambda: not client.nthreads(), 15)
        assert future.status == "pending"


def test_without_a_limit_nothing_happens():
    with workers(long={}) as client:
        expected(client, 1000.0)
        before = client.run(os.getpid)
        time.sleep(1.5)
        assert client.run(os.getpid) == before
        assert [f["threads"] for f in client.run(about).values()] == [1]


def test_all_workers_are_told_how_long_an_exposure_took(tmp_path, monkeypatch):
    importable(monkeypatch)
    monkeypatch.setenv(GATE, str(tmp_path / "gate"))
    path = small_set().exposures[0]
    job = replace(jobs([path], tmp_path / "out")[0], step=waiting(tmp_path / "out"))
    with workers(one={}, other={}) as client:
        site = OnSlurm(client, "exposure", "two workers")
        before = set(client.run(longest_known).values())
        site.submit(job)
        eventually(lambda: site.ended(0.1) or list((tmp_path / "out").rglob(".*.part")))
        time.sleep(1.1)
        (tmp_path / "gate").touch()
        [(_, outcome)] = eventually(lambda: site.ended(0.1))
        assert outcome.error == ""
        assert outcome.seconds > 1.0
        eventually(lambda: min(client.run(longest_known).values()) >= 1.0)
    assert before == {0.0}


def waiting(folder):
    step = configured(SLOW)
    step.output_dir = str(folder)
    return step
