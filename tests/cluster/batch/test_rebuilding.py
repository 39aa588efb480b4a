"""New ledgers, made of damaged ones, of manifests and of the products that are there."""

import os
import shutil
import sqlite3

import numpy as np
import pytest
from astropy.io import fits
from filelock import FileLock
from support.recorded import record_batch

from calbatch.cluster.batch import rebuilding
from calbatch.cluster.batch.manifest import write_manifest
from calbatch.cluster.batch.rebuilding import RebuiltBatch, rebuild_ledger
from calbatch.cluster.errors import RequestError
from calbatch.cluster.folder import registry
from calbatch.cluster.ledger import LedgerError, ProductRow, View
from calbatch.cluster.ledger.store import NAME
from calbatch.models.fits.layout import read_layout
from calbatch.models.storage.files import current_version, read_stamp


def fits_file(path, value):
    """Write a small file, and return its record."""
    hdu = fits.ImageHDU(np.full((2, 2), value, np.float32), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    name, size, mtime_ns = current_version(path)
    return ProductRow(str(name), size, mtime_ns, read_layout(read_stamp(str(path))).digest)


@pytest.fixture
def recorded(tmp_path):
    """Return a batch of two calibrated exposures, a failed one and an unfinished one."""
    exposures = []
    for number in range(4):
        source = fits_file(tmp_path / f"e{number}_uncal.fits", number)
        values = {"path": source.path, "size": source.size, "mtime_ns": source.mtime_ns}
        exposures.append(values | {"digest": source.digest, "identity": f"i{number}"})
    for number in (0, 1):
        exposures[number] |= {
            "state": "done",
            "products": [fits_file(tmp_path / f"e{number}_rate.fits", 10 + number)],
        }
    exposures[2] |= {"state": "failed", "reason": "is empty"}
    folder = record_batch(tmp_path, exposures, "interrupted", "the driver died")
    write_manifest(folder, "interrupted")
    return folder


def damage(folder):
    (folder.state / NAME).write_bytes(b"SQLite format 3\0" + bytes(5000))


def states(folder):
    with View(folder.state) as view:
        return [row.state for row in view.exposures(view.batch(folder.name).id)]


def test_an_intact_ledger_stays(recorded):
    before = (recorded.state / NAME).read_bytes()
    assert rebuild_ledger(recorded.output) == (None, [])
    assert (recorded.state / NAME).read_bytes() == before


def test_the_manifest_and_the_products_make_a_new_ledger(recorded):
    damage(recorded)
    aside, batches = rebuild_ledger(recorded.output)
    assert batches == [RebuiltBatch(recorded.name, total=4, done=2)]
    assert aside.name.startswith("ledger.damaged-")
    assert aside.read_bytes().startswith(b"SQLite format 3\0\0")
    assert states(recorded) == ["done", "done", "failed", "waiting"]
    with View(recorded.state) as view:
        row = view.batch(recorded.name)
        assert row.state == "interrupted"
        assert row.reason == "its ledger was damaged: 2 of 4 exposures known to be done"
        assert view.find_products(["i0"])["i0"][0].path.endswith("e0_rate.fits")
    assert not list(recorded.state.glob("rebuilt-*"))


def test_a_missing_ledger_is_made_anew(recorded):
    (recorded.state / NAME).unlink()
    aside, batches = rebuild_ledger(recorded.output)
    assert aside.name.startswith("ledger.damaged-")
    assert not aside.exists()
    assert batches == [RebuiltBatch(recorded.name, total=4, done=2)]


@pytest.mark.parametrize("how", ["gone", "rewritten", "touched", "truncated"])
def test_an_exposure_whose_product_has_changed_is_not_done(recorded, how):
    product = recorded.output / "e1_rate.fits"
    before = product.stat()
    if how == "touched":
        product.touch()
    elif how == "truncated":
        product.write_bytes(product.read_bytes()[:-2880])
    else:
        product.unlink()
    if how == "rewritten":
        fits_file(product, 99)
        assert product.stat().st_size == before.st_size
    damage(recorded)
    _, [batch] = rebuild_ledger(recorded.output)
    assert batch.done == 1
    assert states(recorded) == ["done", "waiting", "failed", "waiting"]
    with View(recorded.state) as view:
        assert view.find_products(["i1"]) == {}


def test_a_product_with_another_header_but_the_same_size_and_time_is_not_taken_for_done(recorded):
    product = recorded.output / "e1_rate.fits"
    times = product.stat().st_atime_ns, product.stat().st_mtime_ns
    text = product.read_bytes().replace(b"SCI ", b"ERR ", 1)
    product.write_bytes(text)
    os.utime(product, ns=times)
    damage(recorded)
    _, [batch] = rebuild_ledger(recorded.output)
    assert batch.done == 1


def test_all_done_is_done(tmp_path):
    source, made = fits_file(tmp_path / "e_uncal.fits", 1), fits_file(tmp_path / "e_rate.fits", 2)
    exposure = {
        "path": source.path, "size": source.size, "mtime_ns": source.mtime_ns,
        "digest": source.digest, "identity": "i", "state": "done", "products": [made],
    }  # fmt: skip
    folder = record_batch(tmp_path, [exposure])
    write_manifest(folder, "done")
    damage(folder)
    assert rebuild_ledger(tmp_path)[1] == [RebuiltBatch(folder.name, 1, 1)]
    with View(folder.state) as view:
        assert (view.batch(folder.name).state, view.batch(folder.name).reason) == ("done", "")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"exposures": 3}', "[" * 100_000])
