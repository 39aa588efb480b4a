"""Full and read-only disks, changing inputs, time limits, crashes, and watched folders."""

import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import xxhash
from support.batches import DATE, calbatch, calibrate_on, checksums, products_in, quiet_console
from support.waiting import be_slow, eventually

from calbatch import cluster
from calbatch.calibrate.step import Step
from calbatch.cluster.exposure.policy import RetryPolicy
from calbatch.cluster.folder import STATE
from calbatch.cluster.ledger import LedgerError, View
from calbatch.cluster.sites import placement
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.local import start_server
from calbatch.cluster.sites.placement import InProcess
from calbatch.models.datamodels import RampModel

HOW = {"scheduler": "sync", "date": DATE, "fsync": False}


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on its own 68 MB file system; the driver leaves 64 MiB free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def protect(tmp_path):
    """Return a function that revokes or restores the permission to create products."""
    out = tmp_path / "out"
    out.mkdir()

    def set_immutable(on):
        done = subprocess.run(
            ["chattr", "+i" if on else "-i", out], capture_output=True, check=False
        )
        return done.returncode == 0

    if not set_immutable(True):
        pytest.skip("folders cannot be protected here")
    set_immutable(False)
    yield set_immutable
    set_immutable(False)


def events(out):
    """Return the kinds of events of a folder's batch so far."""
    with suppress(LedgerError), View(out / STATE) as view:
        return [event.kind for row in view.batches() for event in view.events(row.id)]
    return []


def test_a_full_disk_pauses_a_batch_until_there_is_room(simulated, small_disk, tmp_path):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(40 * 2**20))

    def mend():
        eventually(lambda: "paused" in events(small_disk / "out"))
        filler.unlink()

    mended = threading.Thread(target=mend)
    mended.start()
    result = cluster.run(
        "detector1", simulated.exposures, small_disk / "out", console=quiet_console(), **HOW
    )
    mended.join()
    assert result.counts == {"done": 3}
    with View(result.folder.state) as view:
        kinds = [event.kind for event in view.events(result.batch.id)]
    assert kinds.index("paused") < kinds.index("resumed")


def test_a_disk_that_stays_full_ends_a_batch_which_is_resumed(simulated, small_disk, tmp_path):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(40 * 2**20))
    policy = RetryPolicy(patience=0.5)
    result = cluster.run(
        "detector1",
        simulated.exposures,
        small_disk / "out",
        console=quiet_console(),
        policy=policy,
        **HOW,
    )
    assert result.exit_status == 130
    assert "the disk is full" in result.batch.reason
    assert products_in(small_disk / "out") == []
    filler.unlink()
    assert calbatch("resume", result.name).status == 0
    undisturbed = cluster.run(
        "detector1", simulated.exposures, tmp_path / "b", console=quiet_console(), **HOW
    )
    assert undisturbed.exit_status == 0
    assert checksums(small_disk / "out") == checksums(tmp_path / "b")


def test_lost_permission_fails_exposures_until_it_is_restored(simulated, tmp_path, protect):
    class Losing(Step):
        def process(self, exposure):
            if "_00002_" in str(exposure.path) and not (tmp_path / "lost").exists():
                (tmp_path / "lost").touch()
                protect(True)
            return RampModel(exposure)

    out = tmp_path / "out"
    result = cluster.run(Losing, simulated.exposures, out, console=quiet_console(), **HOW)
    assert result.counts == {"done": 1, "failed": 2}
    for outcome in result.failed:
        assert "cannot be written: no permission to write in its folder" in outcome.error
    assert len(products_in(out)) == 1
    protect(False)
    again = cluster.run(Losing, simulated.exposures, out, console=quiet_console(), **HOW)
    assert again.counts == {"kept": 1, "done": 2}


