"""Batches killed at exact points end as if undisturbed."""

import json
import random
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import dask
import pytest
import yaml
from astropy.io import fits
from support.batches import calbatch, checksums, make_copies, small_set
from support.chaos import driver_of, kill, require_consistent, with_children
from support.kills import HOOKS, HOW, Killed, killing_server
from support.onehost import slurm
from support.ownscheduler import Running
from support.placed import eventually
from support.toys import registered_toys, write_association

from calbatch.cluster.batch import liveness
from calbatch.cluster.ledger import View

WHOLE = (pytest.mark.slow, pytest.mark.timeout(3000))
KILLS = 40
"""Number of kills of a batch of 200 in the long run."""

DRIVERS = [
    ["fence", "before", 1, "self"],
    ["drive", "after", 1, "self"],
    ["make", "after", 2, "self"],
    ["publish", "before", 1, "self"],
    ["publish", "after", 1, "self"],  # between the two products of an exposure
    ["commit", "before", 3, "self"],
    ["close", "before", 1, "self"],
    ["manifest", "before", 1, "self"],
]
WORKERS = [
    ["prepare", "after", 1, "self"],
    ["publish", "after", 1, "self"],
    ["publish", "before", 2, "driver"],  # its workers continue
    ["complete", "after", 2, "all"],
]

EDGES = [
    ["commit", "after", 3, "self"],  # some units have ended, and others wait for them
    ["publish", "before", 4, "self"],
]
TESTS = Path(__file__).parents[1]


def at_random(count, seed=9):
    """Return kills at random points of a batch."""
    chance = random.Random(seed)
    worker = [("prepare", "after"), ("complete", "after"), ("publish", "before")]
    worker.append(("publish", "after"))
    driver = [("make", "after"), ("remove", "before"), ("commit", "before"), ("commit", "after")]
    driver += [("fence", "before"), ("fence", "after"), ("clear", "before"), ("end", "before")]
    found = []
    for _ in range(count):
        point = chance.choice(worker + driver)
        victims = ["self", "self", "driver", "all"] if point in worker else ["self"]
        often = point[0] in ("fence", "clear", "end")
        found.append([*point, 1 if often else chance.randint(1, 40), chance.choice(victims)])
    return found


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """Return a function that makes exposures, and plans kills of their batches."""
    temporary = Path(tempfile.mkdtemp(prefix="cb"))  # a short path, for sockets
    for name, value in small_set().environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("PYTHONPATH", str(HOOKS), prepend=":")
    monkeypatch.setattr(liveness, "start_detached", killing_server().start)
    plan = tmp_path / "kills.json"
    made = []

    def plan_kills(count, kills, *site):
        plan.write_text(json.dumps(kills))
        inputs = make_copies(count, tmp_path / "in")
        made.append(Killed(inputs, tmp_path / "out", site, plan, temporary))
        for name, value in made[-1].environment().items():
            monkeypatch.setenv(name, value)
        return made[-1]

    yield plan_kills
    for one in made:
        for folder in one.folders:
            kill(*with_children(driver_of(folder)))
        kill(*one.processes())
    shutil.rmtree(temporary)


def require_as_undisturbed(killed, count, where, monkeypatch, distinct_counts=1):
    require_consistent(killed.folder, count, distinct_counts)
    monkeypatch.delenv("KILLS")
    how = ("--scheduler", "sync", *HOW, *killed.parameters())
    assert calbatch("run", killed.pipeline, killed.inputs, "-o", where, *how).status == 0
    assert checksums(killed.output) == checksums(where)
    state = killed.folder.state
    assert not (state / "staging").exists()
    assert not [*state.glob("retired-*"), *state.glob("*/logs/*"), *state.glob("*/manifest.part")]


def require_nothing_temporary(folder):
    """Decoded references stay, which all batches of this host share, and dask's locks."""
    left = [p.name for p in folder.rglob("*") if ".part" in p.name or p.suffix == ".sock"]
    left += [p.name for p in folder.glob("*") if p.name.startswith(("pymp", "calbatch-sockets"))]
    left += [p.name for p in folder.glob("dask-*/*") if p.is_dir()]
    assert left == []


@pytest.mark.parametrize(
    ("count", "kills"),
    [
        pytest.param(4, DRIVERS, id="sample"),
        pytest.param(200, at_random(KILLS), id="whole", marks=WHOLE),
    ],
)
def test_a_driver_is_killed(killed, tmp_path, monkeypatch, count, kills):
    batches = killed(count, kills, "--scheduler", "sync")
    batches.run(200)
    require_as_undisturbed(batches, count, tmp_path / "b", monkeypatch)


