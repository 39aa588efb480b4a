"""Damaged ledgers, and ledgers rebuilt from them."""

import json
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from support.batches import DATE, calbatch, products_in, quiet_console

from calbatch import cluster
from calbatch.cluster.batch.rebuilding import rebuild_ledger
from calbatch.cluster.folder import find_registered, state_of
from calbatch.cluster.ledger import Ledger, ProductRow, View
from calbatch.cluster.ledger.salvage import copy_rows, is_intact
from calbatch.cluster.ledger.store import NAME

HOW = {"scheduler": "sync", "date": DATE, "fsync": False}
PAGE = 4096


@pytest.fixture
def out(simulated, tmp_path, monkeypatch):
    """Return the output folder of a batch that is done."""
    monkeypatch.setenv("CALBATCH_STATE_DIR", str(tmp_path / "notes"))
    assert run(simulated.exposures, tmp_path / "out").exit_status == 0
    return tmp_path / "out"


def run(exposures, out, **more):
    return cluster.run("superbias", exposures, out, console=quiet_console(), **HOW, **more)


def ledger(out):
    return state_of(out) / NAME


def scribble(path, pages=None, seed=0):
    """Overwrite pages of a file with noise; all pages by default."""
    noise = random.Random(seed)
    with path.open("r+b") as file:
        for page in pages_of(path) if pages is None else pages:
            file.seek(page * PAGE)
            file.write(noise.randbytes(PAGE))


def pages_of(path):
    return range(path.stat().st_size // PAGE)


def stamps(out):
    return {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in products_in(out)}


def test_an_overwritten_ledger_is_rebuilt_from_its_manifest(simulated, out):
    before = stamps(out)
    scribble(ledger(out))
    noise = ledger(out).read_bytes()
    completed = calbatch("rebuild", out)
    assert completed.status == 0, completed.err
    assert "3 of 3 exposures done" in completed.out
    [aside] = state_of(out).glob("ledger.damaged-*.sqlite")
    assert aside.read_bytes() == noise
    assert str(aside) in completed.out
    assert calbatch("status", out).status == 0
    assert run(simulated.exposures, out).counts == {"kept": 3}
    assert stamps(out) == before


def test_a_damaged_page_loses_only_its_own_rows(simulated, out):
    """Without a manifest, as after a kill of the driver, only the rows are left."""
    whole = ledger(out).read_bytes()
    for manifest in state_of(out).glob("*/manifest.json"):
        manifest.unlink()
    done = []
    for page in pages_of(ledger(out)):
        ledger(out).write_bytes(whole)
        scribble(ledger(out), [page], seed=page)
        rebuild_ledger(out)
        assert is_intact(state_of(out))
        with View(state_of(out)) as view:
            done.append(sum(view.counts(batch.id).get("done", 0) for batch in view.batches()))
    assert set(done) <= {0, 3}
    assert done.count(3) > len(done) / 2
    assert done[0] == 0  # without its first page the file is no database


def test_exposures_with_damaged_products_are_not_done(simulated, out):
    first, second, _ = products_in(out)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-2880] + bytes(2880))
    scribble(ledger(out))
    assert "1 of 3 exposures done" in calbatch("rebuild", out).out
    completed = calbatch("status", out)
    assert completed.status == 130
    assert "1 of 3 exposures known to be done" in completed.out
    assert calbatch("resume", out).status == 0
    assert len(products_in(out)) == 3


def test_an_input_that_has_changed_since_is_done_again(simulated, out, tmp_path):
    (tmp_path / "in").mkdir()
    paths = [shutil.copy(path, tmp_path / "in") for path in simulated.exposures]
    other = tmp_path / "other"
    assert run(paths, other).exit_status == 0
    shutil.copy(simulated.exposures[1], paths[0])
    scribble(ledger(other))
    rebuild_ledger(other)
    assert run(paths, other).counts == {"done": 1, "kept": 2}


def test_other_parameters_calibrate_again_after_a_rebuild(simulated, out):
    scribble(ledger(out), [0])
    rebuild_ledger(out)
    again = run(simulated.exposures, out, parameters={"suffix": "other"})
    assert again.counts == {"done": 3}


@pytest.mark.parametrize("text", ["{", "null", '{"exposures": 3}'])
def test_a_damaged_manifest_does_not_prevent_a_rebuild(simulated, out, text):
    [manifest] = state_of(out).glob("*/manifest.json")
    manifest.write_text(text)
    scribble(ledger(out))
    completed = calbatch("rebuild", out)
    assert completed.status == 0, completed.err
    assert "nothing is known about it" in completed.out
    assert list(find_registered()) == []
    assert run(simulated.exposures, out).counts == {"done": 3}


