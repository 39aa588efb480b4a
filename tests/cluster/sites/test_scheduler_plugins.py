"""Plugins in a scheduler that belongs to somebody else."""

import logging
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from distributed import Client
from support.batches import DATE, calbatch, unfinished_products
from support.chaos import driver_of, kill, with_children
from support.gated import HELD
from support.ownscheduler import cluster_in_threads
from support.placed import eventually, make_importable

from calbatch.cluster.folder import BatchFolder
from calbatch.cluster.sites import scheduler_plugins
from calbatch.cluster.sites.page.plugin import CalbatchPage
from calbatch.cluster.sites.scheduler_plugins import Departures, install_plugin


@pytest.fixture(scope="module")
def cluster():
    """Run a scheduler that outlives drivers, with a worker in a thread of this process."""
    with cluster_in_threads(1) as running:
        yield running


@pytest.fixture
def dask_log(caplog):
    """Return what captures dask's log."""
    log = logging.getLogger("distributed")
    log.addHandler(caplog.handler)
    yield caplog
    log.removeHandler(caplog.handler)


@pytest.mark.parametrize("grain", ["exposure", "tile"])
def test_a_killed_driver_leaves_no_traceback_in_the_log_of_a_scheduler(
    simulated, cluster, forked_drivers, tmp_path, monkeypatch, dask_log, grain
):
    make_importable(monkeypatch)
    scheduler, gate = cluster.scheduler, tmp_path / "gate"
    before = set(scheduler.client_comms)
    where = ("-o", tmp_path / "out", "--scheduler", scheduler.address, "--grain", grain)
    how = ("--date", DATE, "--no-fsync", "--gate", gate)
    submitted = calbatch("submit", HELD, simulated.exposures[0], *where, *how)
    folder = BatchFolder(tmp_path / "out", submitted.out.strip())
    eventually(lambda: unfinished_products(folder.output))
    (client,) = set(scheduler.client_comms) - before
    driver = driver_of(folder)
    kill(*with_children(driver))
    eventually(lambda: client not in scheduler.client_comms)
    gate.touch()  # the orphan sends its result to nobody
    eventually(lambda: not any(w.state.executing_count for w in cluster.workers.values()))
    assert [record.getMessage() for record in dask_log.records if record.exc_info] == []
    driver.wait(30)


def test_a_plugin_is_installed_once(cluster):
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        install_plugin(client, Departures())
        installed = cluster.scheduler.plugins[Departures.name]
        install_plugin(client, Departures())
        assert cluster.scheduler.plugins[Departures.name] is installed


def test_threads_may_pack_plugins_at_the_same_time():
    def pack(number):
        return pickle.dumps(scheduler_plugins._ByValue(CalbatchPage(f"{number}", "")))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            packed = list(pool.map(pack, range(16)))
    finally:
        sys.setswitchinterval(interval)
    assert [pickle.loads(each).html for each in packed] == [f"{number}" for number in range(16)]
    assert all(b"collect_data" in each for each in packed)  # the class itself, not its name
