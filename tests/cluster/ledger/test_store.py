"""The ledger: one writer, many readers, no loss."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import eventually

from calbatch.cluster.ledger import Ledger, LedgerError, ProductRow, View
from calbatch.cluster.ledger.schema import MIGRATIONS
from calbatch.cluster.ledger.store import NAME

PATHS = [f"/data/{i}_uncal.fits" for i in range(5)]


def begin_batch(ledger, name="a", paths=PATHS):
    return ledger.add_batch(
        name, "jump", paths, request={"x": 1}, parameters={}, software={"y": "2"}
    )


def test_exposures_in_full_agree_with_single_queries(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.set_products(
            begin_batch(ledger, "other"), 0, [ProductRow("/elsewhere.fits", 1, 2, "x")]
        )
        batch = begin_batch(ledger)
        for digest in ("r1", "r2"):
            ledger.add_body(digest, {"dark": [f"/{digest}.fits", "sha"]})
        for number, digest in ((3, "r1"), (0, "r2"), (4, "r1")):
            ledger.update_exposure(batch, number, state="done", refs=digest)
        for number, count in ((3, 2), (0, 1), (2, 3)):
            rows = [ProductRow(f"/{number}-{n}.fits", n, n, "d") for n in range(count)]
            ledger.set_products(batch, number, rows)
    with View(tmp_path) as view:
        rows = list(view.exposures(batch))
        wanted = [(row, view.references(row.id), view.products(row.id)) for row in rows]
        assert list(view.exposures_in_full(batch)) == wanted
        assert [len(products) for _, _, products in wanted] == [1, 0, 3, 2, 0]


class Interrupted:
    """A connection whose n-th statement is interrupted, before or after it has been executed."""

    def __init__(self, connection, number, *, after):
        self._connection, self._left, self._after = connection, number, after

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, *statement):
        self._left -= 1
        if self._left == 0 and not self._after:
            raise KeyboardInterrupt
        cursor = self._connection.execute(*statement)
        if self._left == 0:
            raise KeyboardInterrupt
        return cursor


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, 6))
def test_an_interrupted_commit_is_neither_lost_nor_repeated(tmp_path, number, after):
    """BEGIN, three changes and COMMIT are interrupted in turn."""
    with Ledger(tmp_path) as ledger:
        batch = begin_batch(ledger)
        for attempt in (1, 2):
            ledger.add_attempt(batch, 0, number=attempt, result="death")
        ledger.update_exposure(batch, 0, attempts=2)
        connection = ledger._connection
        ledger._connection = Interrupted(connection, number, after=after)
        with pytest.raises(KeyboardInterrupt):
            ledger.commit()
        ledger._connection = connection
        assert ledger.commit()
    with View(tmp_path) as view:
        [row, *_] = view.exposures(batch)
        assert row.attempts == 2
        assert [attempt.number for attempt in view.attempts(row.id)] == [1, 2]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_interrupted_batch_is_not_added(tmp_path, number):
    with Ledger(tmp_path) as ledger:
        connection = ledger._connection
        ledger._connection = Interrupted(connection, number, after=False)
        with pytest.raises(KeyboardInterrupt):
            begin_batch(ledger)
        ledger._connection = connection
        batch = begin_batch(ledger, "later")
        assert ledger.commit()
    with View(tmp_path) as view:
        assert len(list(view.exposures(batch))) == len(PATHS)


def test_the_ledger_is_private_to_its_user(tmp_path):
    with Ledger(tmp_path / "state"):
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        for path in (tmp_path / "state").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_second_writer_is_refused_and_the_first_is_named(tmp_path):
    with Ledger(tmp_path), pytest.raises(LedgerError, match=f"by process {os.getpid()} on"):
        Ledger(tmp_path)
    Ledger(tmp_path).close()


def test_a_second_writer_is_refused_even_if_the_first_is_unknown(tmp_path):
    with Ledger(tmp_path):
        (tmp_path / "driver").unlink()
        with pytest.raises(LedgerError, match="driven by another process; "):
            Ledger(tmp_path)


def test_no_batch_is_added_to_a_full_disk(tmp_path):
    with Ledger(tmp_path) as ledger:
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        batch = begin_batch(ledger)
        ledger.add_event(batch, "note", "x" * 100_000)
        with pytest.raises(LedgerError, match="the disk is full"):
            begin_batch(ledger, "b")


def test_damage_is_reported_by_queries(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger._connection.execute("DROP TABLE refs")
        with pytest.raises(LedgerError, match="damaged"):
            ledger.find_checksum("/r", 1, 2)


def test_a_header_is_found_while_the_file_is_unchanged(tmp_path):
    with Ledger(tmp_path) as ledger:
        ledger.add_header("/a", 1, 2, "digest", {"meta.x": 3.5, "meta.y": "é"})
        ledger.add_reference("/r", 4, 5, "sha")
        ledger.commit()
        own = "digest", {"meta.x": 3.5, "meta.y": "é"}
        assert ledger.find_headers([("/a", 1, 2), ("/b", 1, 2)]) == {"/a": own}
        assert ledger.find_headers([("/a", 1, 3)]) == {}
        assert ledger.find_headers([("/a", 2, 2)]) == {}
        assert ledger.find_checksum("/r", 4, 5) == "sha"
        assert ledger.find_checksum("/r", 4, 6) is None


def test_a_ledger_of_a_later_version_is_refused(tmp_path):
    Ledger(tmp_path).close()
    with sqlite3.connect(tmp_path / NAME) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(LedgerError, match="written by a later version of calbatch"):
        Ledger(tmp_path)
    with pytest.raises(LedgerError, match="is not between 1 and"):
        View(tmp_path)


def test_a_file_that_is_not_a_ledger_is_refused(tmp_path):
    (tmp_path / NAME).write_text("not a database, but long enough to be taken for one" * 30)
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger(tmp_path)
    with pytest.raises(LedgerError):
        View(tmp_path)
    with pytest.raises(LedgerError, match="there is no ledger"):
        View(tmp_path / "elsewhere")


WRITER = """
import sys, time
from pathlib import Path
from calbatch.cluster.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
batch = ledger.add_batch("a", "jump", [str(i) for i in range(20000)], request={}, parameters={},
                     software={})