@pytest.mark.parametrize(
    ("kill", "deaths", "site"),
    [
        (["publish", "before", 1, "self"], [1, 0], "local"),
        (["make", "before", 2, "self"], [0, 0], "threads"),  # between two exposures
        (["make", "after", 2, "self"], [0, 0], "threads"),
    ],
)
def test_a_kill_counts_against_the_exposure_at_work_only(killed, kill, deaths, site):
    batches = killed(2, [kill])  # small enough for the driver's process
    batches.run(200)
    assert len(batches.folders) == 1  # it was resumed
    with View(batches.folder.state) as view:
        row = view.batch(batches.folder.name)
        assert [exposure.deaths for exposure in view.exposures(row.id)] == deaths
    assert row.site == site


@pytest.mark.parametrize(
    ("count", "kills"),
    [
        pytest.param(8, WORKERS, id="sample", marks=pytest.mark.ci),
        pytest.param(200, at_random(KILLS), id="whole", marks=WHOLE),
    ],
)
def test_workers_and_drivers_are_killed(killed, tmp_path, monkeypatch, count, kills):
    batches = killed(count, kills, "--scheduler", "local", "--workers", "2")
    batches.run(200)
    eventually(lambda: batches.processes() == [])  # and orphans
    require_as_undisturbed(batches, count, tmp_path / "b", monkeypatch)
    require_nothing_temporary(batches.temporary)


@pytest.mark.parametrize(
    ("count", "kills", "site"),
    [
        pytest.param(4, EDGES, ("--scheduler", "sync"), id="sample"),
        pytest.param(
            120, at_random(KILLS, seed=7), ("--scheduler", "local", "--workers", "2"),
            id="whole", marks=WHOLE,
        ),
    ],
)  # fmt: skip
def test_killed_batches_of_associations_end_as_undisturbed(
    killed, tmp_path, monkeypatch, count, kills, site
):
    """Each pair of exposures is an association of an image and its background."""
    batches = killed(count, kills, *site)
    batches.pipeline, batches.other_parameters = "toy1,toy2", ("--scale.factor=2",)
    names = [path.name.replace("uncal", "rate") for path in sorted(batches.inputs.iterdir())]
    for image, background in list(pairwise(names))[::2]:
        write_association(
            batches.inputs / f"{image[:5]}_asn.json",
            (image[:5], [("science", image), ("background", background)]),
        )
    with registered_toys(tmp_path / "site", monkeypatch):
        for folder in (tmp_path / "site", TESTS):
            monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
        batches.run(200)
        eventually(lambda: batches.processes() == [], 60)
        require_as_undisturbed(batches, count * 3 // 2, tmp_path / "b", monkeypatch, 2)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_killed_batches_of_ordered_exposures_end_as_undisturbed(killed, tmp_path, monkeypatch):
    """Exposures of two detectors hand persistence windows on; the files are in another order."""
    batches = killed(60, at_random(KILLS // 2, seed=11), "--scheduler", "local", "--workers", "2")
    for number, path in enumerate(sorted(batches.inputs.iterdir())):
        fits.setval(path, "EXPSTART", value=60000 + (number * 7 % 60) / 1000)
        fits.setval(path, "DETECTOR", value=f"NRCA{1 + number % 2}")
    config = tmp_path / "persistence.cfg"
    config.write_text("name = persistence\npersistence_time = 1000\ndn_threshold = 20000\n")
    batches.pipeline, batches.other_parameters = str(config), ("--dn_threshold", "15000")
    batches.run(200)
    eventually(lambda: batches.processes() == [], 60)
    require_as_undisturbed(batches, 60, tmp_path / "b", monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_workers_of_a_scheduler_and_drivers_are_killed(killed, tmp_path, monkeypatch):
    batches = killed(200, [])
    folder = tmp_path / "dask"
    folder.mkdir()
    running = Running(folder)  # its workers have the batches' environment
    try:
        batches.site = ("--scheduler", running.address)
        batches.plan.write_text(json.dumps(at_random(KILLS, seed=3)))
        batches.run(200, keep=running.keep)
        eventually(lambda: running.idle())
        require_as_undisturbed(batches, 200, tmp_path / "b", monkeypatch)
    finally:
        running.kill()


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.timeout(3000)
def test_jobs_of_workers_and_drivers_are_killed(killed, slurm_host, tmp_path, monkeypatch):
    site = {"kind": "slurm", "jobs": 2, "memory": "1GiB", "interface": "lo", "patience": 20.0}
    (tmp_path / "dask").mkdir()
    config = {"calbatch": {"sites": {"node": {**site, "logs": str(tmp_path / "jobs")}}}}
    (tmp_path / "dask" / "calbatch.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask"))
    dask.config.refresh(paths=[str(tmp_path / "dask")])
    try:
        batches = killed(200, at_random(KILLS, seed=5), "--site", "node")
        batches.run(400)
        eventually(lambda: slurm("squeue", "-h") == "", 120)
        require_as_undisturbed(batches, 200, tmp_path / "b", monkeypatch)
        assert not list((tmp_path / "jobs").glob(".tls-*"))
    finally:
        monkeypatch.undo()
        dask.config.refresh()