def test_a_damaged_manifest_tells_nothing(recorded, text):
    recorded.manifest.write_text(text)
    damage(recorded)
    assert rebuild_ledger(recorded.output)[1] == [RebuiltBatch(recorded.name)]
    with View(recorded.state) as view:
        assert view.batches() == []


def test_damaged_entries_of_a_manifest_are_left_out(recorded):
    text = recorded.manifest.read_text()
    recorded.manifest.write_text(text.replace('"size"', '"width"', 1))
    damage(recorded)
    assert rebuild_ledger(recorded.output)[1] == [RebuiltBatch(recorded.name, total=4, done=1)]
    with View(recorded.state) as view:
        batch = view.batch(recorded.name)
        assert [row.number for row in view.exposures(batch.id)] == [1, 2, 3]
        assert batch.reason.endswith(
            "the same command does the others, which `resume` does not know"
        )


def test_readable_rows_of_the_damaged_ledger_need_no_manifest(recorded):
    recorded.manifest.unlink()
    with sqlite3.connect(recorded.state / NAME) as connection:
        connection.execute("UPDATE exposures SET warnings = 'no JSON' WHERE number = 2")
    connection.close()
    aside, batches = rebuild_ledger(recorded.output)
    assert aside is not None
    assert batches == [RebuiltBatch(recorded.name, total=4, done=2)]


@pytest.mark.parametrize("prepare", [lambda state: None, lambda state: state.mkdir(mode=0o700)])
def test_a_folder_without_batches_is_an_error(tmp_path, prepare):
    prepare(tmp_path / ".calbatch")
    with pytest.raises(RequestError, match="there are no batches"):
        rebuild_ledger(tmp_path)


def test_nothing_is_rebuilt_while_a_driver_is_at_work(recorded, monkeypatch):
    monkeypatch.setattr(rebuilding, "LOCK_PATIENCE", 0.0)
    damage(recorded)
    with (
        FileLock(recorded.state / "ledger.lock"),
        pytest.raises(LedgerError, match="is running there"),
    ):
        rebuild_ledger(recorded.output)


def test_a_killed_attempt_leaves_nothing_behind(recorded):
    left = recorded.state / "rebuilt-0123"
    left.mkdir()
    damage(recorded)
    rebuild_ledger(recorded.output)
    assert not left.exists()


def test_without_room_the_damaged_ledger_stays(recorded, monkeypatch):
    damage(recorded)

    def full(state, fresh):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rebuilding, "_swap", full)
    with pytest.raises(RequestError, match=r"cannot be written.*No space left"):
        rebuild_ledger(recorded.output)
    assert (recorded.state / NAME).read_bytes().startswith(b"SQLite format 3\0\0")
    assert not list(recorded.state.glob("rebuilt-*"))


def test_a_batch_that_nothing_tells_of_is_forgotten(recorded):
    note = registry() / f"{recorded.name}.json"
    assert note.exists()
    recorded.manifest.unlink()
    shutil.rmtree(recorded.logs)
    damage(recorded)
    assert rebuild_ledger(recorded.output)[1] == [RebuiltBatch(recorded.name)]
    assert not note.exists()
