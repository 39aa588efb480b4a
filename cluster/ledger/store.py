"""Writing the ledger: one process, small transactions, no loss when the disk is full.

Write-ahead logging is not used, because it needs shared memory, which network file systems lack.
Changes are queued and committed together a few times a second, so that readers hardly wait. Changes
that cannot be committed, for instance because the disk is full, stay queued.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from calbatch.cluster.exposure.unit import Unit
from calbatch.cluster.ledger.queries import HistoryQueries
from calbatch.cluster.ledger.records import ProductRow
from calbatch.cluster.ledger.schema import HeldLedgerError, LedgerError, migrate
from calbatch.cluster.ledger.sqlite_errors import (
    CommitFailure,
    ensure_private_folder,
    is_temporary,
    make_error,
    require_contents,
)
from calbatch.cluster.ledger.statistics_rows import REMOVE_UNUSED, StatisticsRows
from calbatch.cluster.ledger.tenure import Tenure
from calbatch.cluster.ledger.unit_queries import UnitQueries, insert_units

NAME = "ledger.sqlite"
COMMIT_EVERY = 0.25
"""Seconds between commits."""

BEAT_EVERY = 5.0
"""Seconds between the driver's heartbeats."""

PATIENCE = 30.0
"""Seconds to wait for readers."""

LOCK_PATIENCE = 1.0
"""Seconds to wait for the lock: a killed driver's threads end one by one."""

_Change = tuple[str, tuple[Any, ...]]


