"""What SQLite complains about: what passes, what is damage, and what to do about it."""

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
"""Errors after which the same may succeed later: no room, readers, a disk that failed."""

_OTHERS = (sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_AUTH)
"""Errors that are neither temporary nor a sign of damage."""

_UNDECODABLE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
    zlib.error,
)
"""What Python raises for a value that the ledger never wrote like this."""


_BATCH = re.compile(r"\d{8}-\d{6}-[a-z0-9]{4}")


class CommitFailure(NamedTuple):
    """Since when, by `time.monotonic`, changes cannot be committed, and why not."""

    since: float
    why: str


def is_temporary(error: sqlite3.Error) -> bool:
    """Return whether trying again later may succeed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING


def make_error(path: Path, error: sqlite3.Error) -> LedgerError:
    """Return an error of SQLite's as one that names the ledger and says what to do.

    Parameters
    ----------
    path : Path
        The ledger.
    error : sqlite3.Error
        What SQLite raised. The ledger's own statements are correct, so whatever cannot pass means
        that its contents are not what was written.
    """
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.ProgrammingError):
        return LedgerError(f"{path}: {error}")
    if is_temporary(error) or getattr(error, "sqlite_errorcode", 0) & 0xFF in _OTHERS:
        return LedgerError(f"{path}: {error}")
    return make_damage_error(path, str(error))


def make_damage_error(path: Path, why: str) -> DamagedLedgerError:
    """Return the error for a ledger that is damaged."""
    folder = path.parent
    output = shlex.quote(str(folder.parent)) if folder.name.startswith(".") else "OUTPUT"
    return DamagedLedgerError(
        f"{path}: is no ledger, or a damaged one ({why}); `calbatch rebuild {output}` sets it "
        "aside and makes a new one from what can still be read, the manifests and the products"
    )


def batch_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of all batches whose ledger is in a folder."""
    return (path for path in folder.glob("*") if _BATCH.fullmatch(path.name) and path.is_dir())


def require_contents(path: Path) -> None:
    """Refuse a ledger that is gone or empty, though there are batches: SQLite would begin anew.

    Raises
    ------
    DamagedLedgerError
        When it is.
    """
    try:
        if path.stat().st_size:
            return
        why = "it is empty, though there are batches"
    except FileNotFoundError:
        why = "it is missing, though there are batches"
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}") from error
    if any(batch_folders(path.parent)):
        raise make_damage_error(path, why)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Raise what goes wrong in decoding a ledger's values as damage of the ledger.

    Raises
    ------
    DamagedLedgerError
        When a value cannot be decoded.
    """
    try:
        yield
    except _UNDECODABLE as error:
        raise make_damage_error(path, f"{type(error).__name__}: {error}") from error


def ensure_private_folder(folder: Path, instead: str = "choose another output folder") -> Path:
    """Make a folder for this user alone, or accept one that is.

    Parameters
    ----------
    folder : Path
        The folder.
    instead : str
        What a user can do where it is refused.

    Raises
    ------
    LedgerError
        When it cannot be made, or another user could have prepared it.
    """
    try:
        return make_private_folder(folder, instead)
    except NotPrivateError as error:
        raise LedgerError(str(error)) from error
    except OSError as error:
        raise LedgerError(f"cannot write to {folder}: {error.strerror or error}") from error
