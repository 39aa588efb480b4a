"""Workers whose time is limited, as processes of their own."""

import os
from contextlib import contextmanager

import dask
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster
from support.batches import small_set
from support.placed import (
    eventually,
    extend_environment,
    jobs,
    longest_known,
    make_importable,
    run_slowly,
    worker_facts,
)
from support.waiting import now

from calbatch.cluster.sites.draining import BEGAN, ENDS, Draining, announce_duration
from calbatch.cluster.sites.local import DASK_SETTINGS, start_server
from calbatch.cluster.sites.slurm.slurm_site import SlurmSite

HERE = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
DASK_SETTINGS = {
    **DASK_SETTINGS,
    "distributed.worker.memory.monitor-interval": "20 ms",
    "distributed.worker.multiprocessing-method": "forkserver",
}


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    make_importable(monkeypatch)


def time_limit(seconds: float, begun: float = 0.0) -> dict:
    """Return the environment of a worker that began some seconds ago, and has some more."""
    return {BEGAN: str(now() - begun), ENDS: str(now() + seconds)}


@contextmanager
def workers(**limits):
    """Run workers, whose time is limited from when all are there; give a client."""
    how = {"nthreads": 1, "host": "127.0.0.1", "memory_limit": "1GiB"}
    specs = {name: {"cls": Nanny, "options": how} for name in limits}
    scheduler = {"cls": Scheduler, "options": HERE}
    start_server()
    with (
        dask.config.set(DASK_SETTINGS),
        SpecCluster(workers=specs, scheduler=scheduler, silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.run(longest_known)  # so that workers have imported their modules
        for name, limit in limits.items():
            address = cluster.workers[name].worker_address
            client.run(extend_environment, time_limit(*limit) if limit else {}, workers=[address])
        client.register_plugin(Draining())
        yield client


def read_notes(folder, what):
    """Return the numbers of tasks that began, or ended, in order."""
    return [int(line.split()[0]) for line in (folder / what).read_text().splitlines()]


def names(client):
    return {w["name"] for w in client.scheduler_info(n_workers=-1)["workers"].values()}


def test_nothing_is_begun_that_cannot_end(tmp_path):
    with workers(short=(8,)) as client:
        futures = [client.submit(run_slowly, n, 1.0, str(tmp_path), pure=False) for n in range(30)]
        eventually(lambda: not client.nthreads())
        began = read_notes(tmp_path, "begun")
        assert began[:2] == [0, 1]
        assert len(began) < len(futures)
        assert read_notes(tmp_path, "ended") == began  # none was interrupted, none begun twice


def test_other_workers_do_the_remaining_tasks(tmp_path):
    with workers(short=(7,), long=()) as client:
        announce_duration(client, 2.5)
        futures = [client.submit(run_slowly, n, 0.5, str(tmp_path), pure=False) for n in range(24)]
        assert sorted(client.gather(futures)) == list(range(24))
        assert sorted(read_notes(tmp_path, "begun")) == list(range(24))
        eventually(lambda: names(client) == {"long"})


def test_the_longest_is_known_from_others_and_half_of_the_time_is_kept():
    """One with less than half of its time left ends, long before its time is up."""
    with workers(late=(3000, 4000), early=(4000, 3000), unlimited=()) as client:
        assert len(client.nthreads()) == 3
        before = client.run(os.getpid)
        announce_duration(client, 100_000.0)
        eventually(lambda: len(client.nthreads()) == 2)
        assert names(client) == {"early", "unlimited"}
        assert client.run(os.getpid).items() <= before.items()
        assert [f["threads"] for f in client.run(worker_facts).values()] == [1, 1]


def test_a_task_that_takes_too_long_goes_to_another_worker(tmp_path):
    with workers(short=(4,)) as client:
        future = client.submit(run_slowly, 1, 600.0, str(tmp_path), pure=False)
        eventually((tmp_path / "begun").exists)
        eventually(lambda: not client.nthreads())
        assert future.status == "pending"


def test_all_workers_are_told_how_long_an_exposure_took(tmp_path):
    [job] = jobs(small_set().exposures[:1], tmp_path / "out")
    with workers(one=(), other=()) as client:
        site = SlurmSite(client, "exposure", "two workers")
        before = set(client.run(longest_known).values())
        site.submit(job)
        [(_, outcome)] = eventually(lambda: site.collect(0.1))
        assert outcome.error == ""
        eventually(lambda: min(client.run(longest_known).values()) >= outcome.seconds)
    assert before == {0.0}
