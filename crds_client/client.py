"""The client: one context, pinned; headers in, references out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from calbatch.crds_client.batch import Configurations, Exposure, References, ReferenceTable
from calbatch.crds_client.cache import Cache
from calbatch.crds_client.context import ContextChoice, choose_context
from calbatch.crds_client.errors import CrdsError
from calbatch.crds_client.keywords import instrument_of, synonyms
from calbatch.crds_client.rules import PipelineRules, load_mapping

log = logging.getLogger(__name__)

Mode = Literal["auto", "local", "remote"]


class Client:
    """Selects references by the rules of one context and finds them in a cache.

    Parameters
    ----------
    cache_path : path, optional
        The cache; by default ``CRDS_PATH``.
    context : str, optional
        A ``.pmap`` name, ``latest``, ``build``, ``edit`` or a date; by default ``CRDS_CONTEXT``,
        or else as `calbatch.crds_client.context.choose_context` says.
    observatory : str
        ``jwst``, ``roman`` or ``hst``.
    mode : str, optional
        ``local`` never asks the server, ``remote`` always does, ``auto`` asks for what is
        missing; by default ``CRDS_MODE``, or else ``auto``.
    server_url : str, optional
        By default ``CRDS_SERVER_URL``; without either nothing is asked.

    Attributes
    ----------
    context : str
        The ``.pmap``, resolved once.
    context_reason : str
        Why that one.

    Raises
    ------
    CrdsError
        If there is no cache, or the context cannot be resolved or had.
    """

    def __init__(
        self,
        cache_path: str | Path | None = None,
        context: str | None = None,
        observatory: str = "jwst",
        mode: Mode | None = None,
        server_url: str | None = None,
    ) -> None:
        self.observatory = observatory
        self.mode = _mode(mode)
        self.server_url = server_url or os.environ.get("CRDS_SERVER_URL")
        self.cache = Cache(_cache_path(cache_path), observatory)
        choice = self._choose_context(context or os.environ.get("CRDS_CONTEXT"))
        self.context, self.context_reason = choice.name, choice.reason
        self.rules = PipelineRules(load_mapping(self.context, self._read), self._read)
        self._configurations: dict[str, Configurations] = {}

    def __repr__(self) -> str:
        return f"Client({str(self.cache)!r}, context={self.context!r}, mode={self.mode!r})"

    def _choose_context(self, wanted: str | None) -> ContextChoice:
        choice = choose_context(wanted, self.cache)
        log.info("CRDS context %s: %s", choice.name, choice.reason)
        return choice

    def _read(self, name: str) -> str:
        return self.cache.read_mapping(name)

    def configurations(self, instrument: str) -> Configurations:
        """Give an instrument's rules with what they need of headers."""
        instrument = instrument.lower()
        if instrument not in self._configurations:
            rules = self.rules.instrument(instrument)
            self._configurations[instrument] = Configurations(rules, self.observatory)
        return self._configurations[instrument]

    def reference_types(self, instrument: str) -> tuple[str, ...]:
        """List the reference types that the context has for an instrument."""
        return tuple(self.configurations(instrument).rules.types)

    def selection_keywords(self, instrument: str) -> frozenset[str]:
        """List the parameters that select references, and the FITS keywords that hold them."""
        parameters = (*self.configurations(instrument).rules.parameters, self.rules.instrument_key)
        names = (name for key in parameters for name in synonyms(key, self.observatory))
        return frozenset(name for name in names if name == name.upper())

    def best_references(
        self, header: Mapping[str, Any], types: Iterable[str] | None = None
    ) -> References:
        """Choose one exposure's references.

        Parameters
        ----------
        header : mapping
            By FITS keywords (``DETECTOR``) or paths (``META.INSTRUMENT.DETECTOR``).
        types : iterable of str, optional
            Reference types; all of the instrument unless said.

        Returns
        -------
        dict
            Type to `calbatch.crds_client.rules.Resolution`.

        Raises
        ------
        HeaderError, ContextError
            If the header names no instrument, or none that the context has.
        """
        known = self._configurations_of(header)
        return known.resolve(known.values(header), types)

    def table(
        self,
        headers: Mapping[Exposure, Mapping[str, Any]],
        types: Iterable[str] | None = None,
    ) -> ReferenceTable[Exposure]:
        """Choose the references of many exposures, equal configurations once.

        Headers from which nothing can be selected are in the table's ``faults``; they do not
        stop the others.
        """
        wanted = None if types is None else list(types)
        table: ReferenceTable[Exposure] = ReferenceTable(self.context)
        seen: dict[Any, int] = {}
        for exposure, header in headers.items():
            try:
                known = self._configurations_of(header)
            except CrdsError as error:
                table.faults[exposure] = str(error)
                continue
            values = known.values(header)
            key = (known.rules.instrument, known.key(values))
            if key in seen:
                table.add(exposure, seen[key])
            else:
                seen[key] = table.add(exposure, known.resolve(values, wanted))
        return table

    def locate(self, name: str) -> Path:
        """Give the path of a file in the cache.

        Raises
        ------
        ReferenceMissing
            If it is not there; names the command that would fetch it.
        UnsafeName
            If the name leads out of the cache.
        """
        return self.cache.locate(name)

    def _configurations_of(self, header: Mapping[str, Any]) -> Configurations:
        return self.configurations(instrument_of(header, self.rules.instrument_key))


def _mode(mode: str | None) -> Mode:
    value = mode or os.environ.get("CRDS_MODE") or "auto"
    for known in get_args(Mode):
        if value == known:
            return known
    raise CrdsError(f"mode {value!r} is not one of {', '.join(get_args(Mode))}")


def _cache_path(path: str | Path | None) -> str | Path:
    chosen = path or os.environ.get("CRDS_PATH")
    if not chosen:
        raise CrdsError("no reference cache: set CRDS_PATH to its folder")
    if not Path(chosen).expanduser().is_dir():
        raise CrdsError(f"{chosen}: no such folder; CRDS_PATH is to name the reference cache")
    return chosen
