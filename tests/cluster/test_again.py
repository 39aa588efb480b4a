"""Repeating a command calibrates only exposures that are not done."""

import json
import os
import re
import shutil

import pytest
from astropy.io import fits
from support.batches import (
    DATE,
    calbatch,
    checksums,
    copy_changed,
    leave_staging_folder,
    products_in,
    quiet_console,
    small_set,
)
from support.crds_server import CrdsServer

from calbatch import cluster
from calbatch.calibrate.step import Step
from calbatch.cluster.batch.result import Result
from calbatch.cluster.ledger import View
from calbatch.crds_client.cache.layout import Cache
from calbatch.models.datamodels import RampModel


@pytest.fixture
def exposures(simulated, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for path in simulated.exposures:
        shutil.copy2(path, folder)
    return sorted(folder.iterdir())


@pytest.fixture
def run(exposures, tmp_path):
    def again(pipeline="superbias", **options) -> Result:
        options = {
            "scheduler": "sync",
            "console": quiet_console(),
            "date": DATE,
            "fsync": False,
            **options,
        }
        return cluster.run(pipeline, exposures, tmp_path / "out", **options)

    return again


def test_repeated_batches_calibrate_nothing_twice(run, tmp_path):
    first = run()
    assert first.counts == {"done": 3}
    times = {p: p.stat().st_mtime_ns for p in products_in(tmp_path / "out")}
    second = run()
    assert second.exit_status == 0
    assert second.counts == {"kept": 3}
    assert second.products == first.products
    assert {p: p.stat().st_mtime_ns for p in products_in(tmp_path / "out")} == times
    assert run(force=True).counts == {"done": 3}


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ("nothing", 3),
        ("parameter", 0),
        ("date", 0),
        ("input touched", 2),
        ("input replaced", 2),
        ("product removed", 2),
        ("product changed", 2),
        ("reference replaced", 0),
    ],
)
def test_changed_exposures_are_calibrated_again(
    run, exposures, simulated, tmp_path, monkeypatch, how, kept
):
    cache = tmp_path / "crds"
    shutil.copytree(simulated.crds, cache, copy_function=shutil.copy2)
    monkeypatch.setenv("CRDS_PATH", str(cache))
    first, options = run(), {}
    if how == "parameter":
        options["parameters"] = {"override_superbias": next(cache.rglob("*superbias*.fits"))}
    elif how == "date":
        options["date"] = "2025-01-01T00:00:00"
    elif how == "input touched":
        os.utime(exposures[1], ns=(1, 1))
    elif how == "input replaced":
        exposures[1].unlink()
        copy_changed(simulated.exposures[1], exposures[1], TARGPROP="other")
    elif how == "product removed":
        first.products[0].unlink()
    elif how == "product changed":
        fits.setval(first.products[0], "TARGPROP", value="other")
    elif how == "reference replaced":
        path = next(cache.rglob("*superbias*.fits"))
        fits.setval(path, "AUTHOR", value="somebody else")
    second = run(**options)
    assert second.exit_status == 0
    assert second.counts["kept"] == kept
    assert second.counts["done"] == 3 - kept


