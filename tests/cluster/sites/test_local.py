"""Batches on a cluster of this machine's processes."""

import logging
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import cloudpickle
import dask
import psutil
import pytest
from support.batches import DATE, calibrate_on, checksums, products_in, quiet_console, small_set
from support.waiting import eventually

from calbatch.calibrate.step import Step
from calbatch.cluster import run
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.sites import placement
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.local import (
    REFERENCE_BYTES,
    WORKER_BYTES,
    WORKER_ENVIRONMENT,
    reference_bytes,
)
from calbatch.models.datamodels import RampModel
from calbatch.models.storage.memory import shared_memory_limit
from calbatch.models.tiling import reference_cache

WORKERS = 2
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


def deadly(data, *, path):
    if "_00002_" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    return data


class Deadly(Step):
    """A step that kills its process over one exposure, as a lack of memory does."""

    def process(self, exposure):
        return RampModel(exposure).map_tiles(deadly, ["data"], path=str(exposure.path))


class Faulty(Step):
    """A step that fails for one exposure."""

    def process(self, exposure):
        if "_00002_" in str(exposure.path):
            raise KeyError("surprise")
        logging.getLogger("calbatch.tests").warning("%s: odd", exposure.path)
        return RampModel(exposure)


@pytest.fixture(scope="module")
def local():
    """Return a cluster of this machine, as a batch has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "7")
        with placement.open_place(placement.Place("local", WORKERS, "exposure")) as site:
            assert os.environ["OMP_NUM_THREADS"] == "1"  # restored at the end
            yield site
        assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.fixture(params=["exposure", "tile"])
def site(request, local):
    return DaskSite(local.client, request.param, "shared")


def test_files_are_those_of_one_process_bit_for_bit(simulated, tmp_path, site):
    how = {"date": DATE, "fsync": False, "tile_rows": 48}
    run(
        "detector1",
        simulated.exposures,
        tmp_path / "a",
        scheduler="sync",
        console=quiet_console(),
        **how,
    )
    result = calibrate_on(site, "detector1", simulated.exposures, tmp_path / "b", tile_rows=13)
    assert result.exit_status == 0
    assert checksums(tmp_path / "a") == checksums(tmp_path / "b")
    assert len(result.products) == 2 * len(simulated.exposures)
    for outcome in result.outcomes:
        assert {"jump", "ramp_fit", "write"} <= set(outcome.stages)
        assert max(p.bytes for p in outcome.peaks) > 30e6


def test_workers_keep_references_for_the_next_exposure(simulated, tmp_path, local):
    calibrate_on(local, "detector1", simulated.exposures, tmp_path / "out", tile_rows=16)
    held = list(local.client.run(reference_cache.cached_bytes).values())
    assert 0 < max(held) <= REFERENCE_BYTES


FEW_EXPOSURES = placement.Place("local", 1, "exposure", keeps_references=False)


@pytest.mark.parametrize(("configured", "kept"), [(None, False), (2**20, True)])
def test_a_place_for_few_exposures_keeps_no_references(simulated, tmp_path, configured, kept):
    with (
        dask.config.set({reference_cache.SETTING: configured}),
        placement.open_place(FEW_EXPOSURES) as few,
    ):
        calibrate_on(few, "detector1", simulated.exposures, tmp_path / "out", tile_rows=16)
        (held,) = few.client.run(reference_cache.cached_bytes).values()
    assert bool(held) == kept


@pytest.mark.parametrize(
    ("memory", "grain", "wanted"),
    [
        (10 * REFERENCE_BYTES, "exposure", REFERENCE_BYTES),
        (10 * REFERENCE_BYTES, "tile", 0),
        (WORKER_BYTES + 2**20, "exposure", 2**19),
        (WORKER_BYTES // 2, "exposure", 0),
    ],
)
def test_workers_keep_references_as_far_as_memory_reaches(memory, grain, wanted):
    with dask.config.set({reference_cache.SETTING: None}):  # a cluster of this module has set it
        assert reference_bytes(memory, grain) == wanted
        with placement.configure_memory(FEW_EXPOSURES):
            assert reference_bytes(memory, grain) == 0
    given = dask.config.set({reference_cache.SETTING: 7})
    with given, placement.configure_memory(FEW_EXPOSURES):
        assert reference_bytes(memory, grain) == 7


def test_one_failure_stops_nothing_else(simulated, tmp_path, site):
    result = calibrate_on(site, Faulty, simulated.exposures, tmp_path / "out")
    assert [o.path for o in result.failed] == [simulated.exposures[1]]
    assert "KeyError: 'surprise'" in result.failed[0].error
    assert "Traceback" in result.failed[0].details
    assert [o.warnings for o in result.done] == [(f"{o.path}: odd",) for o in result.done]
    assert len(products_in(tmp_path / "out")) == 2


def test_an_exposure_that_kills_its_workers_is_reported_in_one_line(simulated, tmp_path, site):
    policy = RetryPolicy(first_delay=0.05, deaths_alone=2)
    result = calibrate_on(site, Deadly, simulated.exposures, tmp_path / "out", policy)
    assert [o.path for o in result.failed] == [simulated.exposures[1]]
    error = result.failed[0].error
    assert error.startswith(f"{simulated.exposures[1]}: its worker died")
    assert error.endswith("quarantined: 4 processes died while it was running alone")
    assert "\n" not in error
    written = [p.name for p in products_in(tmp_path / "out")]
    assert len(written) == 2
    assert not any(name.endswith(".part") for name in written)
    eventually(lambda: len(site.client.nthreads()) == WORKERS)  # for the tests that follow


def test_workers_have_the_settings_that_isolate_them(local):
    for environment in local.client.run(lambda: dict(os.environ)).values():
        assert {n: environment.get(n) for n in WORKER_ENVIRONMENT} == WORKER_ENVIRONMENT
    assert set(local.client.nthreads().values()) == {1}
    for flags in local.client.run(lambda: sys.flags.safe_path).values():
        assert flags


def test_connections_remember_few_of_the_jobs_that_they_passed_on(local):
    streams = local.client.cluster.scheduler.stream_comms
    connections = [local.client.scheduler_comm, *streams.values()]
    assert len(connections) >= 1 + WORKERS
    assert all(each.recent_message_log.maxlen <= 10 for each in connections)


def test_workers_share_the_memory_that_there_is(local):
    limits = [w["memory_limit"] for w in local.client.scheduler_info()["workers"].values()]
    assert len(limits) == WORKERS
    assert sum(limits) <= shared_memory_limit()


def test_a_terminals_interrupt_does_not_reach_workers(local):
    pids = local.client.run(os.getpid)
    for pid in pids.values():
        os.kill(pid, signal.SIGINT)
    assert local.client.run(os.getpid) == pids
    for held in local.client.run(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [])).values():
        assert signal.SIGTERM not in held  # dask stops workers by it
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_nothing_listens_beyond_this_machine(local):
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    processes = [p for p in family if p.exe() == psutil.Process().exe()]  # no services of tests
    found = [
        c.laddr.ip
        for process in processes
        for c in process.net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    ]
    assert len(found) >= 2 + WORKERS  # scheduler, dashboard, workers
    assert set(found) == {"127.0.0.1"}


def test_the_dashboard_answers_and_is_no_proxy(local):
    link = local.dashboard
    assert urllib.request.urlopen(link, timeout=30).status == 200
    port = local.client.cluster.scheduler.port
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(link.replace("/status", f"/proxy/{port}/127.0.0.1/x"), timeout=30)
    assert caught.value.code == 404


def test_the_dashboard_calls_a_batchs_tasks_by_the_pipelines_name(simulated, tmp_path, local):
    calibrate_on(local, Faulty, simulated.exposures, tmp_path / "out")
    prefixes = local.client.run_on_scheduler(
        lambda dask_scheduler: set(dask_scheduler.task_prefixes)
    )
    assert "Faulty" in prefixes


SCRIPT = """
import sys, psutil
from calbatch.calibrate.step import Step
from calbatch.cluster import run
from calbatch.models.datamodels import RampModel

