"""The ledger: a database of batches, exposures, attempts and products.

The driver writes it through `Ledger`; any process reads it through `View` while the batch runs.
"""

from calbatch.cluster.ledger.queries import HistoryQueries
from calbatch.cluster.ledger.records import (
    AttemptRow,
    BatchRow,
    EventRow,
    ExposureRow,
    KnownHeader,
    MemberRow,
    ProductRow,
)
from calbatch.cluster.ledger.schema import DamagedLedgerError, HeldLedgerError, LedgerError
from calbatch.cluster.ledger.store import Ledger
from calbatch.cluster.ledger.view import View

__all__ = [
    "AttemptRow",
    "BatchRow",
    "DamagedLedgerError",
    "EventRow",
    "ExposureRow",
    "HeldLedgerError",
    "HistoryQueries",
    "KnownHeader",
    "Ledger",
    "LedgerError",
    "MemberRow",
    "ProductRow",
    "View",
]
