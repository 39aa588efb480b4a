"""Errors of SQLite: distinguishing temporary ones from damage, and converting them to ours."""

from __future__ import annotations

import re
import shlex
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from calbatch.cluster.ledger.schema import DamagedLedgerError, LedgerError
from calbatch.models.private import NotPrivateError, make_private_folder

_PASSING = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,  # the journal cannot be made
    sqlite3.SQLITE_READONLY,  # permission lost, perhaps for a while
)
"""Errors that may be temporary: a full disk, concurrent readers, a failing disk."""

_OTHERS = (sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_AUTH)
"""Other errors that are no sign of damage."""

_UNDECODABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
    zlib.error,
)
"""Exceptions raised while decoding a value that the ledger cannot have written."""


_BATCH = re.compile(r"\d{8}-\d{6}-[a-z0-9]{4}")


class CommitFailure(NamedTuple):
    """The start of a period without commits, by `time.monotonic`, and its reason."""

    since: float
    reason: str


def is_temporary(error: sqlite3.Error) -> bool:
    """Return whether the same statement may succeed later."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING


def make_error(path: Path, error: sqlite3.Error) -> LedgerError:
    """Return a `LedgerError` for an error of SQLite, with advice if the ledger is damaged.

    Parameters
    ----------
    path : Path
        The ledger.
    error : sqlite3.Error
        The error. The ledger's own statements are correct, so an error that is not temporary means
        that the database is damaged.
    """
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.ProgrammingError):
        return LedgerError(f"{path}: {error}")
    if is_temporary(error) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _OTHERS:
        return LedgerError(f"{path}: {error}")
    return make_damage_error(path, str(error))


def make_damage_error(path: Path, reason: str) -> DamagedLedgerError:
    """Return the error for a damaged ledger."""
    folder = path.parent
    output = shlex.quote(str(folder.parent)) if folder.name.startswith(".") else "OUTPUT"
    return DamagedLedgerError(
        f"{path}: not a ledger, or damaged ({reason}); `calbatch rebuild {output}` sets it aside "
        "and makes a new one from its readable rows, the manifests and the products"
    )


def batch_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of all batches beside a ledger."""
    return (path for path in folder.glob("*") if _BATCH.fullmatch(path.name) and path.is_dir())


def require_contents(path: Path) -> None:
    """Raise an error if a ledger is missing or empty although there are batches.

    SQLite would silently create a new database.

    Raises
    ------
    DamagedLedgerError
        If it is missing or empty.
    """
    try:
        if path.stat().st_size:
            return
        reason = "it is empty although there are batches"
    except FileNotFoundError:
        reason = "it is missing although there are batches"
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}") from error
    if any(batch_folders(path.parent)):
        raise make_damage_error(path, reason)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn exceptions raised while decoding values into a `DamagedLedgerError`.

    Raises
    ------
    DamagedLedgerError
        If a value cannot be decoded.
    """
    try:
        yield
    except _UNDECODABLE as error:
        raise make_damage_error(path, f"{type(error).__name__}: {error}") from error


def ensure_private_folder(folder: Path, instead: str = "choose another output folder") -> Path:
    """Create a folder private to this user, or check that an existing one is.

    Parameters
    ----------
    folder : Path
        The folder.
    instead : str
        Advice for the error message if an existing folder is refused.

    Raises
    ------
    LedgerError
        If it cannot be created, or another user could have prepared it.
    """
    try:
        return make_private_folder(folder, instead)
    except NotPrivateError as error:
        raise LedgerError(str(error)) from error
    except OSError as error:
        raise LedgerError(f"cannot write to {folder}: {error.strerror or error}") from error
