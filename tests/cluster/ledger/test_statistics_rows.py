"""Statistics of products in the ledger: as they were recorded, or None."""

import sqlite3
from dataclasses import replace

import pytest
from support.measured_batches import record_measured, statistics_of

from calbatch.cluster.ledger import Ledger, View
from calbatch.cluster.ledger.store import NAME


def read(folder):
    with View(folder.state) as view:
        return list(view.measured_products(view.batch(folder.name).id))


def change(folder, statement, *values):
    with sqlite3.connect(folder.state / NAME) as connection:
        connection.execute(statement, values)


def test_statistics_are_read_as_they_were_recorded(tmp_path):
    found = {0: [statistics_of(0), None], 1: [], 2: [replace(statistics_of(2), quick_look=None)]}
    read_back = read(record_measured(tmp_path, found))
    assert [(each.number, each.statistics) for each in read_back] == [
        (0, found[0][0]), (0, None), (2, found[2][0]),
    ]  # fmt: skip


def test_a_batch_that_keeps_products_has_their_statistics(tmp_path):
    folder = record_measured(tmp_path, {0: [statistics_of(0)]})
    with View(folder.state) as view:
        products = view.products(view.exposure(view.batch(folder.name).id, 0).id)
    with Ledger(folder.state) as ledger:
        later = ledger.add_batch("b", "jump", ["/in/a"], request={}, parameters={}, software={})
        ledger.set_products(later, 0, products)
        ledger.commit()
    with View(folder.state) as view:
        (found,) = view.measured_products(later)
    assert found.statistics == statistics_of(0)


def test_statistics_go_with_the_last_batch_that_names_the_product(tmp_path):
    folder = record_measured(tmp_path, {0: [statistics_of(0)]})
    with Ledger(folder.state) as ledger:
        ledger.remove_batch(ledger.batch(folder.name).id)
    with View(folder.state) as view:
        assert list(view.table_rows("statistics")) == []


@pytest.mark.parametrize(
    "body",
    ["{", "[]", "{}", "null", '{"flags": {"dq": 1}}', '{"flags": {}, "values": {"dq": NaN}}', 7],
)
def test_damaged_statistics_are_none(tmp_path, body):
    folder = record_measured(tmp_path, {0: [statistics_of(0)]})
    change(folder, "UPDATE statistics SET body = ?", body)
    assert [each.statistics for each in read(folder)] == [None]


def test_an_older_ledger_has_no_statistics(tmp_path):
    folder = record_measured(tmp_path, {0: [statistics_of(0)]})
    change(folder, "DROP TABLE statistics")
    assert [each.statistics for each in read(folder)] == [None]


def test_statistics_of_boundless_length_are_not_recorded(tmp_path):
    long = replace(statistics_of(0), metadata={"x" * 30_000: 1.0})
    assert [each.statistics for each in read(record_measured(tmp_path, {0: [long]}))] == [None]


def test_quick_looks_are_found_the_latest_first(tmp_path):
    without = replace(statistics_of(3), quick_look=None)
    folder = record_measured(tmp_path, {0: [statistics_of(0), statistics_of(1)], 1: [without],
                                        2: [statistics_of(2)]})  # fmt: skip
    change(folder, "UPDATE statistics SET body = 'damaged' WHERE digest = ?", f"{tmp_path}-0-rate")
    with View(folder.state) as view:
        batch = view.batch(folder.name).id
        assert view.quick_looks(batch, 5) == [
            (f"{tmp_path}/e2_rate.fits", statistics_of(2).quick_look),
            (f"{tmp_path}/e0_rateints.fits", statistics_of(1).quick_look),
        ]
        assert len(view.quick_looks(batch, 1)) == 1
        ((path, _),) = view.quick_looks(batch, 5, number=0)
        assert path == f"{tmp_path}/e0_rateints.fits"
        assert view.quick_looks(batch, 5, number=1) == []
    change(folder, "DROP TABLE statistics")  # as in a ledger of a version without
    with View(folder.state) as view:
        assert view.quick_looks(batch, 5) == []
