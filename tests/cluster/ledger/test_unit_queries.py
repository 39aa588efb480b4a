"""Members of units in the ledger."""

import sqlite3
from contextlib import closing

from support.fakes import exposure_path

from calbatch.cluster.exposure.unit import Member, Unit
from calbatch.cluster.ledger import Ledger, ProductRow, View
from calbatch.cluster.ledger.records import OPEN
from calbatch.cluster.ledger.schema import MIGRATIONS

UNITS = [
    Unit(1, exposure_path(1), (Member("science", "/out/0_rate.fits", 0),), "image2", ""),
    Unit(2, exposure_path(2), (
        Member("science", "/out/1_cal.fits", 1),
        Member("background", "/in/b.fits", None, optional=True),
    ), "", "target"),
]  # fmt: skip


def write(folder, units=UNITS):
    ledger = Ledger(folder)
    paths = [str(exposure_path(n)) for n in range(3)]
    return ledger, ledger.add_batch(
        "b", "jump", paths, request={}, parameters={}, software={}, units=units
    )


def test_units_are_read_as_they_were_stored(tmp_path):
    ledger, batch = write(tmp_path)
    with ledger:
        assert list(ledger.units(batch, *OPEN)) == UNITS
        ledger.update_exposure(batch, 1, state="done")
        ledger.commit()
        assert list(ledger.units(batch, *OPEN)) == UNITS[1:]
    with View(tmp_path) as view:
        assert list(view.units(batch)) == UNITS
        assert [row.members for row in view.exposures(batch)] == [0, 1, 2]


def test_finished_makers_have_identities_and_products(tmp_path):
    ledger, batch = write(tmp_path)
    with ledger:
        assert ledger.finished_makers(batch) == []
        ledger.update_exposure(batch, 0, state="kept", identity="i")
        ledger.set_products(batch, 0, [ProductRow("/out/0_rate.fits", 1, 2, "d")])
        ledger.update_exposure(batch, 1, state="failed")
        ledger.update_exposure(batch, 2, state="done", identity="j")  # nobody waits for it
        ledger.commit()
        first, second = ledger.finished_makers(batch)
    assert first == (0, str(exposure_path(0)), "kept", "i", ["/out/0_rate.fits"])
    assert (second.state, second.products) == ("failed", [])


def test_a_batch_of_files_has_no_members(tmp_path):
    ledger, batch = write(tmp_path, [])
    with ledger:
        assert not ledger.has_members(batch)
        assert list(ledger.units(batch, *OPEN)) == []
        assert len(list(ledger.unfinished_exposures(batch))) == 3


def test_removing_a_batch_removes_its_members(tmp_path):
    ledger, batch = write(tmp_path)
    with ledger:
        ledger.remove_batch(batch)
        assert list(ledger._rows("SELECT * FROM members")) == []


def test_an_older_ledger_is_read_and_migrated(tmp_path):
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as old:
        old.executescript(f"{MIGRATIONS[0]}{MIGRATIONS[1]} PRAGMA user_version = 2;")
        old.execute("INSERT INTO exposures (batch, number, path) VALUES (1, 0, '/a')")
        old.commit()
    with View(tmp_path) as view:
        assert list(view.units(1)) == []
        assert [row.members for row in view.exposures(1)] == [None]
    with Ledger(tmp_path) as ledger:
        assert list(ledger.unfinished_exposures(1)) == [(0, "/a")]
        assert not ledger.has_members(1)


def test_units_that_wait_for_others_are_counted_and_named(tmp_path):
    ledger, batch = write(tmp_path)
    with ledger:
        assert ledger.count_held(batch) == 2
        assert ledger.find_held(batch, 1) == {str(exposure_path(1)): [str(exposure_path(0))]}
        ledger.update_exposure(batch, 0, state="done")
        ledger.commit()
        assert ledger.count_held(batch) == 1
        assert ledger.find_held(batch, 5) == {"target": [str(exposure_path(1))]}
