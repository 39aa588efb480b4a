"""The ledger's tables, and how older ones become newer ones."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from calbatch.cluster.errors import RequestError

_FIRST = """
CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    pipeline TEXT NOT NULL,
    request TEXT NOT NULL,
    parameters TEXT NOT NULL,
    software TEXT NOT NULL,
    context TEXT NOT NULL DEFAULT '',
    context_reason TEXT NOT NULL DEFAULT '',
    site TEXT NOT NULL DEFAULT '',
    dashboard TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    pid INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    beat REAL
);
CREATE TABLE inputs (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    digest TEXT NOT NULL,
    header BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE refs (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha1 TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE bodies (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
);
CREATE TABLE exposures (
    id INTEGER PRIMARY KEY,
    batch INTEGER NOT NULL REFERENCES batches,
    number INTEGER NOT NULL,
    path TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    reason TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '',
    identity TEXT,
    size INTEGER,
    mtime_ns INTEGER,
    digest TEXT,
    parameters INTEGER REFERENCES bodies,
    refs INTEGER REFERENCES bodies,
    attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,
    started REAL,
    ended REAL,
    seconds REAL,
    cpu REAL,
    peak INTEGER,
    warnings TEXT NOT NULL DEFAULT '[]',
    stages TEXT NOT NULL DEFAULT '{}',
    UNIQUE (batch, number)
);
CREATE INDEX exposures_by_state ON exposures (batch, state);
CREATE INDEX exposures_by_identity ON exposures (identity);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    exposure INTEGER NOT NULL REFERENCES exposures,
    number INTEGER NOT NULL,
    alone INTEGER NOT NULL DEFAULT 0,
    worker TEXT NOT NULL DEFAULT '',
    started REAL,
    ended REAL,
    seconds REAL,
    cpu REAL,
    peak INTEGER,
    result TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    log TEXT NOT NULL DEFAULT ''
);
CREATE INDEX attempts_by_exposure ON attempts (exposure);
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    exposure INTEGER NOT NULL REFERENCES exposures,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    digest TEXT NOT NULL
);
CREATE INDEX products_by_exposure ON products (exposure);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    batch INTEGER NOT NULL REFERENCES batches,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    number INTEGER,
    text TEXT NOT NULL
);
CREATE INDEX events_by_batch ON events (batch);
"""

_INPUTS_CONTENT = """
ALTER TABLE exposures ADD COLUMN content TEXT;
"""

MIGRATIONS = (_FIRST, _INPUTS_CONTENT)
"""Each brings a ledger from the version that is its index to the next; none is ever changed."""


class LedgerError(RequestError):
    """A ledger that cannot be opened, or is in use by another driver."""


class HeldLedgerError(LedgerError):
    """Another driver writes the ledger."""


class DamagedLedgerError(LedgerError):
    """A ledger whose contents are not what was written."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a ledger to this version's tables, each step as one transaction.

    Raises
    ------
    LedgerError
        When it is of a later version.
    sqlite3.Error
        When it is no ledger at all.
    """
    version = version_of(connection)
    if version > len(MIGRATIONS):
        raise LedgerError(
            f"{path}: made by a later calbatch (version {version} of the ledger, this one knows "
            f"{len(MIGRATIONS)}): use that one"
        )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN;{script}PRAGMA user_version = {number};COMMIT;")


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of a ledger's tables; 0 of an empty file.

    Raises
    ------
    sqlite3.Error
        When the file is no SQLite database, or cannot be read.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