def test_an_input_replaced_after_planning_is_planned_again(simulated, tmp_path):
    paths = [tmp_path / path.name for path in simulated.exposures]
    for source, target in zip(simulated.exposures, paths, strict=True):
        shutil.copy(source, target)

    class Replacing(Step):
        def process(self, exposure):
            if "_00002_" in str(exposure.path) and not (tmp_path / "replaced").exists():
                (tmp_path / "replaced").touch()
                shutil.copy(simulated.exposures[0], paths[1])
                os.utime(paths[1])
            return RampModel(exposure)

    result = cluster.run(Replacing, paths, tmp_path / "out", console=quiet_console(), **HOW)
    assert result.counts == {"done": 3}
    with View(result.folder.state) as view:
        (_, second, _) = view.exposures(result.batch.id)
        first, again = view.attempts(second.id)
    assert (first.result, again.result) == ("changed", "done")
    assert "was replaced or changed" in first.reason
    assert second.mtime_ns == paths[1].stat().st_mtime_ns


class Watched(Step):
    """A step that lets a test modify an exposure while a worker calibrates it."""

    def process(self, exposure):
        folder = str(Path(exposure.path).parent)
        return RampModel(exposure).map_tiles(
            _wait_once, ["data"], folder=folder if "_00002_" in str(exposure.path) else ""
        )


def _wait_once(data, *, folder):
    if folder and not (Path(folder) / "seen").exists():
        (Path(folder) / "seen").touch()
        eventually((Path(folder) / "replaced").exists, 60)
    return data


def _rename(path, content):
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)


def _rewrite(path, content):
    with path.open("r+b") as file:
        file.write(content)


