"""What planning asks of earlier work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from calbatch.cluster.ledger import ProductRow
from calbatch.models.storage.files import Place


class Books(Protocol):
    """What is known of earlier work; see `calbatch.cluster.ledger.known.Known`."""

    def known_headers(self, places: Sequence[Place]) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return unchanged inputs' digests and headers, by path."""
        ...

    def known_reference(self, path: str, size: int, mtime_ns: int) -> str | None:
        """Return an unchanged reference's checksum."""
        ...

    def made_before(self, identities: Sequence[str]) -> dict[str, list[ProductRow]]:
        """Return the products of identities."""
        ...

    def contents_before(self, identities: Sequence[str]) -> dict[str, str]:
        """Return the digests of identities' inputs, "" where there is none."""
        ...

    def deaths_before(self, identities: Sequence[str]) -> dict[str, int]:
        """Return how many workers identities took with them, alone, when they were tried last."""
        ...
