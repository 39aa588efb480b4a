"""Rows with values that their columns cannot have."""

import sqlite3
from contextlib import closing

import pytest

from calbatch.cluster.ledger import Ledger, LedgerError, View
from calbatch.cluster.ledger.salvage import is_intact
from calbatch.cluster.ledger.store import NAME


def read_all(folder):
    with View(folder) as view:
        for row in view.batches():
            list(view.exposures(row.id))
            view.events(row.id)


DAMAGED_CELLS = [
    ("batches", "state", "{"), ("batches", "total", "x"), ("batches", "created", 1e300),
    ("batches", "created", 2**62), ("batches", "request", "{"), ("batches", "software", "[1]"),
    ("exposures", "state", "x"), ("exposures", "number", b"\xff"), ("exposures", "seconds", "x"),
    ("exposures", "warnings", "9" * 5000), ("events", "text", b"\xff\x00"), ("events", "time", "y"),
]  # fmt: skip


def test_a_time_in_a_column_of_another_type_is_checked_as_well(tmp_path):
    """SQLite stores integers as floats only as long as the schema says so."""
    with Ledger(tmp_path) as ledger:
        ledger.add_batch("a", "jump", ["/x_uncal.fits"], request={}, parameters={}, software={})
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'created REAL', 'created')")
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as connection:
        connection.execute("UPDATE batches SET created = ?", (2**62,))
    with pytest.raises(LedgerError, match="created is "):
        read_all(tmp_path)


@pytest.mark.parametrize(("table", "column", "value"), DAMAGED_CELLS)
def test_an_impossible_value_is_reported_as_damage(tmp_path, table, column, value):
    with Ledger(tmp_path) as ledger:
        batch = ledger.add_batch(
            "a", "jump", ["/x_uncal.fits"], request={}, parameters={}, software={}
        )
        ledger.add_event(batch, "note", "text")
    connection = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    connection.close()
    with pytest.raises(LedgerError) as caught:
        read_all(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / NAME}: not a ledger, or damaged (")
    assert f"{column} is " in str(caught.value)
    assert not is_intact(tmp_path)  # otherwise `rebuild` would not repair it