ledger.set_driver(batch, "local", None)
print("begun", flush=True)
for number in range(20000):
    ledger.update_exposure(batch, number, state="done", identity=str(number))
    ledger.tick()
    time.sleep(0.0005)
"""


@pytest.fixture
def writer(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n"
    yield process
    process.kill()
    process.communicate()


def test_a_ledger_can_be_read_while_it_is_written(tmp_path, writer):
    counts = [count_done(tmp_path)]

    def has_grown():
        counts.append(count_done(tmp_path))
        return counts[-1] > counts[-2]

    for _ in range(4):
        eventually(has_grown)
    assert counts == sorted(counts)
    assert writer.poll() is None


def count_done(folder):
    with View(folder) as view:
        return view.counts(view.batch("a").id).get("done", 0)


def test_a_killed_writer_leaves_an_intact_ledger(tmp_path, writer):
    eventually(lambda: count_done(tmp_path) > 100)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    with View(tmp_path) as view:  # rolls back the interrupted commit
        counts = view.counts(view.batch("a").id)
    assert sum(counts.values()) == 20000
    assert counts["done"] > 100
    with Ledger(tmp_path) as ledger:  # the lock was released with the process
        assert len(list(ledger.unfinished_exposures(ledger.batch("a").id))) == counts["waiting"]


def test_a_full_disk_loses_nothing(tmp_path):
    """A limit on the file's size stands for a full disk."""
    import resource

    with Ledger(tmp_path) as ledger:
        batch = begin_batch(ledger)
        size = (tmp_path / NAME).stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            for number in range(5):
                ledger.update_exposure(
                    batch, number, state="done", warnings=json.dumps(["x" * 9000])
                )
            assert not ledger.commit()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert ledger.commit()
    with View(tmp_path) as view:
        assert view.counts(batch) == {"done": 5}


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["running", "done", "failed", "retrying"])),
        max_size=30,
    )
)
def test_the_latest_state_of_each_exposure_counts(tmp_path_factory, changes):
    with Ledger(tmp_path_factory.mktemp("ledger")) as ledger:
        batch = begin_batch(ledger)
        wanted = dict.fromkeys(range(5), "waiting")
        for number, state in changes:
            ledger.update_exposure(batch, number, state=state)
            wanted[number] = state
        ledger.commit()
        open_ = {n for n, s in wanted.items() if s in ("waiting", "running", "retrying")}
        assert {n for n, _ in ledger.unfinished_exposures(batch)} == open_
        ledger.end_batch(batch, "interrupted")
        left = {n for n, s in wanted.items() if s not in ("done", "failed")}
        assert {n for n, _ in ledger.unfinished_exposures(batch)} == left


