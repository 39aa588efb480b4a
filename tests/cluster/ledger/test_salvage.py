"""Copying the readable rows of a damaged ledger."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from calbatch.cluster.exposure.unit import Member, Unit
from calbatch.cluster.ledger import Ledger, ProductRow, View
from calbatch.cluster.ledger.salvage import (
    copy_rows,
    is_intact,
    remove_incomplete_units,
    remove_undecodable,
)
from calbatch.cluster.ledger.store import NAME


def write(folder, count=3):
    """Write a ledger with one batch of exposures that are done."""
    with Ledger(folder) as ledger:
        paths = [f"/{n}_uncal.fits" for n in range(count)]
        batch = ledger.add_batch("b", "jump", paths, request={}, parameters={}, software={})
        ledger.add_body("r", {"gain": ["/gain.fits", "sha"]})
        for n in range(count):
            ledger.update_exposure(batch, n, state="done", identity=str(n), refs="r")
            ledger.set_products(batch, n, [ProductRow(f"/{n}-{i}.fits", 1, 2, "d") for i in (0, 1)])
            ledger.add_attempt(batch, n, number=1, result="done")
        ledger.add_event(batch, "note", "text")
    return folder / NAME


@pytest.fixture
def damaged(tmp_path):
    return write(tmp_path / "damaged")


def salvage(damaged, tmp_path):
    """Copy a ledger into a new one, and return a view of it."""
    folder = tmp_path / "fresh"
    Ledger(folder).close()
    with closing(sqlite3.connect(folder / NAME)) as connection:
        connection.row_factory = sqlite3.Row
        with connection:
            copy_rows(damaged, connection)
            remove_undecodable(connection)
    return View(folder)


def change(path, *statements):
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_an_intact_ledger_is_copied_completely(damaged, tmp_path):
    assert is_intact(damaged.parent)
    with salvage(damaged, tmp_path) as view, View(damaged.parent) as old:
        assert view.batches() == old.batches()
        assert list(view.exposures_in_full(1)) == list(old.exposures_in_full(1))
        assert view.events(1) == old.events(1)
    assert is_intact(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("UPDATE exposures SET state = 'x' WHERE number = 1", [0, 2]),
        ("UPDATE exposures SET warnings = '{' WHERE number = 2", [0, 1]),
        ("UPDATE batches SET request = '['", None),
    ],
)
def test_undecodable_rows_are_left_out_with_rows_that_need_them(damaged, tmp_path, statement, left):
    change(damaged, statement)
    assert not is_intact(damaged.parent)
    with salvage(damaged, tmp_path) as view:
        assert [row.number for row in view.exposures(1)] == (left or [])
        assert len(view.batches()) == (left is not None)
        products = {row["exposure"] for row in view.table_rows("products")}
        assert products == {row.id for row in view.exposures(1)}
    assert is_intact(tmp_path / "fresh")


def test_an_undecodable_product_removes_all_products_of_its_exposure(damaged, tmp_path):
    """The exposure would otherwise seem to be done with some of its products."""
    change(damaged, "UPDATE products SET size = 'x' WHERE path = '/1-0.fits'")
    with salvage(damaged, tmp_path) as view:
        paths = [row["path"] for row in view.table_rows("products")]
    assert paths == ["/0-0.fits", "/0-1.fits", "/2-0.fits", "/2-1.fits"]


@pytest.mark.parametrize("body", ["5", "{"])
def test_an_undecodable_body_is_removed_from_its_exposures(damaged, tmp_path, body):
    change(damaged, f"UPDATE bodies SET body = '{body}'")
    with salvage(damaged, tmp_path) as view:
        assert [view.references(row.id) for row in view.exposures(1)] == [{}] * 3


def damage_page(path, text):
    """Overwrite the page of a ledger that contains a text."""
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    start = content.index(text) // size * size
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)


def test_exposures_beside_an_unreadable_part_have_no_products(tmp_path):
    """That part may hold more of their products, without which they would seem to be done."""
    path = write(tmp_path / "large", 1000)
    change(path, "UPDATE products SET digest = 'in the middle' WHERE path = '/500-0.fits'")
    damage_page(path, b"in the middle")
    with salvage(path, tmp_path) as view:
        products = [row["exposure"] for row in view.table_rows("products")]
    assert 500 < len(products) < 2000
    assert {products.count(exposure) for exposure in set(products)} == {2}


def test_an_index_that_contradicts_its_table_is_damage(damaged):
    """All rows can be decoded, but queries that use the index would miss some."""
    change(
        damaged,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX exposures_by_identity ON exposures (path)' "
        "WHERE name = 'exposures_by_identity'",
    )
    with View(damaged.parent) as view:
        assert view.problems()
    assert not is_intact(damaged.parent)


def test_rows_on_both_sides_of_a_damaged_page_are_copied(tmp_path):
    path = write(tmp_path / "large", 3000)
    change(path, "UPDATE attempts SET log = 'in the middle' WHERE exposure = 1500")
    damage_page(path, b"in the middle")
    assert not is_intact(path.parent)
    with salvage(path, tmp_path) as view:
        found = [row["exposure"] for row in view.table_rows("attempts")]
    assert 2000 < len(found) < 3000
    assert {1, 3000} <= set(found)
    assert 1500 not in found


def test_a_file_that_is_not_a_database_yields_nothing(tmp_path):
    path = tmp_path / "damaged" / NAME
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    with salvage(path, tmp_path) as view:
        assert view.batches() == []


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        ("SELECT 1", [0, 1, 2]),
        ("DELETE FROM members WHERE number = 2", [0]),
        ("UPDATE members SET maker = 'x' WHERE number = 1", [0]),
        ("DELETE FROM exposures WHERE number = 0", []),
    ],
)
def test_units_that_have_lost_members_or_makers_are_left_out(tmp_path, damage, left):
    path = tmp_path / "old" / NAME
    units = [Unit(n, Path("/u"), (Member("science", "/x", n - 1),)) for n in (1, 2)]
    with Ledger(path.parent) as ledger:
        ledger.add_batch(
            "b", "jump", ["/a", "/b", "/c"], request={}, parameters={}, software={}, units=units
        )
    change(path, damage)
    Ledger(tmp_path / "fresh").close()
    with closing(sqlite3.connect(tmp_path / "fresh" / NAME)) as connection:
        connection.row_factory = sqlite3.Row
        with connection:
            copy_rows(path, connection)
            remove_undecodable(connection)
            remove_incomplete_units(connection)
        query = "SELECT number FROM exposures ORDER BY number"
        assert [row["number"] for row in connection.execute(query)] == left
