"""The tables of the ledger and their migrations."""

import sqlite3
from contextlib import closing

import pytest

from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger.schema import (
    MIGRATIONS,
    DamagedLedgerError,
    HeldLedgerError,
    LedgerError,
    migrate,
    version_of,
)


@pytest.fixture
def connection():
    with closing(sqlite3.connect(":memory:")) as opened:
        yield opened


def columns(connection, table):
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def test_an_empty_database_gets_all_tables(connection, tmp_path):
    assert version_of(connection) == 0
    migrate(connection, tmp_path)
    assert version_of(connection) == len(MIGRATIONS)
    assert "content" in columns(connection, "exposures")
    migrate(connection, tmp_path)


def test_an_older_ledger_keeps_its_rows(connection, tmp_path):
    connection.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1;")
    connection.execute("INSERT INTO exposures (batch, number, path) VALUES (1, 0, '/a')")
    assert "content" not in columns(connection, "exposures")
    connection.commit()
    migrate(connection, tmp_path)
    assert connection.execute("SELECT path, content FROM exposures").fetchall() == [("/a", None)]


def test_a_later_version_is_refused(connection, tmp_path):
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(LedgerError, match="written by a later version of calbatch"):
        migrate(connection, tmp_path)


def test_an_interrupted_migration_changes_nothing(connection, tmp_path, monkeypatch):
    broken = (*MIGRATIONS, "CREATE TABLE more (x); CREATE TABLE more (x);")
    monkeypatch.setattr("calbatch.cluster.ledger.schema.MIGRATIONS", broken)
    with pytest.raises(sqlite3.Error):
        migrate(connection, tmp_path)
    connection.rollback()
    assert version_of(connection) == len(MIGRATIONS)
    assert columns(connection, "more") == set()


def test_errors_of_a_ledger_are_errors_of_the_request():
    for error in (HeldLedgerError, DamagedLedgerError):
        assert issubclass(error, LedgerError)
    assert issubclass(LedgerError, RequestError)
