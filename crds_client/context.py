"""Which version of the rules: a file name from a name, a date, or nothing at all."""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass
from typing import Any, Protocol

from calbatch.crds_client.cache.layout import Cache, check_name
from calbatch.crds_client.errors import ContextError, ServerError

log = logging.getLogger(__name__)

BUILD_CONTEXTS = {"jwst": ("3.0.0", "jwst_1581.pmap")}
"""Observatory to (release whose numbers calbatch follows, that release's context).

Source: the table of operational builds in the metadata of PyPI ``jwst`` 3.0.0.
"""

_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?)?")
_LATEST = ("latest", "operational")


class ContextServer(Protocol):
    """What a server is asked about contexts."""

    def default_context(self, state: str) -> str:
        """Give the context that is in use (``latest``) or prepared (``edit``)."""
        ...

    def build_context(self, version: str) -> str:
        """Give the context that belongs to a release of the calibration software."""
        ...

    def context_by_date(self, date: str) -> str:
        """Give the context that was in use at a date."""
        ...


@dataclass(frozen=True, slots=True)
class ContextChoice:
    """A context and why it was taken, for the user to read."""

    name: str
    reason: str


def is_known_locally(wanted: str | None, cache: Cache) -> bool:
    """Tell whether a context can be resolved without asking a server."""
    if wanted is not None and wanted.endswith(".pmap"):
        return True
    build = wanted in (None, "build", f"{cache.observatory}-build")
    name = BUILD_CONTEXTS.get(cache.observatory, ("", ""))[1]
    return bool(build and name) and cache.find(name) is not None


def choose_context(
    wanted: str | None, cache: Cache, server: ContextServer | None = None
) -> ContextChoice:
    """Resolve what the user wants, once, to the name of a ``.pmap`` file.

    Parameters
    ----------
    wanted : str or None
        A file name, ``latest``, ``edit``, ``build``, a date, or one of these after
        ``<observatory>-``; None means the context of the release whose numbers calbatch follows,
        or else the latest.
    cache : Cache
        Where to look.
    server : ContextServer, optional
        Asked first, when names or dates must be resolved.

    Raises
    ------
    ContextError
        If that cannot be resolved.
    """
    if wanted is None:
        return _default(cache, server)
    if wanted.endswith(".pmap"):
        return ContextChoice(check_name(wanted), "as asked for")
    spec = wanted.removeprefix(f"{cache.observatory}-")
    if spec == "build":
        return _build(cache, server)
    if spec in (*_LATEST, "edit"):
        return ContextChoice(_resolve_state(spec, cache, server), f"{spec} context, as asked for")
    if _DATE.fullmatch(spec):
        return ContextChoice(
            _context_in_use(spec, cache, server), f"in use on {spec}, as asked for"
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
    release, name = BUILD_CONTEXTS.get(cache.observatory, ("", ""))
    reason = f"the latest {'by the server' if server else 'in the cache'}"
    if name:
        reason += f"; {name}, which belongs to {cache.observatory} {release}, is not there"
    return ContextChoice(latest, reason)


def _build(cache: Cache, server: ContextServer | None) -> ContextChoice:
    if cache.observatory not in BUILD_CONTEXTS:
        raise ContextError(f"no build context is known for {cache.observatory}")
    release, name = BUILD_CONTEXTS[cache.observatory]
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
    there = cache.contexts()
    if not there:
        raise ContextError(f"{cache}: no context (.pmap file) in the cache and no server to ask")
    if name:
        log.warning(
            "%s, the latest the server spoke of, is not in %s; taking %s", name, cache, there[-1]
        )
    return there[-1]


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
        raise ContextError(f"{cache}: context_history in its server_config is no list") from None
    before = [name for start, name in history if start <= moment]
    if not before:
        raise ContextError(f"no context was in use on {date}")
    return check_name(before[-1])


def _config_entry(cache: Cache, key: str) -> Any:
    config = cache.server_config()
    if key not in config:
        raise ContextError(f"{cache}: no {key} in the cache's server_config, and no server to ask")
    return config[key]