def test_a_changed_byte_is_found_with_verify(run, exposures):
    product = run().products[1]
    status = product.stat()
    with product.open("r+b") as file:
        file.seek(-3000, os.SEEK_END)
        file.write(b"\x01")
    os.utime(product, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run().counts == {"kept": 3}
    assert run(verify=True).counts == {"kept": 2, "done": 1}


def test_known_headers_are_not_read_again(run, exposures, monkeypatch):
    run()
    monkeypatch.setattr("calbatch.models.datamodels.open", lambda *_: 1 / 0)
    assert run().counts == {"kept": 3}


class Mine(Step):
    """A step whose source code changes."""

    def process(self, exposure):
        return RampModel(exposure)


def test_changed_code_calibrates_again(run):
    assert run(Mine).counts == {"done": 3}
    assert run(Mine).counts == {"kept": 3}
    other = type("Mine", (Step,), {"process": Mine.process, "__module__": "__main__"})
    assert run(other).counts == {"done": 3}


def test_only_failed_exposures_are_repeated_on_request(run, exposures, simulated):
    exposures[1].write_bytes(b"no exposure")
    assert run().counts == {"done": 2, "failed": 1}
    shutil.copy(simulated.exposures[1], exposures[1])
    os.utime(exposures[0], ns=(1, 1))
    assert run(only_failed=True).counts == {"done": 1}
    with pytest.raises(cluster.RequestError, match="none of the exposures has failed before"):
        run(only_failed=True)


def test_the_ledger_records_everything(run, exposures, tmp_path):
    result = run()
    with View(tmp_path / "out" / ".calbatch") as view:
        batch = view.batch(result.name)
        assert batch.software["calbatch"]
        assert batch.context == "jwst_0001.pmap"
        for exposure in view.exposures(batch.id):
            assert exposure.seconds > 0
            assert exposure.peak > 30e6
            (attempt,) = view.attempts(exposure.id)
            assert attempt.worker.endswith(f":{os.getpid()}")
            path, sha1 = view.references(exposure.id)["superbias"]
            assert path.endswith(".fits")
            assert len(sha1) == 40
            assert view.parameters(exposure.id)[""]["skip"] == ["False", "the step's default"]


def test_a_batch_is_repeated_from_manifest_and_configuration(run, exposures, tmp_path):
    result = run(parameters={"suffix": "mine"})
    manifest = json.loads(result.folder.manifest.read_text())
    assert manifest["state"] == "done"
    entries = manifest["exposures"]
    assert [e["input"] for e in entries] == [str(p) for p in exposures]
    assert [e["state"] for e in entries] == ["done"] * 3
    assert entries[0]["products"][0]["path"] == str(result.products[0])
    completed = calbatch(
        "run",
        result.folder.config,
        *exposures,
        "-o",
        tmp_path / "b",
        "--date",
        DATE,
        "--scheduler",
        "sync",
    )
    assert completed.status == 0, completed.err
    assert checksums(tmp_path / "b") == checksums(tmp_path / "out")


def test_plan_shows_which_products_would_stay(run, exposures, tmp_path):
    run()
    os.utime(exposures[0], ns=(1, 1))
    completed = calbatch("plan", "superbias", *exposures, "-o", tmp_path / "out", "--date", DATE)
    assert completed.status == 0
    assert "2 exposures already done, with intact products" in completed.out
    assert "3 exposures" in completed.out


def test_plan_shows_exposures_that_failed(run, exposures, tmp_path):
    how = ("plan", "superbias", *exposures, "-o", tmp_path / "out", "--date", DATE, "--only-failed")
    exposures[1].write_bytes(b"no exposure")
    run()
    completed = calbatch(*how)
    assert completed.out.startswith("superbias: 1 exposure,")
    assert f"would fail: {exposures[1]}" in completed.out


@pytest.mark.usefixtures("simulated")
def test_only_exposures_that_another_context_changes_are_recalibrated(
    run, exposures, tmp_path, monkeypatch
):
    made = small_set()
    cache = tmp_path / "crds"
    shutil.copytree(made.crds, cache)
    monkeypatch.setenv("CRDS_PATH", str(cache))
    fits.setval(exposures[1], "READPATT", value="BRIGHT1")
    first = run()
    _new_context(cache)
    dry = calbatch("recalibrate", first.name, "--context", "jwst_0002.pmap", "--dry-run")
    assert dry.status == 0, dry.err
    assert "0 of 3 exposures" in dry.err
    _new_context(cache, "superbias")
    stale = leave_staging_folder(first.output_dir)
    completed = calbatch("recalibrate", first.name, "--context", "jwst_0003.pmap")
    assert completed.status == 0, completed.err
    assert not stale.exists()
    assert "3 of 3 exposures with other references" in completed.err
    assert "jwst_nircam_superbias_0001.fits ->" in completed.err
    assert {fits.getval(p, "CRDS_CTX") for p in first.products} == {"jwst_0003.pmap"}


@pytest.mark.usefixtures("simulated")
def test_the_rules_of_another_context_are_fetched_with_progress(run, tmp_path, monkeypatch):
    published = tmp_path / "published"
    shutil.copytree(small_set().crds, published)
    _new_context(published, "superbias")
    first = run()
    (tmp_path / "crds").mkdir()
    with CrdsServer(Cache(published)) as server:
        for name, value in (
            ("CRDS_PATH", tmp_path / "crds"), ("CRDS_SERVER_URL", server.url),
            ("CRDS_MODE", ""), ("CRDS_READONLY_CACHE", ""),
        ):  # fmt: skip
            monkeypatch.setenv(name, str(value))
        dry = calbatch("recalibrate", first.name, "--context", "jwst_0002.pmap", "--dry-run")
    assert dry.status == 0, dry.err
    assert re.search(r"fetching \d+ rules files into .*\nfetched (\d+) of \1 files", dry.err)
    assert "3 of 3 exposures with other references" in dry.err


def _new_context(cache, changed_type=None):
    """Add a context to a cache, with the same rules or with a copy of one reference."""
    mappings = cache / "mappings" / "jwst"
    old = sorted(mappings.glob("*.pmap"))[-1]
    number = int(old.stem[-4:]) + 1
    text = old.read_text().replace(old.name, f"jwst_{number:04}.pmap")
    if changed_type:
        imap = next(p for p in mappings.glob("*nircam*.imap"))
        rmap = next(p for p in mappings.glob(f"*nircam_{changed_type}*.rmap"))
        reference = next(cache.rglob(f"jwst_nircam_{changed_type}_0001.fits"))
        shutil.copy(reference, reference.with_name(f"jwst_nircam_{changed_type}_0009.fits"))
        new_rmap = rmap.with_name(rmap.name.replace("0001", "0009"))
        _write(
            new_rmap,
            rmap.read_text()
            .replace(reference.name, f"jwst_nircam_{changed_type}_0009.fits")
            .replace(rmap.name, new_rmap.name),
        )
        new_imap = imap.with_name(imap.name.replace("0001", "0009"))
        _write(
            new_imap,
            imap.read_text().replace(rmap.name, new_rmap.name).replace(imap.name, new_imap.name),
        )
        text = text.replace(imap.name, new_imap.name)
    _write(mappings / f"jwst_{number:04}.pmap", text)


def _write(path, text):
    """Write rules with the checksum that they must state."""
    import hashlib
    import re

    text = re.sub(r"^\s*'sha1sum' : '\w+',\n", "@\n", text, flags=re.MULTILINE)
    sha1 = hashlib.sha1(text.replace("@\n", "").encode()).hexdigest()
    path.write_text(text.replace("@\n", f"    'sha1sum' : '{sha1}',\n"))
