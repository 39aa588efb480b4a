"""Random associations of random exposures, some of which are broken, while processes are killed."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from support.batches import DATE, calbatch, make_copies
from support.chaos import driver_of, kill, status, with_children
from support.kills import HOOKS
from support.toys import registered_toys, write_association
from support.waiting import eventually

from calbatch.cluster.folder import BatchFolder, find_batch
from calbatch.cluster.ledger import View

TESTS = Path(__file__).parents[1]
CHAIN = "toy1,toy2,toy3"
HOW = ("--scheduler", "local", "--workers", "2", "--grain", "exposure", "--date", DATE)

WORKERS = [("prepare", "after"), ("complete", "after"), ("publish", "before"), ("publish", "after")]
DRIVERS = [("make", "after"), ("commit", "before"), ("commit", "after")]


@dataclass
class Graph:
    """Exposures, images and mosaics by name, each with the names of its inputs."""

    broken: set[str]
    images: dict[str, list[str]] = field(default_factory=dict)
    mosaics: dict[str, list[str]] = field(default_factory=dict)

    def failing(self):
        """Return the names of the products that cannot be made, apart from broken exposures."""
        images = {name for name, made_of in self.images.items() if self.broken & {*made_of}}
        return images | {name for name, made_of in self.mosaics.items() if images & {*made_of}}


def draw_graph(chance, folder, count):
    """Break some of the exposures in a folder, and write associations of two levels."""
    names = [path.name.removesuffix("_uncal.fits") for path in sorted(folder.iterdir())]
    graph = Graph(set(chance.sample(names, count // 6)))
    for name in graph.broken:
        (folder / f"{name}_uncal.fits").write_bytes(b"SIMPLE  =")
    for number in range(count // 3):
        product = f"p{number}"
        science, *backgrounds = chance.sample(names, chance.randint(1, 3))
        graph.images[product] = [science, *backgrounds]
        members = [("science", f"{science}_rate.fits")]
        members += [("background", f"{name}_rate.fits") for name in backgrounds]
        write_association(folder / f"{product}_asn.json", (product, members))
    used = {name for made_of in graph.images.values() for name in made_of}
    graph.images |= {name: [name] for name in names if name not in used}
    for number in range(count // 4):
        product = f"m{number}"
        graph.mosaics[product] = chance.sample(sorted(graph.images), chance.randint(1, 3))
        members = [("science", f"{name}_cal.fits") for name in graph.mosaics[product]]
        write_association(folder / f"{product}_asn.json", (product, members), rule="Asn_Lv3Image")
    return graph


def require_as_drawn(graph, folder):
    """Require that each unit is done once, has failed, or was not begun for one that failed."""
    with View(folder.state) as view:
        rows = list(view.exposures(view.batch(folder.name).id))
        tries = {row.number: [a.result for a in view.attempts(row.id)] for row in rows}
    failing = graph.failing()
    for row in rows:
        stem = Path(row.path).name.partition("_")[0]
        name = row.product or stem
        blocked = row.pipeline != "Toy1" and name in failing
        assert ("not begun: " in row.reason) == blocked, row
        is_broken = row.pipeline == "Toy1" and name in graph.broken
        assert row.state == ("failed" if blocked or is_broken else "done"), row
        assert tries[row.number].count("done") == (row.state == "done"), row
        assert not (blocked and tries[row.number]), row
    assert len(rows) == len({(row.pipeline, row.product or row.path) for row in rows})


def require_pixels(graph, out):
    """Require that products are made of the right inputs."""

    def pixels(name, suffix):
        return fits.getdata(out / f"{name}_{suffix}.fits", "SCI")

    failing = graph.failing()
    for name, (science, *backgrounds) in graph.images.items():
        if name not in failing:
            wanted = pixels(science, "rate")
            for background in backgrounds:
                wanted = wanted - pixels(background, "rate")
            np.testing.assert_array_equal(pixels(name, "cal"), wanted)
    for name, (first, *others) in graph.mosaics.items():
        if name not in failing:
            wanted = pixels(first, "cal")
            for other in others:
                wanted = wanted + pixels(other, "cal")
            np.testing.assert_array_equal(pixels(name, "i2d"), wanted)
    expected = {f"{name}_cal.fits" for name in {*graph.images} - failing}
    assert {path.name for path in out.glob("*_cal.fits")} == expected


@pytest.fixture
def hooked(tmp_path, monkeypatch):
    """Return the file with the planned kills, which processes that start from now on look up."""
    temporary = Path(tempfile.mkdtemp(prefix="cb"))  # a short path, for sockets
    plan = tmp_path / "kills.json"
    for name, value in (("TMPDIR", temporary), ("KILLS", plan), ("KILLS_OUTPUT", tmp_path / "out")):
        monkeypatch.setenv(name, str(value))
    for folder in (tmp_path / "site", TESTS, HOOKS):
        monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    with registered_toys(tmp_path / "site", monkeypatch):
        yield plan
    shutil.rmtree(temporary)


def draw_kills(chance, count, points):
    return [[*chance.choice(points), chance.randint(1, 3), "self"] for _ in range(count)]


def follow(folder):
    """Return the state of a batch, and resume it if it is interrupted."""
    state = status(folder)["state"]
    if state == "interrupted":
        calbatch("resume", folder.name, "--detach")  # refused while the driver is ending
    return state


@pytest.mark.ci
def test_workers_are_killed(hooked, tmp_path):
    chance = random.Random(4)
    graph = draw_graph(chance, make_copies(6, tmp_path / "in"), 6)
    hooked.write_text(json.dumps([["publish", "after", 2, "self"]]))
    command = [sys.executable, "-P", "-m", "calbatch.cluster", "run", CHAIN, tmp_path / "in"]
    command += ["-o", tmp_path / "out", *HOW, "--no-fsync"]
    # In a process of its own: this one's server of workers may have started before the hook.
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert json.loads(hooked.read_text()) == []
    require_as_drawn(graph, find_batch(str(tmp_path / "out")))
    require_pixels(graph, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20))
def test_workers_and_drivers_are_killed(hooked, tmp_path, seed):
    chance = random.Random(seed)
    graph = draw_graph(chance, make_copies(18, tmp_path / "in"), 18)
    hooked.write_text(json.dumps(draw_kills(chance, 4, WORKERS + DRIVERS)))
    begun = calbatch("submit", CHAIN, tmp_path / "in", "-o", tmp_path / "out", *HOW, "--no-fsync")
    folder = BatchFolder(tmp_path / "out", begun.out.strip())
    try:  # it ends as failed, since some exposures are broken
        eventually(lambda: follow(folder) == "failed", 300, state=hooked.read_text)
    finally:
        kill(*with_children(driver_of(folder)))
    require_as_drawn(graph, folder)
    require_pixels(graph, tmp_path / "out")
