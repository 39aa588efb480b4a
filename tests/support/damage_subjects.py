"""Subjects of damage: everything that a batch reads, and the entry points that read it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits
from stpipe._config import StepConfig

from calbatch.calibrate.parameters import cfg
from calbatch.cluster import run
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.job import ExposureOptions, Job, calibrate
from calbatch.cluster.exposure.outcome import describe_failure
from calbatch.cluster.folder import STATE
from calbatch.cluster.ledger import View
from calbatch.cluster.planning.identity import parameters_of
from calbatch.cluster.planning.planner import Planner, open_references
from calbatch.cluster.planning.step_configuration import configure_step
from calbatch.crds_client import Client, CrdsError
from calbatch.crds_client.rules.mapping import mapping_checksum
from calbatch.models import datamodels
from support import damage
from support.batches import DATE, calbatch, quiet_console
from support.crds_server import HEADER, CrdsServer, make_cache
from support.damaged import Refused, Subject, World
from support.parameter_references import add_parameters, copy_cache
from support.simulated import small_exposure

FAULT = "a defect in calbatch"


def pixels(paths: list[Path]) -> str:
    """Return a digest of all arrays and ASDF trees of products."""
    total = hashlib.sha256()
    for path in sorted(paths):
        with fits.open(path, memmap=False) as hdus:
            for hdu in hdus:
                if hdu.name == "ASDF":
                    total.update(hdu.data.tobytes())
                elif hdu.is_image and hdu.data is not None:
                    total.update(f"{hdu.name} {hdu.data.shape}".encode() + hdu.data.tobytes())
    return total.hexdigest()


def read_through_batch(world: World, pipeline: str | Path, path: Path) -> str:
    """Plan and calibrate an exposure as a batch does."""
    output = world.output()
    try:
        step = configure_step(pipeline, parameters={"": {"output_dir": str(output)}})
        references = open_references(step)
        (planned,) = Planner(step, references, date=DATE).plan_block([(0, path)])
    except RequestError as error:
        raise Refused(str(error)) from error
    if planned.error is not None:
        _tell(describe_failure(planned.error, path))
    output.mkdir()
    job = Job(
        number=0,
        path=path,
        step=planned.settings.step,
        references=planned.references,
        options=ExposureOptions(date=DATE, fsync=False),
        batch="damage",
    )
    outcome = calibrate(job)
    if outcome.failed:
        shutil.rmtree(output)
        _tell(outcome.error, outcome.details)
    try:
        return pixels(list(output.glob("*.fits")))
    finally:
        shutil.rmtree(output)


def _tell(error: str, details: str = "") -> None:
    if FAULT in error or "Traceback" in error:
        lines = [line.strip() for line in details.splitlines() if line.startswith("  File")]
        raise AssertionError(f"{error} {lines[-1:]}")
    raise Refused(error)


def configuration(path: Path) -> str:
    """Read a ``.cfg``."""
    try:
        return json.dumps(parameters_of(configure_step(path)), sort_keys=True)
    except RequestError as error:
        raise Refused(str(error)) from error


def repeat_batch(world: World, source: Path, uncal: Path) -> str:
    """Read the records of a batch, and repeat the batch in a copy of its folder."""
    output = world.output()
    shutil.copytree(source, output)
    try:
        completed = calbatch("status", output)
        if "Traceback" in completed.err or completed.status not in (0, 1, 2):
            raise AssertionError(completed.err)
        with View(output / STATE) as view:
            for batch in view.batches():
                list(view.exposures_in_full(batch.id))
                view.events(batch.id)
                for row in view.exposures(batch.id):
                    view.attempts(row.id), view.parameters(row.id)
        result = run("detector1", [uncal], output, scheduler="sync", date=DATE, fsync=False,
                     console=quiet_console())  # fmt: skip
        for failed in result.failed:
            _tell(failed.error, failed.details)
        return pixels(list(output.glob("*_rate*.fits")))
    except RequestError as error:
        raise Refused(str(error)) from error
    finally:
        shutil.rmtree(output)


def read_from_server(world: World, server: CrdsServer, method: str, answer: Path, mode: str) -> str:
    """Select and fetch references from a server with one damaged answer."""
    try:
        server.answers = {method: json.loads(answer.read_bytes())}
    except (ValueError, RecursionError):
        server.answers = {method: answer.read_bytes().decode("latin-1")}
    cache = world.output()
    cache.mkdir()
    try:
        client = Client(cache, observatory="jwst", mode=mode, server_url=server.url)
        table = client.table({0: HEADER})
        if table.faults:
            raise Refused(table.faults[0])
        report = client.fetch(sorted(table.names()))
        if report.failed:
            raise Refused(str(report.failed))
        return repr((client.context, sorted(table[0].items())))
    except CrdsError as error:
        raise Refused(str(error)) from error
    finally:
        shutil.rmtree(cache)


def seal_rules(content: bytes, rng: random.Random) -> bytes:
    """Return a rules file, usually with the correct checksum."""
    if rng.random() < 0.2:
        return content
    text = content.decode("latin-1")
    total = mapping_checksum(text)
    return re.sub(r"('sha1sum' *: *)'\w*'", rf"\1'{total}'", text, count=1).encode("latin-1")


METHODS = ("get_server_info", "get_default_context", "get_mapping_names", "get_file_info_map",
           "get_required_parkeys", "get_best_references")  # fmt: skip


@contextmanager
def make_world(folder: Path) -> Iterator[World]:
    """Create the world of subjects, and yield it."""
    exposure = small_exposure("NIS", shape=(24, 32), nints=2, ngroups=4)
    crds = copy_cache(exposure, folder / "crds")
    uncal = Path(shutil.copy(exposure.path, folder / exposure.path.name))
    readpatt = exposure.header["READPATT"]
    jump = StepConfig("jwst.jump.JumpStep", "jump", {"rejection_threshold": 4.5, "skip": False}, [])
    whole = StepConfig("jwst.pipeline.Detector1Pipeline", "d1", {"save_results": True}, [jump])
    add_parameters(crds, "pars-jumpstep", {readpatt: jump})
    add_parameters(crds, "pars-detector1pipeline", {readpatt: whole})
    with (
        _reading_from(crds, exposure.set.context, folder),
        CrdsServer(make_cache(folder / "served", 3, 500)) as server,
    ):
        world = World(folder)
        world.add(_inputs(world, uncal))
        world.add(_of_cache(world, crds, uncal))
        world.add(_of_batch(world, uncal))
        world.add(_answers(world, server))
        yield world


OF_MIRI = ("reset", "rscd", "emicorr")
"""Types of references that the other world lacks, because its exposure is of NIRISS."""


@contextmanager
def make_miri_world(folder: Path) -> Iterator[World]:
    """Create a world of the references that only MIRI has, and of an IPC kernel, and yield it."""
    exposure = small_exposure("MIRIMAGE", shape=(24, 32), nints=2, ngroups=7)
    crds = copy_cache(exposure, folder / "crds")
    uncal = Path(shutil.copy(exposure.path, folder / exposure.path.name))
    world = World(folder)
    world.add(
        Subject(kind, path, damage.FITS if path.suffix == ".fits" else damage.ASDF,
                lambda: read_through_batch(world, "detector1", uncal))
        for kind in OF_MIRI
        for path in (crds / "references").rglob(f"*_{kind}_*")
    )  # fmt: skip
    kernel = np.full((3, 3), 0.01, "f4")
    kernel[1, 1] = 0.92
    model = datamodels.IPCModel(kernel)
    model.meta.reftype, model.meta.instrument.name = "IPC", "MIRI"
    path = model.save(folder / "ipc.fits", fsync=False)
    config = folder / "ipc.cfg"
    config.write_text(f"name = ipc\noverride_ipc = {path}\n")
    world.add([Subject("ipc", path, damage.FITS, lambda: read_through_batch(world, config, uncal))])
    with _reading_from(crds, exposure.set.context, folder):
        yield world


@contextmanager
def _reading_from(crds: Path, context: str, folder: Path) -> Iterator[None]:
    """Make batches use a cache only, and decode references in a folder."""
    environment = {
        "CRDS_PATH": str(crds), "CRDS_CONTEXT": context, "CRDS_MODE": "local",
        "CRDS_CLIENT_RETRY_COUNT": "1", "CRDS_CLIENT_RETRY_DELAY_SECONDS": "0",
        "CALBATCH_DECODED_DIR": str(folder / "decoded"),
    }  # fmt: skip
    saved = dict(os.environ)
    os.environ.update(environment)
    os.environ.pop("CRDS_SERVER_URL", None)
    (folder / "decoded").mkdir()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def _inputs(world: World, uncal: Path) -> Iterator[Subject]:
    yield Subject(
        "uncal", uncal, damage.FITS, lambda: read_through_batch(world, "detector1", uncal)
    )
    made = world.folder / "made"
    run(
        "detector1",
        [uncal],
        made,
        scheduler="sync",
        date=DATE,
        fsync=False,
        console=quiet_console(),
    )
    rate = Path(shutil.copy(next(made.glob("*_rate.fits")), world.folder))
    yield Subject("rate", rate, damage.FITS, lambda: read_through_batch(world, "flat_field", rate))


def _of_cache(world: World, crds: Path, uncal: Path) -> Iterator[Subject]:
    def door() -> str:
        return read_through_batch(world, "detector1", uncal)

    for path in sorted((crds / "references").rglob("*.fits")):
        kind = path.name.split("_")[2]
        if kind in ("area", "photom"):
            continue
        if kind == "flat":
            rate = next(world.folder.glob("*_rate.fits"))
            yield Subject(
                kind, path, damage.FITS, lambda r=rate: read_through_batch(world, "flat_field", r)
            )
        else:
            yield Subject(kind, path, damage.FITS, door)
    for path in sorted((crds / "references").rglob("*.asdf")):
        yield Subject(path.name.split("_")[2], path, damage.ASDF, door)
    for path in sorted((crds / "mappings").rglob("*map")):
        if not re.search("area|photom|flat", path.name):
            name = path.name.removeprefix("jwst_")
            yield Subject(f"rules {name}", path, damage.RULE, door, seal_rules)
    config = crds / "config" / "jwst" / "server_config"
    if config.exists():
        yield Subject("server_config", config, damage.RULE, door)


def _of_batch(world: World, uncal: Path) -> Iterator[Subject]:
    made = world.folder / "made"
    (batch,) = (path.parent for path in (made / STATE).glob("*/manifest.json"))
    for name, path, mutators in [
        ("ledger", made / STATE / "ledger.sqlite", damage.LEDGER),
        ("manifest", batch / "manifest.json", damage.JSON),
    ]:
        yield Subject(name, path, mutators, lambda: repeat_batch(world, made, uncal))
    yield Subject(
        "batch.cfg", batch / "batch.cfg", damage.CONFIG, lambda: configuration(batch / "batch.cfg")
    )
    full = world.folder / "full.cfg"
    full.write_text(cfg.format_cfg(configure_step("detector1")))
    yield Subject("cfg", full, damage.CONFIG, lambda: configuration(full))


def _answers(world: World, server: CrdsServer) -> Iterator[Subject]:
    parameters = {
        "get_server_info": [], "get_default_context": ["jwst"], "get_build_context": ["jwst", ""],
        "get_mapping_names": ["jwst_0002.pmap"], "get_file_info_map": ["jwst"],
        "get_required_parkeys": [""], "get_best_references": None,
    }  # fmt: skip
    for method in METHODS:
        given = parameters[method]
        result = {"flat": "jwst_miri_flat_0001.fits"}
        if given is not None:
            result = getattr(server, f"rpc_{method}")(*given)
        path = world.folder / f"{method}.json"
        path.write_text(json.dumps(result))
        mode = "remote" if method in ("get_required_parkeys", "get_best_references") else "auto"
        yield Subject(
            f"answer {method}",
            path,
            damage.JSON,
            lambda m=method, p=path, how=mode: read_from_server(world, server, m, p, how),
        )
