"""Rebuilding a damaged ledger from its remains, the manifests, and the products.

An exposure counts as done only if its record is complete and its products match the record in size,
time and digest of headers. Exposures that are done are thus not repeated, and no other is skipped.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.unit import SCIENCE, Member, Unit
from calbatch.cluster.folder import BatchFolder, forget_batch, state_of
from calbatch.cluster.ledger import Ledger, LedgerError, View
from calbatch.cluster.ledger.header_rows import pack_alone
from calbatch.cluster.ledger.salvage import (
    copy_rows,
    is_intact,
    remove_incomplete_units,
    remove_undecodable,
)
from calbatch.cluster.ledger.sqlite_errors import batch_folders
from calbatch.cluster.ledger.store import LOCK_PATIENCE, NAME
from calbatch.cluster.ledger.unit_queries import insert_units
from calbatch.cluster.planning.identity import json_digest
from calbatch.models import datamodels
from calbatch.models.errors import ModelError, format_count
from calbatch.models.fits.layout import read_layout
from calbatch.models.storage.files import current_version, read_stamp
from calbatch.models.storage.location import Location, location

_BATCH = ("state", "pipeline", "context", "context_reason", "created", "started", "ended")
_JSON = ("request", "parameters", "software")
_EXPOSURE = ("size", "mtime_ns", "content", "identity", "state", "reason", "note")
_UNFIT = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError),
    sqlite3.Error,
)
"""Errors of reading a malformed manifest."""

_DONE = ("done", "kept")
_FRESH = "rebuilt-"


@dataclass(frozen=True)
class RebuiltBatch:
    """A batch in a rebuilt ledger.

    Attributes
    ----------
    name : str
        Name of the batch.
    total, done : int
        Number of its exposures, and of those that are certainly done; 0 if nothing is known.
    """

    name: str
    total: int = 0
    done: int = 0


def rebuild_ledger(output: Location) -> tuple[Path | None, list[RebuiltBatch]]:
    """Set a damaged ledger aside, and build a new one from everything that is left.

    Parameters
    ----------
    output : Path or Url
        The output folder.

    Returns
    -------
    aside : Path or None
        The new path of the damaged ledger; None if the ledger was intact.
    batches : list of RebuiltBatch
        The batches of the new ledger.

    Raises
    ------
    RequestError
        If there is no ledger and nothing to build one from, a driver is running, another user could
        have prepared the folder, or the new ledger cannot be written.
    """
    state = state_of(output)
    if not os.path.lexists(state):
        raise RequestError(f"{output}: there are no batches")
    BatchFolder(output, "").secure()
    names = sorted(path.name for path in batch_folders(state))
    if not names and not (state / NAME).exists():
        raise RequestError(f"{output}: there are no batches")
    with _hold_lock(state):
        for leftover in state.glob(f"{_FRESH}*"):  # left by a killed process
            shutil.rmtree(leftover, ignore_errors=True)
        if is_intact(state):
            return None, []
        fresh = state / f"{_FRESH}{secrets.token_hex(4)}"
        try:
            Ledger(fresh).close()
            with closing(sqlite3.connect(fresh / NAME, isolation_level=None)) as connection:
                connection.row_factory = sqlite3.Row
                connection.execute("BEGIN")
                _fill(connection, output, names)
                connection.execute("COMMIT")
            batches = _count_exposures(fresh, names)
            aside = _swap(state, fresh)
        except (OSError, sqlite3.Error) as error:
            raise RequestError(f"{fresh}: cannot be written: {error}") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    for batch in batches:
        if not batch.total:  # no command could use it
            forget_batch(BatchFolder(output, batch.name))
    return aside, batches


@contextmanager
def _hold_lock(state: Path) -> Iterator[None]:
    """Hold the ledger's lock, as drivers do."""
    lock = FileLock(state / "ledger.lock", mode=0o600)
    try:
        lock.acquire(timeout=LOCK_PATIENCE, poll_interval=0.05)
    except Timeout:
        raise LedgerError(
            f"{state}: a batch is running there; `calbatch cancel` stops it"
        ) from None
    except OSError as error:
        raise LedgerError(f"cannot write to {state}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _fill(connection: sqlite3.Connection, output: Location, names: Sequence[str]) -> None:
    """Fill a new ledger from the damaged one, and then from the manifests."""
    state = state_of(output)
    copy_rows(state / NAME, connection)
    for name in names:
        with suppress(*_UNFIT):
            _add_manifest(connection, BatchFolder(output, name))
    remove_undecodable(connection)
    remove_incomplete_units(connection)
    for row in connection.execute("SELECT * FROM exposures").fetchall():
        if row["state"] in _DONE:
            _verify(connection, row)
        elif row["state"] not in ("failed", "quarantined"):
            _reopen(connection, row["id"])
    for row in connection.execute("SELECT * FROM batches").fetchall():
        _conclude(connection, row)


def _add_manifest(connection: sqlite3.Connection, folder: BatchFolder) -> None:
    manifest = json.loads(folder.manifest.read_text(encoding="utf-8"))
    values = {name: manifest[name] for name in _BATCH}
    values |= {name: json.dumps(manifest[name]) for name in _JSON}
    connection.execute(
        f"INSERT OR IGNORE INTO batches (name, total, {', '.join(values)}) "
        f"VALUES (?, ?{', ?' * len(values)})",
        (folder.name, len(manifest["exposures"]), *values.values()),
    )
    query = "SELECT id FROM batches WHERE name = ?"
    batch = connection.execute(query, (folder.name,)).fetchone()["id"]
    query = "SELECT number FROM exposures WHERE batch = ?"
    numbers = {row["number"] for row in connection.execute(query, (batch,))}
    for number, entry in enumerate(manifest["exposures"]):
        if number not in numbers:
            with suppress(*_UNFIT), _all_or_nothing(connection):
                _add_exposure(connection, batch, number, entry)


@contextmanager
def _all_or_nothing(connection: sqlite3.Connection) -> Iterator[None]:
    """Undo all changes of this context if an exception is raised in it."""
    connection.execute("SAVEPOINT entry")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK TO entry")
        raise
    finally:
        connection.execute("RELEASE entry")


def _add_exposure(
    connection: sqlite3.Connection, batch: int, number: int, entry: Mapping[str, Any]
) -> None:
    references = json.dumps(entry["references"], sort_keys=True)
    body = json_digest(entry["references"])
    connection.execute(
        "INSERT OR IGNORE INTO bodies (digest, body) VALUES (?, ?)", (body, references)
    )
    values = {name: entry[name] for name in _EXPOSURE}
    values |= {"path": entry["input"], "digest": entry["header_sha256"]}
    cursor = connection.execute(
        f"INSERT INTO exposures (batch, number, refs, {', '.join(values)}) VALUES "
        f"(?, ?, (SELECT id FROM bodies WHERE digest = ?){', ?' * len(values)})",
        (batch, number, body, *values.values()),
    )
    members = [
        Member(m["role"], m["path"], m["maker"], m["optional"]) for m in entry.get("members", ())
    ]
    if members:
        unit = Unit(
            number, location(entry["input"]), tuple(members), entry["pipeline"], entry["product"]
        )
        insert_units(connection, batch, [unit])
    for product in entry["products"]:
        connection.execute(
            "INSERT INTO products (exposure, path, size, mtime_ns, digest) VALUES (?, ?, ?, ?, ?)",
            (cursor.lastrowid, product["path"], product["size"], product["mtime_ns"],
             product["sha256_headers"]),
        )  # fmt: skip


def _verify(connection: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Keep an exposure as done if its products are intact, and store its input's header again."""
    query = "SELECT path, size, mtime_ns, digest FROM products WHERE exposure = ?"
    products = [tuple(product) for product in connection.execute(query, (row["id"],))]
    if not (products and row["identity"] and all(_is(*product) for product in products)):
        _reopen(connection, row["id"])
        return
    path = _find_main_input(connection, row)
    if not _is(path, row["size"], row["mtime_ns"], row["digest"]):
        return  # the input has changed: a batch that names it will calibrate it
    with suppress(ModelError, OSError), datamodels.open(path) as model:
        values = path, row["size"], row["mtime_ns"], row["digest"], pack_alone(model.to_flat_dict())
        connection.execute(
            "INSERT OR REPLACE INTO inputs (path, size, mtime_ns, digest, header) "
            "VALUES (?, ?, ?, ?, ?)",
            values,
        )


def _find_main_input(connection: sqlite3.Connection, row: sqlite3.Row) -> str:
    """Return the path of the main input of an exposure, which for some units is a member."""
    query = "SELECT path FROM members WHERE batch = ? AND number = ? AND role = ? ORDER BY id"
    member = connection.execute(query, (row["batch"], row["number"], SCIENCE)).fetchone()
    return str(member["path"] if member else row["path"])


def _is(path: str, size: int, mtime_ns: int, headers: str) -> bool:
    """Return whether a file is the recorded one."""
    try:
        return (
            current_version(path) == (path, size, mtime_ns)
            and read_layout(read_stamp(path)).digest == headers
        )
    except (OSError, ModelError, ValueError, TypeError):
        return False


def _reopen(connection: sqlite3.Connection, exposure: int) -> None:
    connection.execute("DELETE FROM products WHERE exposure = ?", (exposure,))
    connection.execute(
        "UPDATE exposures SET state = 'waiting', identity = NULL WHERE id = ?", (exposure,)
    )


def _conclude(connection: sqlite3.Connection, row: sqlite3.Row) -> None:
    """Set a batch's state according to its exposures."""
    query = "SELECT state, count(*) AS n FROM exposures WHERE batch = ? GROUP BY state"
    counts = {r["state"]: r["n"] for r in connection.execute(query, (row["id"],))}
    count, done = sum(counts.values()), sum(counts.get(state, 0) for state in _DONE)
    reason, state = "", "done" if done == row["total"] else "failed"
    if count < row["total"] or counts.get("waiting"):
        state = "interrupted"
        total = format_count(row["total"], "exposure")
        reason = f"its ledger was damaged: {done} of {total} known to be done"
        if count < row["total"]:
            reason += "; the same command does the others, which `resume` does not know"
    connection.execute(
        "UPDATE batches SET state = ?, reason = ?, pid = 0, ended = coalesce(ended, ?) "
        "WHERE id = ?",
        (state, reason, time.time(), row["id"]),
    )


def _count_exposures(fresh: Path, names: Sequence[str]) -> list[RebuiltBatch]:
    with View(fresh) as view:
        batches = {}
        for batch in view.batches():
            counts = view.counts(batch.id)
            done = sum(counts.get(state, 0) for state in _DONE)
            batches[batch.name] = RebuiltBatch(batch.name, batch.total, done)
    return [batches.get(name, RebuiltBatch(name)) for name in sorted({*names, *batches})]


def _swap(state: Path, fresh: Path) -> Path:
    """Replace the damaged ledger by the new one; return the new path of the damaged one.

    If the process is killed at any point, one of the two is in place. Without a ledger, the folder
    would look as if it had no batches.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    aside = state / f"ledger.damaged-{stamp}.sqlite"
    with suppress(FileNotFoundError):  # a journal must not be applied to the new one
        (state / f"{NAME}-journal").rename(f"{aside}-journal")
    with suppress(FileNotFoundError):
        _add_name(state / NAME, aside)
    (fresh / NAME).replace(state / NAME)
    return aside


def _add_name(file: Path, name: Path) -> None:
    """Add a second name to a file, or rename it if the file system has no hard links."""
    try:
        os.link(file, name, follow_symlinks=False)
    except FileNotFoundError:
        raise
    except OSError:
        file.rename(name)
