"""The choice of a context: by its name, a state, a date, or by default."""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from calbatch.crds_client.cache.layout import Cache, check_name
from calbatch.crds_client.errors import ContextError, ServerError

log = logging.getLogger(__name__)


class Build(NamedTuple):
    """A release of the calibration software, and its context."""

    release: str
    context: str


BUILDS = {"jwst": Build("3.0.0", "jwst_1581.pmap")}
"""By observatory: the release whose results calbatch reproduces.

Source: the table of operational builds in the metadata of PyPI ``jwst`` 3.0.0.
"""

_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?)?")
_LATEST = ("latest", "operational")


class ContextServer(Protocol):
    """Answers questions about contexts."""

    def default_context(self, state: str) -> str:
        """Return the context in use (``latest``) or in preparation (``edit``)."""
        ...

    def build_context(self, version: str) -> str:
        """Return the context of a release of the calibration software."""
        ...

    def context_by_date(self, date: str) -> str:
        """Return the context that was in use at a date."""
        ...


@dataclass(frozen=True, slots=True)
class ContextChoice:
    """A context, and the reason for choosing it."""

    name: str
    reason: str


def is_known_locally(wanted: str | None, cache: Cache) -> bool:
    """Return whether a context can be resolved without a server."""
    if wanted is not None and wanted.endswith(".pmap"):
        return True
    build = BUILDS.get(cache.observatory)
    if build is None or wanted not in (None, "build", f"{cache.observatory}-build"):
        return False
    return cache.find(build.context) is not None


def choose_context(
    wanted: str | None, cache: Cache, server: ContextServer | None = None
) -> ContextChoice:
    """Resolve a requested context to the name of a ``.pmap`` file.

    Parameters
    ----------
    wanted : str or None
        A file name, ``latest``, ``edit``, ``build``, a date, or one of these after
        ``<observatory>-``; None means the context of the release whose results calbatch
        reproduces, otherwise the latest.
    cache : Cache
        The cache to search.
    server : ContextServer, optional
        The first choice to resolve states and dates.

    Raises
    ------
    ContextError
        If it cannot be resolved.
    """
    if wanted is None:
        return _default(cache, server)
    if wanted.endswith(".pmap"):
        return ContextChoice(check_name(wanted), "as requested")
    spec = wanted.removeprefix(f"{cache.observatory}-")
    if spec == "build":
        return _build(cache, server)
    if spec in (*_LATEST, "edit"):
        return ContextChoice(_resolve_state(spec, cache, server), f"{spec} context, as requested")
    if _DATE.fullmatch(spec):
        return ContextChoice(
            _context_in_use(spec, cache, server), f"in use on {spec}, as requested"
        )
    raise ContextError(
        f"{wanted!r} is not a context: give a name such as {cache.observatory}_0541.pmap, "
        "latest, edit, build, or a date such as 2024-01-31T12:00:00"
    )


def _default(cache: Cache, server: ContextServer | None) -> ContextChoice:
    try:
        return _build(cache, server)
    except (ContextError, ServerError):
        latest = _latest(cache, server)
    reason = f"the latest {'by the server' if server else 'in the cache'}"
    if build := BUILDS.get(cache.observatory):
        belongs = f"which belongs to {cache.observatory} {build.release}"
        reason += f"; {build.context}, {belongs}, is unavailable"
    return ContextChoice(latest, reason)


def _build(cache: Cache, server: ContextServer | None) -> ContextChoice:
    if cache.observatory not in BUILDS:
        raise ContextError(f"no build context is known for {cache.observatory}")
    release, name = BUILDS[cache.observatory]
    reason = f"the build context of {cache.observatory} {release}"
    if server is not None:
        return ContextChoice(check_name(server.build_context(release)), f"{reason}, by the server")
    if cache.find(name) is None:
        raise ContextError(f"{name}, {reason}, is not in the cache {cache}")
    return ContextChoice(name, reason)


def _resolve_state(spec: str, cache: Cache, server: ContextServer | None) -> str:
    if spec in _LATEST:
        return _latest(cache, server)
    if server is not None:
        return check_name(server.default_context(spec))
    return check_name(str(_config_entry(cache, f"{spec}_context")))


def _latest(cache: Cache, server: ContextServer | None) -> str:
    if server is not None:
        return check_name(server.default_context("latest"))
    config = cache.server_config()
    name = config.get("latest_context") or config.get("operational_context")
    if name and cache.find(str(name)):
        return str(name)
    present = cache.contexts()
    if not present:
        raise ContextError(f"{cache}: no context (.pmap file) in the cache and no server to ask")
    if name:
        log.warning(
            "%s, the latest context by the server, is not in %s; using %s", name, cache, present[-1]
        )
    return present[-1]


def _context_in_use(date: str, cache: Cache, server: ContextServer | None) -> str:
    if server is not None:
        with contextlib.suppress(ServerError):
            return check_name(server.context_by_date(date))
    moment = date.replace("T", " ")
    try:
        history = sorted(
            (str(start), str(name)) for start, name, *_ in _config_entry(cache, "context_history")
        )
    except (TypeError, ValueError):
        raise ContextError(f"{cache}: context_history in its server_config is not a list") from None
    before = [name for start, name in history if start <= moment]
    if not before:
        raise ContextError(f"no context was in use on {date}")
    return check_name(before[-1])


def _config_entry(cache: Cache, key: str) -> Any:
    config = cache.server_config()
    if key not in config:
        raise ContextError(f"{cache}: no {key} in the cache's server_config, and no server to ask")
    return config[key]
