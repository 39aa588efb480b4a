"""The tables of the ledger and their migrations."""

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

_MEMBERS = """
ALTER TABLE exposures ADD COLUMN pipeline TEXT NOT NULL DEFAULT '';
ALTER TABLE exposures ADD COLUMN product TEXT NOT NULL DEFAULT '';
ALTER TABLE exposures ADD COLUMN members INTEGER NOT NULL DEFAULT 0;
CREATE TABLE members (
    id INTEGER PRIMARY KEY,
    batch INTEGER NOT NULL REFERENCES batches,
    number INTEGER NOT NULL,
    role TEXT NOT NULL,
    path TEXT NOT NULL,
    maker INTEGER,
    optional INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX members_by_number ON members (batch, number);
"""

_STATISTICS = """
CREATE TABLE statistics (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    quick_look BLOB
);
"""

_PATTERNS = """
ALTER TABLE inputs ADD COLUMN pattern INTEGER REFERENCES bodies;
DROP INDEX IF EXISTS exposures_by_state;
CREATE INDEX exposures_by_state ON exposures (batch, state, ended);
"""

MIGRATIONS = (_FIRST, _INPUTS_CONTENT, _MEMBERS, _STATISTICS, _PATTERNS)
"""Scripts that migrate a ledger from version i to i + 1. Never change an existing one."""


class LedgerError(RequestError):
    """A ledger that cannot be opened, read or written."""


class HeldLedgerError(LedgerError):
    """A ledger that another driver has locked."""


class DamagedLedgerError(LedgerError):
    """A ledger that is damaged."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Migrate a ledger to the current version, each step in one transaction.

    Raises
    ------
    LedgerError
        If it was written by a later version of calbatch.
    sqlite3.Error
        If the file is not a database.
    """
    version = version_of(connection)
    if version > len(MIGRATIONS):
        raise LedgerError(
            f"{path}: written by a later version of calbatch (ledger version {version}; this one "
            f"supports up to {len(MIGRATIONS)}): use that version"
        )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN;{script}PRAGMA user_version = {number};COMMIT;")


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of a ledger's tables; 0 for an empty file.

    Raises
    ------
    sqlite3.Error
        If the file is not a SQLite database, or cannot be read.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