class TestBatches:
    @pytest.fixture
    def ledger(self, tmp_path):
        with Ledger(tmp_path) as opened:
            yield opened

    def rows(self, ledger, table="exposures"):
        ledger.commit()
        return list(ledger._rows(f"SELECT * FROM {table} ORDER BY id"))

    def test_a_batch_begins_as_planned_with_notes(self, ledger):
        batch = ledger.add_batch(
            "a", "jump", PATHS, request={}, parameters={}, software={}, notes={PATHS[1]: "why"}
        )
        row = ledger.batch("a")
        assert (row.id, row.state, row.total, row.pipeline) == (batch, "planned", 5, "jump")
        assert [exposure["note"] for exposure in self.rows(ledger)] == ["", "why", "", "", ""]
        with pytest.raises(LedgerError, match="has no batch b"):
            ledger.batch("b")

    def test_two_batches_cannot_have_one_name(self, ledger):
        begin_batch(ledger)
        with pytest.raises(LedgerError):
            begin_batch(ledger)
        assert len(self.rows(ledger, "batches")) == 1

    def test_a_driver_is_recorded_with_its_heartbeats(self, ledger, monkeypatch):
        monkeypatch.setattr("calbatch.cluster.ledger.store.BEAT_EVERY", 0.01)
        batch = begin_batch(ledger)
        ledger.set_driver(batch, "local", "http://dashboard")
        row = ledger.batch("a")
        assert (row.state, row.pid, row.dashboard) == ("running", os.getpid(), "http://dashboard")
        ledger.set_dashboard(batch, "")
        eventually(lambda: ledger.batch("a").beat > row.beat)
        assert ledger.batch("a").dashboard == "http://dashboard"  # left to the driver
        assert ledger.tick()
        assert ledger.batch("a").dashboard == ""

    def test_changes_are_committed_now_and_then(self, ledger, monkeypatch):
        batch, commits = begin_batch(ledger), ledger.commits
        monkeypatch.setattr("calbatch.cluster.ledger.store.COMMIT_EVERY", 1e9)
        ledger.set_context(batch, "jwst_1.pmap", "as requested")
        assert not ledger.tick()
        monkeypatch.setattr("calbatch.cluster.ledger.store.COMMIT_EVERY", 0.0)
        assert ledger.tick()
        assert ledger.commits == commits + 1
        assert ledger.tick()
        assert ledger.commits == commits + 1
        assert ledger.batch("a").context == "jwst_1.pmap"

    def test_an_ended_batch_has_no_running_exposures(self, ledger):
        batch = begin_batch(ledger)
        ledger.set_driver(batch, "local", None)
        for number, state in enumerate(("running", "retrying", "done")):
            ledger.update_exposure(batch, number, state=state, attempts=1)
        assert ledger.end_batch(batch, "interrupted", "cancelled")
        row = ledger.batch("a")
        assert (row.state, row.reason, row.pid) == ("interrupted", "cancelled", 0)
        assert [e["state"] for e in self.rows(ledger)] == ["waiting"] * 2 + ["done"] + [
            "waiting"
        ] * 2
        lost = [(a["exposure"], a["result"], a["reason"]) for a in self.rows(ledger, "attempts")]
        assert sorted(lost) == [(1, "lost", "cancelled"), (2, "lost", "cancelled")]

    def test_an_attempt_is_lost_only_once(self, ledger):
        batch = begin_batch(ledger)
        ledger.update_exposure(batch, 0, state="running", attempts=1)
        ledger.add_lost_attempts(batch, "its driver ended")
        ledger.set_driver(batch, "local", None)
        ledger.end_batch(batch, "interrupted")
        assert len(self.rows(ledger, "attempts")) == 1

    def test_failed_exposures_can_be_reopened(self, ledger):
        batch = begin_batch(ledger)
        for number, state in enumerate(("failed", "quarantined", "done", "kept")):
            ledger.update_exposure(batch, number, state=state, reason="r")
        ledger.end_batch(batch, "failed")
        ledger.reopen_failed(batch)
        states = [e["state"] for e in self.rows(ledger)]
        assert states == ["waiting", "waiting", "done", "kept", "waiting"]
        assert ledger.batch("a").state == "planned"

    def test_batches_recorded_as_running_are_found_but_for_one(self, ledger):
        first, second = begin_batch(ledger, "a"), begin_batch(ledger, "b")
        ledger.set_driver(first, "local", None)
        assert ledger.running_batches(first) == []
        assert [row.name for row in ledger.running_batches(second)] == ["a"]

    def test_a_removed_batch_leaves_the_others(self, ledger):
        batch, other = begin_batch(ledger, "a"), begin_batch(ledger, "b")
        for number in (batch, other):
            ledger.add_attempt(number, 0, number=1, result="done")
            ledger.set_products(number, 0, [ProductRow("/a.fits", 1, 2, "d")])
            ledger.add_event(number, "note", "text")
        ledger.remove_batch(batch)
        for table in ("batches", "attempts", "products", "events"):
            assert len(self.rows(ledger, table)) == 1
        assert len(self.rows(ledger)) == 5

    def test_products_replace_earlier_ones_of_the_same_exposure(self, ledger):
        batch = begin_batch(ledger)
        for name in ("a", "b"):
            ledger.set_products(batch, 0, [ProductRow(f"/{name}.fits", 1, 2, "d")])
        assert [row["path"] for row in self.rows(ledger, "products")] == ["/b.fits"]

    def test_damage_is_raised_when_changes_are_committed(self, ledger):
        begin_batch(ledger)
        ledger._connection.execute("DROP TABLE events")
        ledger.add_event(1, "note", "text")
        with pytest.raises(LedgerError, match="damaged"):
            ledger.commit()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "ledger.lock").mkdir()
    with pytest.raises(LedgerError, match="cannot write to"):
        Ledger(tmp_path)


def test_a_database_that_cannot_be_opened_releases_the_lock(tmp_path):
    (tmp_path / NAME).mkdir()
    for _ in range(2):
        with pytest.raises(LedgerError, match="cannot write to"):
            Ledger(tmp_path)