def _keeping_time(replace):
    def replace_with_old_times(path, content):
        status = path.stat()
        replace(path, content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return replace_with_old_times


@pytest.fixture(scope="module")
def workers():
    """Return a site with two workers."""
    with placement.open_place(placement.Place("local", 2, "exposure")) as site:
        yield site


@pytest.mark.parametrize(
    ("replace", "grain", "rows"),
    [
        (_rename, "exposure", 7),
        (_rewrite, "exposure", 7),
        (_keeping_time(_rename), "exposure", 7),
        (_keeping_time(_rewrite), "exposure", 48),  # when everything has been read
        (_rename, "tile", 7),
        (_keeping_time(_rewrite), "tile", 7),
    ],
)
def test_an_input_replaced_while_a_worker_reads_it_is_calibrated_again(
    simulated, tmp_path, workers, replace, grain, rows
):
    folder = tmp_path / "in"
    folder.mkdir()
    paths = [Path(shutil.copy(path, folder)) for path in simulated.exposures]
    other = simulated.exposures[0].read_bytes()

    def meddle():
        eventually((folder / "seen").exists, 60)
        replace(paths[1], other)
        (folder / "replaced").touch()

    meddling = threading.Thread(target=meddle)
    meddling.start()
    site = DaskSite(workers.client, grain, "two workers")
    result = calibrate_on(site, Watched, paths, tmp_path / "out", tile_rows=rows)
    meddling.join()
    assert result.counts == {"done": 3}
    with View(result.folder.state) as view:
        (_, second, _) = view.exposures(result.batch.id)
        first, again = view.attempts(second.id)
    assert (first.result, again.result) == ("changed", "done")
    assert "was replaced or changed" in first.reason
    assert second.content == f"xxh128:{xxhash.xxh128_hexdigest(other)}"
    undisturbed = calibrate_on(InProcess(0), Watched, paths, tmp_path / "again")
    assert undisturbed.counts == {"done": 3}
    assert checksums(tmp_path / "out") == checksums(tmp_path / "again")


class Endless(Step):
    """A step that never returns for one exposure."""

    def process(self, exposure):
        return RampModel(exposure).map_tiles(_endless, ["data"], path=str(exposure.path))


def _endless(data, *, path):
    while "_00002_" in path:
        be_slow(0.05)
    return data


def test_an_exposure_over_its_time_limit_is_ended_and_the_others_continue(
    simulated, tmp_path, workers
):
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    site = DaskSite(workers.client, "exposure", "two workers")
    ready = calibrate_on(site, "superbias", simulated.exposures, tmp_path / "ready")
    assert ready.counts == {"done": 3}  # workers have imported their modules
    result = calibrate_on(
        site, Endless, simulated.exposures, tmp_path / "out", RetryPolicy(deadline=8.0)
    )
    assert [o.path for o in result.failed] == [simulated.exposures[1]]
    assert "took longer than 8 s" in result.failed[0].error
    assert len(products_in(tmp_path / "out")) == 2


def test_the_first_failure_ends_a_batch_on_request(simulated, tmp_path):
    class Faulty(Step):
        def process(self, exposure):
            raise KeyError("surprise")

    policy = RetryPolicy(fail_fast=True)
    result = cluster.run(
        Faulty, simulated.exposures, tmp_path / "out", console=quiet_console(), policy=policy, **HOW
    )
    assert result.exit_status == 130
    assert result.counts == {"failed": 1, "waiting": 2}
    assert "an exposure failed" in result.batch.reason


def test_a_crashed_worker_reports_where_it_crashed(simulated, tmp_path):
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with placement.open_place(placement.Place("local", 1, "exposure")) as site:
        result = calibrate_on(site, Crashing, simulated.exposures[:1], tmp_path / "out")
    assert "quarantined" in result.failed[0].error
    assert "Fatal Python error: Segmentation fault" in result.failed[0].error
    completed = calbatch("logs", tmp_path / "out", "--number", 0)
    assert "_crash" in completed.out
    assert completed.out.count("Fatal Python error") >= 5


class Hungry(Step):
    """A step that allocates all available memory."""

    def process(self, exposure):
        return RampModel(exposure).map_tiles(_take_memory, ["data"])


def _take_memory(data):
    taken = []
    while True:
        taken.append(b"x" * 20_000_000)
        be_slow(0.02)
    return data


def test_a_lack_of_memory_is_reported_as_such(simulated, tmp_path):
    import cloudpickle
    import dask
    from distributed import LocalCluster

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    policy = RetryPolicy(deaths=1, deaths_alone=1)
    few = {"n_workers": 1, "threads_per_worker": 1, "memory_limit": "700MB"}
    quietly = {"dashboard_address": "127.0.0.1:0", "silence_logs": 50, "host": "127.0.0.1"}
    settings = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.worker.multiprocessing-method": "forkserver",
    }
    start_server()
    with (
        dask.config.set(settings),
        LocalCluster(protocol="tcp", **few, **quietly) as running,
        placement.open_place(placement.Place(running.scheduler_address, 0, "exposure")) as site,
    ):
        result = calibrate_on(site, Hungry, simulated.exposures[:1], tmp_path / "out", policy)
    assert "out of memory: the worker had" in result.failed[0].error
    assert result.failed[0].error.count("of 700 MB") == 1


class Crashing(Step):
    """A step that crashes the interpreter."""

    def process(self, exposure):
        return RampModel(exposure).map_tiles(_crash, ["data"])


def _crash(data):
    import faulthandler

    faulthandler._sigsegv()
    return data


def test_files_are_calibrated_once_they_are_complete(simulated, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    first, second, _ = simulated.exposures

    def arrive():
        shutil.copy(first, folder)
        eventually(lambda: list(out.glob("*.fits")))
        content = second.read_bytes()
        with (folder / second.name).open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            be_slow(1.0)  # like a file that arrives over a network
            file.write(content[len(content) // 2 :])

    arriving = threading.Thread(target=arrive)
    arriving.start()
    how = ("-o", out, "--settle", "0.3", "--idle", "3", "--scheduler", "sync", "--no-fsync")
    completed = calbatch("watch", "superbias", folder, *how)
    arriving.join()
    assert completed.status == 0, completed.err
    stems = [p.name.removesuffix("_uncal.fits") for p in (first, second)]
    assert [p.name for p in products_in(out)] == [f"{stem}_superbias.fits" for stem in stems]
    assert "FAILED" not in completed.err
