"""The interface through which planning looks up earlier work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from calbatch.cluster.ledger import KnownHeader, ProductRow
from calbatch.models.storage.stamps import FileVersion


class HistoryLookup(Protocol):
    """Records of earlier work; see `calbatch.cluster.ledger.queries.HistoryQueries`."""

    def find_headers(self, places: Sequence[FileVersion]) -> dict[str, KnownHeader]:
        """Return the headers of unchanged inputs, by path."""
        ...

    def find_checksum(self, path: str, size: int, mtime_ns: int) -> str | None:
        """Return the checksum of an unchanged reference."""
        ...

    def find_products(self, identities: Sequence[str]) -> dict[str, list[ProductRow]]:
        """Return the products of each identity."""
        ...

    def find_contents(self, identities: Sequence[str]) -> dict[str, str]:
        """Return the digest of each identity's input; "" if it was not recorded."""
        ...

    def find_deaths(self, identities: Sequence[str]) -> dict[str, int]:
        """Return the number of worker deaths in the last attempts at each identity."""
        ...
