"""A ledger of which a value is not what its column says."""

import sqlite3

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


@pytest.mark.parametrize(("table", "column", "value"), DAMAGED_CELLS)
def test_a_value_that_its_column_cannot_have_is_told(tmp_path, table, column, value):
    with Ledger(tmp_path) as ledger:
        batch = ledger.add_batch(
            "a", "jump", ["/x_uncal.fits"], request={}, parameters={}, software={}
        )
        ledger.add_event(batch, "note", "text")
    connection = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    connection.close()
    with pytest.raises(LedgerError) as told:
        read_all(tmp_path)
    assert str(told.value).startswith(f"{tmp_path / NAME}: is no ledger, or a damaged one (")
    assert f"{column} is " in str(told.value)
    assert not is_intact(tmp_path)  # or `rebuild` would do nothing about it
