"""The tenure of a driver, which the ledger records: it shows signs of life, and may be taken over.

A lock allows one driver for each ledger. Where the locks of a file system do not reach other
hosts, a driver on another host can take over a batch nevertheless.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from dataclasses import dataclass, field

from calbatch.cluster.ledger.schema import LedgerError


@dataclass
class Tenure:
    """The time during which this process drives a batch.

    Attributes
    ----------
    batch : int
        The batch's number.
    host, pid
        The driver: this process.
    is_recorded : bool
        True if the ledger names this process as the driver, or did so before.
    """

    batch: int
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    is_recorded: bool = False

    def record_beat(self, connection: sqlite3.Connection) -> None:
        """Record a sign of life, unless another driver has taken over."""
        connection.execute(
            "UPDATE batches SET beat = ? WHERE id = ? AND host = ? AND pid = ?",
            (time.time(), self.batch, self.host, self.pid),
        )

    def require(self, connection: sqlite3.Connection) -> None:
        """Raise LedgerError if another driver has taken over, whose records are not to be changed.

        The end of a batch leaves its host, with 0 for the process.
        """
        query = "SELECT host, pid FROM batches WHERE id = ?"
        row = connection.execute(query, (self.batch,)).fetchone() if self.is_recorded else None
        if row is not None and (row[0] != self.host or row[1] not in (0, self.pid)):
            raise LedgerError(f"another driver has taken over the batch, on {row[0]}")
