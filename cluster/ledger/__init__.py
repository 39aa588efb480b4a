"""The batch's database: what was asked for, and what became of each exposure.

`Ledger` is what the one driver writes; `View` reads it, from any process, while the batch runs.
"""

from calbatch.cluster.ledger.known import Known
from calbatch.cluster.ledger.records import (
    AttemptRow,
    BatchRow,
    EventRow,
    ExposureRow,
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
    "Known",
    "Ledger",
    "LedgerError",
    "ProductRow",
    "View",
]
