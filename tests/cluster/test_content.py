"""Digests of inputs: recorded in the ledger, and verified on request."""

import hashlib
import json
import os
import shutil
import sqlite3
import zlib

import pytest
import xxhash
from support.batches import DATE, calbatch, quiet_console

from calbatch import cluster
from calbatch.calibrate.step import Step
from calbatch.cluster.ledger import Ledger, View
from calbatch.cluster.ledger.schema import MIGRATIONS
from calbatch.cluster.ledger.store import NAME
from calbatch.models.datamodels import RampModel

HOW = {"scheduler": "sync", "date": DATE, "fsync": False}


@pytest.fixture
def exposures(simulated, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for path in simulated.exposures:
        shutil.copy2(path, folder)
    return sorted(folder.iterdir())


@pytest.fixture
def run(exposures, tmp_path):
    def again(**options):
        return cluster.run(
            "superbias", exposures, tmp_path / "out", console=quiet_console(), **{**HOW, **options}
        )

    return again


def digest_of(path):
    return f"xxh128:{xxhash.xxh128_hexdigest(path.read_bytes())}"


def contents(result):
    with View(result.folder.state) as view:
        return [row.content for row in view.exposures(result.batch.id)]


def alter(path, position=None):
    """Change one byte of a file, and keep its size and time."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(status.st_size // 2 if position is None else position)
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("scheduler", "grain"),
    [("sync", "auto"), ("threads", "auto"), ("local", "exposure"), ("local", "tile")],
)
def test_all_schedulers_record_the_same_digests(run, exposures, scheduler, grain):
    how = {"workers": 2} if scheduler != "sync" else {}
    result = run(scheduler=scheduler, grain=grain, tile_rows=7, **how)
    assert contents(result) == [digest_of(path) for path in exposures]
    entries = json.loads(result.folder.manifest.read_text())["exposures"]
    assert [entry["content"] for entry in entries] == contents(result)
    assert [outcome.content for outcome in result.outcomes] == contents(result)


def test_the_digest_of_a_compressed_input_is_of_its_compressed_bytes(run, exposures, tmp_path):
    import gzip

    packed = tmp_path / "in" / f"{exposures[0].name}.gz"
    packed.write_bytes(gzip.compress(exposures[0].read_bytes()))
    result = cluster.run("superbias", packed, tmp_path / "out", console=quiet_console(), **HOW)
    assert contents(result) == [digest_of(packed)]


def test_altered_pixels_are_found_only_with_verify(run, exposures, tmp_path):
    first = run()
    before = contents(first)
    alter(exposures[1])
    kept = run()
    assert kept.counts == {"kept": 3}
    assert contents(kept) == before
    completed = calbatch("plan", "superbias", *exposures, "-o", tmp_path / "out", "--date", DATE)
    assert "3 exposures already done, with intact products" in completed.out
    completed = calbatch(
        "plan", "superbias", *exposures, "-o", tmp_path / "out", "--date", DATE, "--verify"
    )
    assert f"done again: {exposures[1]}: its contents have changed" in completed.out
    again = run(verify=True)
    assert again.counts == {"kept": 2, "done": 1}
    assert contents(again) == [digest_of(path) for path in exposures] != before
    with View(again.folder.state) as view:
        (_, second, _) = view.exposures(again.batch.id)
    assert second.note == "its contents have changed, though its size, time and header have not"
    assert f"{exposures[1]}: {second.note}" in calbatch("logs", tmp_path / "out").out
    assert run(verify=True).counts == {"kept": 3}


def test_an_altered_header_is_found_only_with_verify(run, exposures):
    run()
    with exposures[2].open("rb") as file:
        position = file.read(28800).index(b"TITLE   =")
    alter(exposures[2], position + 12)
    assert run().counts == {"kept": 3}
    again = run(verify=True)
    assert again.counts == {"kept": 2, "done": 1}
    with View(again.folder.state) as view:
        (_, _, third) = view.exposures(again.batch.id)
    assert third.note == "its header has changed, though its size and time have not"
    assert third.content == digest_of(exposures[2])


def test_a_ledger_without_digests_stays_usable(run, exposures, tmp_path):
    first = run()
    ledger = first.folder.state / NAME
    _as_of_version_1(ledger)
    with View(first.folder.state) as view:  # still read as it was
        assert [row.content for row in view.exposures(view.batch(first.name).id)] == [None] * 3
    assert calbatch("status", tmp_path / "out").status == 0
    kept = run()
    assert kept.counts == {"kept": 3}
    assert contents(kept) == [None] * 3
    with sqlite3.connect(ledger) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    verified = run(verify=True)  # no digest to compare with yet
    assert verified.counts == {"kept": 3}
    assert contents(verified) == [digest_of(path) for path in exposures]


def test_sha256_digests_of_an_older_ledger_are_compared(run, exposures):
    ledger = run().folder.state / NAME
    older = [f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in exposures]
    with sqlite3.connect(ledger) as connection:
        connection.executemany(
            "UPDATE exposures SET content = ? WHERE number = ?",
            [(content, number) for number, content in enumerate(older)],
        )
    alter(exposures[1])
    verified = run(verify=True)
    assert verified.counts == {"kept": 2, "done": 1}
    assert contents(verified) == [older[0], digest_of(exposures[1]), older[2]]


def _as_of_version_1(path):
    """Remove the additions of later schema versions from a ledger."""
    with View(path.parent) as view:
        versions = [(place, *found[:2]) for place, found in view.inputs().items()]
        headers = view.find_headers(versions)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE inputs")
        connection.execute("CREATE TABLE inputs (path PRIMARY KEY, size, mtime_ns, digest, header)")
        for place, *version in versions:
            known = headers[place]
            values = place, *version, known.digest, zlib.compress(json.dumps(known.header).encode())
            connection.execute("INSERT INTO inputs VALUES (?, ?, ?, ?, ?)", values)
        for column in ("content", "pipeline", "product", "members"):
            connection.execute(f"ALTER TABLE exposures DROP COLUMN {column}")
        connection.execute("DROP TABLE members")
        connection.execute("DROP TABLE statistics")
        connection.execute("PRAGMA user_version = 1")


def test_an_old_ledger_is_migrated_to_the_tables_of_a_new_one(tmp_path):
    (tmp_path / "old").mkdir()
    with sqlite3.connect(tmp_path / "old" / NAME) as connection:
        connection.executescript(f"{MIGRATIONS[0]}PRAGMA user_version = 1;")
    for name in ("old", "new"):
        Ledger(tmp_path / name).close()
    assert _columns(tmp_path / "old") == _columns(tmp_path / "new")


def _columns(folder):
    query = (
        "SELECT t.name, c.name, c.type FROM sqlite_master AS t, pragma_table_info(t.name) AS c "
        "WHERE t.type = 'table'"
    )
    with sqlite3.connect(folder / NAME) as connection:
        return sorted(connection.execute(query).fetchall())


def test_an_input_changed_without_a_trace_is_calibrated_again(simulated, exposures, tmp_path):
    """Its size and time are restored, as by a copy that preserves times."""

    class Meddling(Step):
        def process(self, exposure):
            if exposure.path == exposures[1] and not (tmp_path / "done").exists():
                (tmp_path / "done").touch()
                alter(exposures[1])
            return RampModel(exposure)

    result = cluster.run(Meddling, exposures, tmp_path / "out", console=quiet_console(), **HOW)
    assert result.counts == {"done": 3}
    assert contents(result) == [digest_of(path) for path in exposures]
    with View(result.folder.state) as view:
        (_, second, _) = view.exposures(result.batch.id)
        assert [a.result for a in view.attempts(second.id)] == ["changed", "done"]