def test_a_manifest_that_says_something_else_does_no_harm(simulated, out):
    [manifest] = state_of(out).glob("*/manifest.json")
    whole = manifest.read_text()
    for seed in range(30):
        chance = random.Random(seed)
        manifest.write_text(json.dumps(mutate(json.loads(whole), chance)))
        scribble(ledger(out))
        rebuild_ledger(out)
        assert is_intact(state_of(out))
        with View(state_of(out)) as view:
            for batch in view.batches():
                for _, _, products in view.exposures_in_full(batch.id):
                    assert {p.path for p in products} <= {str(p) for p in products_in(out)}
    assert run(simulated.exposures, out).exit_status == 0
    assert len(products_in(out)) == 3


def mutate(told, chance):
    """Return a manifest in which each exposure has one wrong value."""
    for entry in told["exposures"]:
        place = chance.choice([entry, *entry["products"]])
        name = chance.choice(sorted(place))
        place[name] = chance.choice([None, 7, "x", [], {}, -1, 2**70])
    return told


def test_an_intact_ledger_is_left_alone(simulated, out):
    before = ledger(out).read_bytes()
    completed = calbatch("rebuild", out)
    assert (completed.status, ledger(out).read_bytes()) == (0, before)
    assert "intact" in completed.out


def test_a_ledger_in_use_is_left_alone(simulated, out):
    with Ledger(state_of(out)):
        scribble(ledger(out), [0])
        damaged = ledger(out).read_bytes()
        completed = calbatch("rebuild", out)
    assert completed.status == 2
    assert "a batch is running there" in completed.err
    assert ledger(out).read_bytes() == damaged


def test_a_folder_without_batches_has_nothing_to_rebuild(tmp_path):
    completed = calbatch("rebuild", tmp_path)
    assert completed.status == 2
    assert "there are no batches" in completed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(8))
def test_an_exposure_keeps_all_of_its_products_or_none(tmp_path, seed):
    with Ledger(tmp_path / "old") as old:
        paths = [f"/{number}.fits" for number in range(400)]
        batch = old.add_batch("b", "p", paths, request={}, parameters={}, software={})
        for number in range(400):
            rows = [ProductRow(f"/{number}-{n}.fits", 1, 2, "d" * 60) for n in range(2)]
            old.update_exposure(batch, number, state="done", identity=str(number))
            old.set_products(batch, number, rows)
    pages = pages_of(tmp_path / "old" / NAME)
    scribble(tmp_path / "old" / NAME, random.Random(seed).sample(pages[1:], 3), seed)
    Ledger(tmp_path / "new").close()
    with sqlite3.connect(tmp_path / "new" / NAME) as connection:
        connection.row_factory = sqlite3.Row
        copy_rows(tmp_path / "old" / NAME, connection)
        query = "SELECT count(*) FROM products GROUP BY exposure"
        assert {row[0] for row in connection.execute(query)} <= {2}
    assert is_intact(tmp_path / "new")


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("lose", [empty, Path.unlink])
def test_an_emptied_or_missing_ledger_is_damaged(lose, simulated, out):
    """SQLite treats an empty file as a new database, and creates a missing one."""
    before, [batch] = stamps(out), find_registered()
    lose(ledger(out))
    how = ("-o", out, "--scheduler", "sync", "--date", DATE)
    for command in (
        ("status", out),
        ("run", "superbias", simulated.exposures[0], *how),
        ("resume", batch.name),
    ):
        completed = calbatch(*command)
        assert (command, completed.status) == (command, 2)
        assert f"calbatch rebuild {out}" in completed.err
    assert "damaged ledger" in calbatch("list").out
    calbatch("prune", "--older-than", "0")
    assert [folder.name for folder in find_registered()] == [batch.name]
    completed = calbatch("rebuild", out)
    assert "3 of 3 exposures done" in completed.out
    assert run(simulated.exposures, out).counts == {"kept": 3}
    assert stamps(out) == before


def test_a_kill_while_ledgers_are_swapped_leaves_one(out, monkeypatch):
    scribble(ledger(out))

    def interrupt(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            rebuild_ledger(out)
    assert ledger(out).exists()
    left = state_of(out) / "rebuilt-0123"
    left.mkdir()
    assert calbatch("rebuild", out).status == 0
    assert calbatch("status", out).status == 0
    assert not left.exists()
