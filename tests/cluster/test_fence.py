"""Workers that outlive their driver or attempt publish no products."""

import os
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from support.batches import (
    DATE,
    calbatch,
    calibrate_on,
    checksums,
    products_in,
    quiet_console,
    unfinished_products,
)
from support.chaos import driver_of, kill, with_children
from support.gated import HELD, Held
from support.ownscheduler import cluster_in_threads
from support.placed import Plain, eventually, jobs, make_importable

from calbatch import cluster
from calbatch.calibrate.step import Step
from calbatch.cluster import RequestError
from calbatch.cluster.driver.staging import Staging, fence_earlier_drivers
from calbatch.cluster.exposure.job import calibrate
from calbatch.cluster.exposure.policy import FailureKind, RetryPolicy
from calbatch.cluster.folder import STATE, BatchFolder
from calbatch.cluster.ledger import View
from calbatch.cluster.sites import placement
from calbatch.cluster.sites.placement import InProcess
from calbatch.models.datamodels import RampModel
from calbatch.models.errors import FileError, StorageError
from calbatch.models.fits.writer import FitsWriter, OutputImage
from calbatch.models.storage.files import read_stamp

HOW = {"date": DATE, "fsync": False}


@pytest.fixture(scope="module")
def scheduler():
    """Run a scheduler that outlives drivers, with two workers in threads of this process."""
    with cluster_in_threads(2) as running:
        yield running


@pytest.fixture
def orphaned(simulated, scheduler, forked_drivers, tmp_path, monkeypatch):
    """Return a function that leaves a worker calibrating after its driver has been killed."""
    make_importable(monkeypatch)
    started = []

    def leave(*options):
        where = ("-o", tmp_path / "out", "--scheduler", scheduler.scheduler_address)
        how = ("--date", DATE, "--no-fsync", "--gate", tmp_path / "gate", "--level", "1")
        completed = calbatch("submit", HELD, simulated.exposures[0], *where, *how, *options)
        folder = BatchFolder(tmp_path / "out", completed.out.strip())
        eventually(lambda: unfinished_products(folder.output))
        started.append(driver_of(folder))
        kill(*with_children(started[-1]))
        started[-1].wait(30)
        return folder

    yield leave
    (tmp_path / "gate").touch()
    eventually(lambda: idle(scheduler))


def idle(scheduler):
    return not any(worker.state.executing_count for worker in scheduler.workers.values())


def as_ledger_says(folder):
    with View(folder.state) as view:
        row = view.batch(folder.name)
        (exposure,) = view.exposures(row.id)
        (product,) = view.products(exposure.id)
    now = read_stamp(product.path)
    return row.state == "done" and (now.size, now.mtime_ns) == (product.size, product.mtime_ns)


@pytest.mark.parametrize("grain", ["exposure", "tile"])
def test_an_orphan_replaces_no_product_of_a_newer_batch(
    orphaned, simulated, scheduler, tmp_path, grain
):
    earlier = orphaned("--grain", grain)
    where = {"scheduler": scheduler.scheduler_address, "grain": "exposure"}
    inputs, options = simulated.exposures[:1], {**HOW, **where, "console": quiet_console()}
    result = cluster.run(HELD, inputs, tmp_path / "out", parameters={"level": 2.0}, **options)
    before = checksums(tmp_path / "out")
    (tmp_path / "gate").touch()
    eventually(lambda: idle(scheduler))
    assert checksums(tmp_path / "out") == before
    assert as_ledger_says(result.folder)
    assert not list((tmp_path / "out").rglob("*.part"))
    assert not list(earlier.logs.iterdir())


def test_an_orphan_replaces_no_product_of_its_resumed_batch(orphaned, scheduler, tmp_path):
    folder = orphaned()
    (tmp_path / "gate").touch()  # whichever comes first
    assert calbatch("resume", folder.name).status == 0
    eventually(lambda: idle(scheduler))
    assert as_ledger_says(folder)
    assert not list((tmp_path / "out").rglob("*.part"))


class Taken(Step):
    """A step during which another driver takes over the output folder."""

    def process(self, exposure):
        state = Path(self.output_dir) / STATE
        return RampModel(exposure).map_tiles(_take, ["data"], state=str(state))


def _take(data, *, state):
    fence_earlier_drivers(Path(state))
    return data


def test_an_abandoned_attempt_publishes_nothing(simulated, tmp_path):
    (job,) = jobs(simulated.exposures[:1], tmp_path)
    staging = Staging(tmp_path / STATE)
    step = Taken()
    step.output_dir = str(tmp_path)
    job = replace(job, step=step, staging=staging.place_for(0, 1))
    staging.make(job.staging)
    outcome = calibrate(job)
    assert outcome.kind is FailureKind.LOST
    assert "was meanwhile given to another worker" in outcome.error
    assert products_in(tmp_path) == []
    assert not calibrate(replace(job, staging=None)).failed