class Ledger(HistoryQueries, UnitQueries, StatisticsRows):
    """The ledger of an output folder, opened for writing by its only driver.

    Parameters
    ----------
    folder : Path
        The folder that contains it; created, private to this user, if necessary.

    Attributes
    ----------
    commits : int
        Number of commits so far.
    stuck : CommitFailure, optional
        The reason why changes currently cannot be committed.

    Raises
    ------
    LedgerError
        If another driver has locked it, or it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / NAME
        self._queue: deque[_Change] = deque()
        self._guard = threading.RLock()
        self._committed = time.monotonic()
        self.commits = 0
        self._is_closing = threading.Event()
        self._tenure: Tenure | None = None
        self.stuck: CommitFailure | None = None
        ensure_private_folder(folder)
        self._lock = FileLock(folder / "ledger.lock", mode=0o600)
        self._take_lock()
        try:
            require_contents(self.path)
            self._connection = self._connect()
        except BaseException:
            self._lock.release()
            raise

    def _take_lock(self) -> None:
        try:
            self._lock.acquire(timeout=LOCK_PATIENCE, poll_interval=0.05)
        except Timeout:
            raise HeldLedgerError(
                f"{self.path.parent}: a batch is running there, driven by {self._writer()}; "
                "`calbatch status` shows it, `calbatch cancel` stops it"
            ) from None
        except OSError as error:
            raise LedgerError(f"cannot write to {self.path.parent}: {error.strerror}") from error

    def _writer(self) -> str:
        with suppress(OSError):
            return (self.path.parent / "driver").read_text().strip() or "another process"
        return "another process"

    def _connect(self) -> sqlite3.Connection:
        owner = self.path.parent / "driver"
        try:
            self.path.touch(0o600)
            owner.touch(0o600)
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
            connection = sqlite3.connect(
                self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"cannot write to {self.path}: {error}") from error
        try:
            migrate(connection, self.path)
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -65536")  # spilling would lock readers out
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise make_error(self.path, error) from error
            raise
        connection.row_factory = sqlite3.Row
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit pending changes if possible, and release the lock."""
        self._is_closing.set()
        with suppress(LedgerError):
            self.commit()
        with self._guard:  # not during a heartbeat
            self._connection.close()
        self._lock.release()

    # -- changes ------------------------------------------------------------------------------

    def _change(self, statement: str, *values: Any) -> None:
        with self._guard:
            self._queue.append((statement, values))

    def tick(self) -> bool:
        """Commit when due; return whether nothing is left uncommitted."""
        if self._queue and time.monotonic() - self._committed >= COMMIT_EVERY:
            return self.commit()
        return not self._queue

    def commit(self) -> bool:
        """Commit all queued changes; return False, and keep them, after a temporary error.

        Raises
        ------
        LedgerError
            If the ledger is damaged, or another driver has taken over the batch.
        """
        with self._guard:
            if not self._queue:
                return True
            applied = False
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                if self._tenure is not None:
                    self._tenure.require(self._connection)
                for statement, values in self._queue:
                    self._connection.execute(statement, values)
                applied = True
                self._connection.execute("COMMIT")
                self._forget_queue()
            except sqlite3.Error as error:
                self._roll_back()
                if is_temporary(error):
                    self.stuck = self.stuck or CommitFailure(time.monotonic(), str(error))
                    return False
                raise make_error(self.path, error) from error
            except BaseException:
                # An interrupt, most likely just after COMMIT: never apply the changes twice.
                if applied and not self._connection.in_transaction:
                    self._forget_queue()
                self._roll_back()
                raise
            return True

    def _forget_queue(self) -> None:
        """Empty the queue of changes, which have been committed."""
        self._queue.clear()
        if self._tenure is not None:
            self._tenure.is_recorded = True  # the driver was in the queue, or before it
        self.stuck, self.commits = None, self.commits + 1
        self._committed = time.monotonic()

    def _roll_back(self) -> None:
        """Undo an unfinished transaction, if there is one."""
        with suppress(sqlite3.Error):
            self._connection.rollback()

    def add_batch(
        self,
        name: str,
        pipeline: str,
        paths: Sequence[str],
        *,
        request: Mapping[str, Any],
        parameters: Mapping[str, Any],
        software: Mapping[str, str],
        notes: Mapping[str, str] | None = None,
        units: Sequence[Unit] = (),
    ) -> int:
        """Add a batch with its exposures and return its number.

        ``paths`` has the path of each unit; ``units`` are those that are more than one file.
        """
        reasons = notes or {}
        texts = [json.dumps(value) for value in (request, parameters, software)]
        with self._guard:
            if not self.commit():
                raise LedgerError(f"{self.path}: the disk is full")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                cursor = self._connection.execute(
                    "INSERT INTO batches (name, state, pipeline, request, parameters, software, "
                    "total, created) VALUES (?, 'planned', ?, ?, ?, ?, ?, ?)",
                    (name, pipeline, *texts, len(paths), time.time()),
                )
                batch = int(cursor.lastrowid or 0)
                self._connection.executemany(
                    "INSERT INTO exposures (batch, number, path, note) VALUES (?, ?, ?, ?)",
                    ((batch, n, path, reasons.get(path, "")) for n, path in enumerate(paths)),
                )
                insert_units(self._connection, batch, units)
                self._connection.execute("COMMIT")
            except BaseException as error:
                self._roll_back()
                if isinstance(error, sqlite3.Error):
                    raise make_error(self.path, error) from error
                raise
        return batch

    def set_driver(self, batch: int, site: str, dashboard: str | None) -> None:
        """Record this process as the driver of a batch."""
        tenure, now = Tenure(batch), time.time()
        self.add_lost_attempts(batch, "its driver ended")
        self._change(
            "UPDATE batches SET state = 'running', reason = '', site = ?, dashboard = ?, host = ?, "
            "pid = ?, started = coalesce(started, ?), ended = NULL, beat = ? WHERE id = ?",
            site, dashboard or "", tenure.host, tenure.pid, now, now, batch,
        )  # fmt: skip
        is_first, self._tenure = self._tenure is None, tenure
        self.commit()
        if is_first:
            threading.Thread(target=self._record_beats, name="calbatch-beat", daemon=True).start()

    def _record_beats(self) -> None:
        """Show signs of life as long as this process lives.

        A driver that calibrates in its own process does nothing else meanwhile. The queue is left
        to it, since what belongs together must be committed together.
        """
        while not self._is_closing.wait(BEAT_EVERY):
            with self._guard, suppress(sqlite3.Error):  # the driver itself notices what is wrong
                if self._tenure is not None:
                    self._tenure.record_beat(self._connection)

    def set_dashboard(self, batch: int, dashboard: str | None) -> None:
        """Record the address of a batch's dashboard; it is shown while the batch runs."""
        self._change("UPDATE batches SET dashboard = ? WHERE id = ?", dashboard or "", batch)
        self._committed = float("-inf")  # the next tick, at the start of an exposure, is not early

    def set_context(self, batch: int, context: str, reason: str) -> None:
        """Record the CRDS context of a batch and the reason for it."""
        self._change(
            "UPDATE batches SET context = ?, context_reason = ? WHERE id = ?",
            context, reason, batch,
        )  # fmt: skip

    def end_batch(self, batch: int, state: str, reason: str = "") -> bool:
        """Record the end of a batch; return whether everything has been committed."""
        self._change(
            "UPDATE batches SET state = ?, reason = ?, ended = ?, pid = 0 WHERE id = ?",
            state, reason, time.time(), batch,
        )  # fmt: skip
        return self.reset_running(batch, reason)

    def reset_running(self, batch: int, reason: str = "") -> bool:
        """Set running exposures to waiting; return whether everything has been committed."""
        self.add_lost_attempts(batch, reason or "the batch ended")
        self._change(
            "UPDATE exposures SET state = 'waiting' WHERE batch = ? AND state IN "
            "('running', 'retrying')",
            batch,
        )
        return self.commit()

    def add_lost_attempts(self, batch: int, reason: str) -> None:
        """Record running attempts as lost, since their outcomes will never arrive."""
        self._change(
            "INSERT INTO attempts (exposure, number, started, result, reason) "
            "SELECT id, attempts, started, 'lost', ? FROM exposures WHERE batch = ? AND state IN "
            "('running', 'retrying') AND attempts > (SELECT coalesce(max(number), 0) FROM attempts "
            "WHERE exposure = exposures.id)",
            reason, batch,
        )  # fmt: skip

    def reopen_failed(self, batch: int) -> None:
        """Set failed and quarantined exposures of a batch to waiting."""
        self._change(
            "UPDATE exposures SET state = 'waiting', reason = '' WHERE batch = ? AND state IN "
            "('failed', 'quarantined')",
            batch,
        )
        self._change(
            "UPDATE batches SET state = 'planned', reason = '', ended = NULL WHERE id = ?", batch
        )
        self.commit()

    def add_event(self, batch: int, kind: str, text: str, number: int | None = None) -> None:
        """Record an event."""
        self._change(
            "INSERT INTO events (batch, time, kind, number, text) VALUES (?, ?, ?, ?, ?)",
            batch, time.time(), kind, number, text,
        )  # fmt: skip

    def add_body(self, digest: str, body: Mapping[str, Any]) -> None:
        """Store parameters or references that many exposures share."""
        self._change(
            "INSERT OR IGNORE INTO bodies (digest, body) VALUES (?, ?)",
            digest, json.dumps(body, sort_keys=True),
        )  # fmt: skip

    def add_reference(self, path: str, size: int, mtime_ns: int, sha1: str) -> None:
        """Store the checksum of a reference."""
        self._change("INSERT OR REPLACE INTO refs VALUES (?, ?, ?, ?)", path, size, mtime_ns, sha1)

    def update_exposure(self, batch: int, number: int, **values: Any) -> None:
        """Set columns of an exposure; ``parameters`` and ``refs`` by their digests."""
        parts = [
            f"{n} = (SELECT id FROM bodies WHERE digest = ?)"
            if n in ("parameters", "refs")
            else f"{n} = ?"
            for n in values
        ]
        self._change(
            f"UPDATE exposures SET {', '.join(parts)} WHERE batch = ? AND number = ?",
            *values.values(), batch, number,
        )  # fmt: skip

    def add_attempt(self, batch: int, number: int, /, **values: Any) -> None:
        """Record an attempt at an exposure."""
        names, marks = ", ".join(values), ", ?" * len(values)
        self._change(
            f"INSERT INTO attempts (exposure, {names}) VALUES ("
            f"(SELECT id FROM exposures WHERE batch = ? AND number = ?){marks})",
            batch, number, *values.values(),
        )  # fmt: skip

    def set_products(self, batch: int, number: int, products: Iterable[ProductRow]) -> None:
        """Record the products of an exposure, replacing earlier ones of the same batch."""
        exposure = "(SELECT id FROM exposures WHERE batch = ? AND number = ?)"
        self._change(f"DELETE FROM products WHERE exposure = {exposure}", batch, number)
        for product in products:
            self._change(
                "INSERT INTO products (exposure, path, size, mtime_ns, digest) VALUES "
                f"({exposure}, ?, ?, ?, ?)",
                batch, number, product.path, product.size, product.mtime_ns, product.digest,
            )  # fmt: skip

    def remove_batch(self, batch: int) -> None:
        """Remove a batch from the ledger; its products stay."""
        exposures = "(SELECT id FROM exposures WHERE batch = ?)"
        for table in ("attempts", "products"):
            self._change(f"DELETE FROM {table} WHERE exposure IN {exposures}", batch)
        for table in ("exposures", "events", "members"):
            self._change(f"DELETE FROM {table} WHERE batch = ?", batch)
        self._change("DELETE FROM batches WHERE id = ?", batch)
        self._change(REMOVE_UNUSED)
        self.commit()

    # -- queries ------------------------------------------------------------------------------

    def _rows(self, query: str, *values: Any) -> Iterator[dict[str, Any]]:
        with self._guard:
            try:
                rows = self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise make_error(self.path, error) from error
        return (dict(row) for row in rows)
