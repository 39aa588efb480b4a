"""The source at a URL, and rules that a server applies."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

from calbatch.crds_client.errors import ServerError
from calbatch.crds_client.rules.keywords import UNDEFINED
from calbatch.crds_client.rules.mapping import NOT_APPLICABLE, ReferenceRules, Resolution
from calbatch.crds_client.rules.selectors import Header, flat_names
from calbatch.crds_client.server.protocol import Patience, Server
from calbatch.crds_client.server.url_cache import UrlCache

log = logging.getLogger(__name__)

_MISS = "NOT FOUND"


def is_server_address(url: str | None) -> TypeGuard[str]:
    """Return whether a URL names a source."""
    return bool(url) and not any(word in str(url) for word in ("serverless", "server-less"))


def open_source(url: str | None, observatory: str) -> Server | UrlCache | None:
    """Return the source at a URL: a CRDS server for http, otherwise a cache; None if there is none.

    The official client's convention for no server is an address that contains ``serverless``.
    """
    if not is_server_address(url):
        return None
    if url.startswith(("http://", "https://")):
        return Server(url, observatory)
    return UrlCache(url, observatory)


def contact(source: Server | UrlCache, *, required: bool) -> dict[str, Any] | None:
    """Request a source's description of itself; warn and return None if it cannot be reached.

    Raises
    ------
    ServerError
        If it is required and cannot be reached.
    """
    first: Server | UrlCache = source
    if isinstance(source, Server) and not required:
        quick = Patience(timeout=min(10.0, source.patience.timeout), attempts=1)
        first = Server(source.url, source.observatory, quick)
    try:
        source.info = first.info
    except ServerError as error:
        if required:
            raise
        log.warning("working offline: %s", error)
        return None
    return source.info


class RemoteInstrument:
    """An instrument's rules as applied by the server; a substitute for ``InstrumentRules``."""

    def __init__(
        self, server: Server, context: str, instrument: str, parameters: Iterable[str]
    ) -> None:
        self.name = context
        self.instrument = instrument
        self.parameters = tuple(dict.fromkeys(parameters))
        self._server = server

    @property
    def types(self) -> dict[str, str]:
        """The reference types that the server returns for an otherwise undefined header."""
        header = dict.fromkeys(self.parameters, UNDEFINED)
        key = next((name for name in self.parameters if "INSTRUME" in name), None)
        if key is None:
            raise ServerError(
                f"CRDS server {self._server}, get_required_parkeys: no parameter of "
                f"{self.instrument} contains the instrument"
            )
        header[key] = self.instrument
        return dict.fromkeys(self.resolve(header), "")

    def reference_rules(self) -> Iterator[ReferenceRules]:
        """Return nothing: the server has the rules."""
        return iter(())

    def resolve(self, header: Header, types: Iterable[str] | None = None) -> dict[str, Resolution]:
        """Return the references that the server selects, by type."""
        answers = self._server.best_references(self.name, header, types)
        return {kind.lower(): _resolution(value) for kind, value in answers.items()}


def _resolution(value: Any) -> Resolution:
    if isinstance(value, str) and value.startswith(_MISS):
        reason = value.removeprefix(_MISS).strip()
        return Resolution("n/a" if reason.lower() == "n/a" else "not found", reason=reason)
    if value is None or (isinstance(value, str) and value in NOT_APPLICABLE):
        return Resolution("n/a", reason="N/A by the server")
    return Resolution("found", tuple(flat_names(value)))