def test_a_replaced_driver_ends(simulated, tmp_path):
    result = calibrate_on(InProcess(0), Taken, simulated.exposures, tmp_path / "out")
    assert result.batch.state == "interrupted"
    assert "another driver has taken over" in result.batch.reason
    assert result.counts == {"waiting": 3}
    assert products_in(tmp_path / "out") == []


def test_an_exposure_over_its_time_limit_publishes_nothing_later(simulated, scheduler, tmp_path):
    """Its worker cannot be restarted, like one on an unreachable host."""
    step = Held(gate=str(tmp_path / "gate"))
    where = placement.Place(scheduler.scheduler_address, 0, "exposure")
    with placement.open_place(where) as site:
        result = calibrate_on(
            site, step, simulated.exposures[:1], tmp_path / "out", RetryPolicy(deadline=0.5)
        )
    assert result.counts == {"failed": 1}
    assert not idle(scheduler)
    (tmp_path / "gate").touch()
    eventually(lambda: idle(scheduler))
    assert products_in(tmp_path / "out") == []


PARTS = (
    OutputImage(name="", extname="PRIMARY"),
    OutputImage(name="data", extname="SCI", dtype=np.dtype("f4"), shape=(2, 3)),
)


def test_products_are_published_when_all_are_complete_and_never_after_a_fence(tmp_path):
    staging = Staging(tmp_path / STATE)
    folder = staging.place_for(0, 1)
    staging.make(folder)
    writers = [FitsWriter(tmp_path / f"{n}.fits", PARTS, staging=folder) for n in "ab"]
    for writer in writers:
        writer.prepare()
        writer.complete([writer.write_rows("data", (0, 2), np.zeros((2, 3), "f4"))])
    assert products_in(tmp_path) == []
    writers[0].publish()
    staging.remove(folder)
    with pytest.raises(StorageError, match=r"b\.fits: its unfinished .* is gone"):
        writers[1].publish()
    with pytest.raises(FileError, match="its folder does not exist"):
        writers[1].prepare()
    assert products_in(tmp_path) == [tmp_path / "a.fits"]


def test_no_thread_publishes_after_a_fence(tmp_path):
    """Threads create and rename files as fast as possible, until that fails."""
    staging = Staging(tmp_path / STATE)
    folders = [staging.place_for(n, 1) for n in range(4)]

    def publish(folder):
        with suppress(FileNotFoundError):
            for n in count():
                (folder / "a").write_bytes(b"")
                (folder / "a").rename(tmp_path / f"{folder.name}-{n}")

    for folder in folders:
        staging.make(folder)
    threads = [threading.Thread(target=publish, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    eventually(lambda: len(products_in(tmp_path)) > 20)
    fence_earlier_drivers(tmp_path / STATE)
    published = products_in(tmp_path)
    for thread in threads:
        thread.join()
    assert products_in(tmp_path) == published
    assert list((tmp_path / STATE).iterdir()) == []


def test_a_staging_folder_that_cannot_be_removed_is_refused(tmp_path, monkeypatch):
    """A folder that cannot be removed, as on a failed disk."""
    monkeypatch.setattr("calbatch.cluster.driver.staging.PATIENCE", 0.1)
    left = Staging(tmp_path / STATE).folder / "0-1"
    left.mkdir()
    mounted = left / "mounted"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "none", mounted], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        with pytest.raises(RequestError, match="cannot remove"):
            Staging(tmp_path / STATE)
    finally:
        (busy,) = (tmp_path / STATE).rglob("mounted")
        subprocess.run(["umount", busy], check=True)
    Staging(tmp_path / STATE).close()
    assert list((tmp_path / STATE).iterdir()) == []


def test_links_are_removed_and_not_followed(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").touch()
    state = tmp_path / STATE
    state.mkdir()
    (state / "staging").symlink_to(other)
    (state / "retired-1").symlink_to(other)
    Staging(state)
    assert (other / "mine").exists()
    assert not (state / "staging").is_symlink()
    assert not list(state.glob("retired-*"))


def test_products_have_the_group_of_their_folder(simulated, tmp_path):
    """Products are made in another folder, but shared folders pass their group on."""
    out, group = tmp_path / "out", 12345 if os.geteuid() == 0 else os.getgroups()[-1]
    out.mkdir()
    os.chown(out, -1, group)
    out.chmod(0o2775)
    before = os.umask(0o002)
    try:
        calibrate_on(InProcess(0), Plain, simulated.exposures[:1], out)
    finally:
        os.umask(before)
    (product,) = products_in(out)
    assert (product.stat().st_gid, product.stat().st_mode & 0o777) == (group, 0o664)