print("begun")

class Mine(Step):
    def process(self, exposure):
        return RampModel(exposure)

result = run(Mine, sys.argv[1], sys.argv[2], scheduler="local", workers=2)
print(result)
print("workers:", [c.name() for c in psutil.Process().children(recursive=True)
                   if "forkserver" not in " ".join(c.cmdline())
                   and "resource_tracker" not in " ".join(c.cmdline())])
print(__file__)
"""


def test_a_script_needs_no_guard(tmp_path):
    """Python's spawned processes run the main script again, which must not begin another batch."""
    made = small_set()
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    exposures = made.folder / "exposures"
    done = subprocess.run(
        [sys.executable, script, exposures, tmp_path / "out"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("begun") == 1
    assert "3 done, 0 failed" in done.stdout
    assert "workers: []" in done.stdout
    assert str(script) in done.stdout
    assert "3/3 done, 0 failed" in done.stderr
    assert "dashboard: http://127.0.0.1:" in done.stderr


def test_small_batches_need_no_cluster():
    wish = placement.SiteRequest()
    assert placement.choose_place(wish, 1, 10**6).scheduler == "threads"
    assert placement.choose_place(placement.SiteRequest("local"), 1, 10**6).scheduler == "local"


@pytest.mark.parametrize(
    ("wish", "exposures", "wanted"),
    [
        (placement.SiteRequest("local", 4), 100, placement.Place("local", 4, "exposure")),
        (placement.SiteRequest("local", 4), 3, placement.Place("local", 4, "tile")),
        (
            placement.SiteRequest("local", 4, "exposure"),
            3,
            placement.Place("local", 4, "exposure", keeps_references=False),
        ),
        (placement.SiteRequest("threads", 3), 10, placement.Place("threads", 3, "tile")),
        (placement.SiteRequest("sync"), 10, placement.Place("sync", 1, "tile")),
        (
            placement.SiteRequest("tls://head:8786", insecure=True),
            3,
            placement.Place("tls://head:8786", 0, "exposure", insecure=True),
        ),
    ],
)
def test_open_options_have_defaults(wish, exposures, wanted):
    assert placement.choose_place(wish, exposures, 10**12) == wanted


def test_workers_are_no_more_than_memory_reaches():
    place = placement.choose_place(placement.SiteRequest("local"), 10**6, 10**12)
    assert 1 <= place.workers <= (os.cpu_count() or 1)
