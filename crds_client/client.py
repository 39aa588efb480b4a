"""The client: selects references by headers under one context."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from calbatch.crds_client.cache_client import CacheClient, Mode
from calbatch.crds_client.context import ContextChoice, choose_context, is_known_locally
from calbatch.crds_client.errors import (
    ContextError,
    CrdsError,
    HeaderError,
    NoRulesError,
    ServerError,
    UnsafeName,
    WithdrawnReference,
    convert_errors,
)
from calbatch.crds_client.reference_table import (
    Configurations,
    Exposure,
    References,
    ReferenceTable,
)
from calbatch.crds_client.rules.keywords import instrument_of, synonyms
from calbatch.crds_client.rules.mapping import InstrumentRules, PipelineRules, load_mapping
from calbatch.crds_client.server.protocol import Server
from calbatch.crds_client.server.remote import RemoteInstrument

log = logging.getLogger(__name__)


class Client(CacheClient):
    """Selects references by the rules of one context, and locates them in a cache.

    Parameters
    ----------
    cache_path : path, optional
        The cache; by default ``CRDS_PATH``.
    context : str, optional
        A ``.pmap`` name, ``latest``, ``build``, ``edit`` or a date; by default ``CRDS_CONTEXT``,
        or else as `calbatch.crds_client.context.choose_context` says.
    observatory : str, optional
        ``jwst``, ``roman`` or ``hst``; by default the context's, ``CRDS_OBSERVATORY``, or jwst.
    mode : str, optional
        ``local`` never contacts the server, ``remote`` always does, ``auto`` requests missing
        files; by default ``CRDS_MODE``, otherwise ``auto``.
    server_url : str, optional
        A CRDS server, or the URL of a cache that fsspec can read (``s3://...``); by default
        ``CRDS_SERVER_URL``; without either, no server is contacted.
    overlay : path, optional
        A second cache, read and written before the first, which may be read-only; by default
        ``CALBATCH_CRDS_OVERLAY``.
    max_bytes : int, optional
        Size of the cache above which fetching removes the least recently used references, except
        those just requested; unlimited by default.

    Attributes
    ----------
    context : str
        The ``.pmap``, resolved once.
    context_reason : str
        The reason for this choice.

    Raises
    ------
    CrdsError
        If there is no cache, or the context cannot be resolved or is unavailable.
    """

    def __init__(
        self,
        cache_path: str | Path | None = None,
        context: str | None = None,
        *,
        observatory: str | None = None,
        mode: Mode | None = None,
        server_url: str | None = None,
        overlay: str | Path | None = None,
        max_bytes: int | None = None,
    ) -> None:
        context = context or os.environ.get("CRDS_CONTEXT")
        observatory = observatory or _observatory_of(context or "")
        super().__init__(
            cache_path,
            observatory=observatory,
            mode=mode,
            server_url=server_url,
            overlay=overlay,
            max_bytes=max_bytes,
        )
        choice = self._choose_context(context)
        self.context, self.context_reason = choice.name, choice.reason
        self._configurations: dict[str, Configurations] = {}
        self._to_fetch: list[str] = []
        if self.mode != "remote":  # fail early if the context is unavailable
            self._to_fetch = self._list_rules()
        if self.mode != "remote" and not self._to_fetch:
            self.rules.instruments  # noqa: B018

    def __repr__(self) -> str:
        return f"Client({str(self.cache)!r}, context={self.context!r}, mode={self.mode!r})"

    def _choose_context(self, wanted: str | None) -> ContextChoice:
        here = self.mode != "remote" and is_known_locally(wanted, self.cache)
        server = None if here else self.source
        with convert_errors(ContextError, f"{self.cache}: the context cannot be chosen"):
            choice = choose_context(wanted, self.cache, server)
        log.info("CRDS context %s: %s", choice.name, choice.reason)
        return choice

    def _list_rules(self) -> list[str]:
        """Return the context's other files, by the server; none if the cache has the context.

        The context is fetched after them, since where it is found, the others are expected, too.
        """
        if self.cache.find(self.context) is not None or not isinstance(self.source, Server):
            return []
        if self.mode == "remote":  # since the server asks for it
            return []
        with convert_errors(ServerError, f"{self.source}: its answer on {self.context}"):
            names = self.source.mapping_names(self.context)
        return [name for name in names if name != self.context]

    def list_missing_rules(self) -> list[str]:
        """Return the files that `rules` will fetch before the context, which may take a while."""
        return [] if "rules" in self.__dict__ else self.list_missing(self._to_fetch)

    @functools.cached_property
    def rules(self) -> PipelineRules:
        """The context's rules; if they are not in the cache, they are fetched together.

        Raises
        ------
        CrdsError
            If they are unavailable or malformed.
        """
        if self._to_fetch:
            self.fetch(self._to_fetch).check()
        return PipelineRules(load_mapping(self.context, self._read), self._read)

    def _read(self, name: str) -> str:
        if self.cache.find(name) is None and self.source is not None:
            self.fetch([name]).check()
        return self.cache.read_mapping(name)

    def configurations(self, instrument: str) -> Configurations:
        """Return an instrument's rules, ready to be applied to headers."""
        instrument = instrument.lower()
        if instrument not in self._configurations:
            rules = self._instrument_rules(instrument)
            self._configurations[instrument] = Configurations(rules, self.observatory)
        return self._configurations[instrument]

    def _instrument_rules(self, instrument: str) -> InstrumentRules | RemoteInstrument:
        if self.mode == "remote" and isinstance(self.source, Server):
            with convert_errors(ServerError, f"{self.source}: its answer on {self.context}"):
                parameters = self.source.selection_parameters(self.context)
            if instrument not in parameters:
                raise NoRulesError(f"{self.context}: no rules for instrument {instrument!r}")
            return RemoteInstrument(self.source, self.context, instrument, parameters[instrument])
        rules = self.rules.instrument(instrument)
        withdrawn = (rules.mappings() | {self.context}) & self.cache.bad_files()
        if withdrawn and not _is_allowed("CRDS_ALLOW_BAD_RULES"):
            raise ContextError(
                f"{self.context}: {', '.join(sorted(withdrawn))} was withdrawn as scientifically "
                "invalid; set CRDS_ALLOW_BAD_RULES=1 to use it nevertheless"
            )
        return rules

    @property
    def instruments(self) -> tuple[str, ...]:
        """The instruments for which the context has rules."""
        if self.mode == "remote" and isinstance(self.source, Server):
            return tuple(sorted(self.source.selection_parameters(self.context)))
        return self.rules.instruments

    def reference_types(self, instrument: str) -> tuple[str, ...]:
        """Return the reference types that the context has for an instrument."""
        return tuple(self.configurations(instrument).rules.types)

    def selection_keywords(self, instrument: str) -> frozenset[str]:
        """Return the parameters that select references, and their FITS keywords."""
        parameters = (*self.configurations(instrument).rules.parameters, self._instrument_key)
        names = (name for key in parameters for name in synonyms(key, self.observatory))
        return frozenset(name for name in names if name == name.upper())

    def best_references(
        self, header: Mapping[str, Any], types: Iterable[str] | None = None
    ) -> References:
        """Select the references of one exposure.

        Parameters
        ----------
        header : mapping
            By FITS keywords (``DETECTOR``) or paths (``META.INSTRUMENT.DETECTOR``).
        types : iterable of str, optional
            Reference types; by default all of the instrument.

        Returns
        -------
        dict
            Type to `calbatch.crds_client.rules.mapping.Resolution`.

        Raises
        ------
        HeaderError, ContextError
            If the header names no instrument, or none that the context has.
        """
        configurations = self._configurations_of(header)
        return configurations.resolve(
            configurations.values(header), None if types is None else tuple(types)
        )

    def table(
        self,
        headers: Mapping[Exposure, Mapping[str, Any]],
        types: Iterable[str] | None = None,
    ) -> ReferenceTable[Exposure]:
        """Select the references of many exposures; equal configurations are resolved once.

        Headers from which nothing can be selected are listed in the table's ``faults``, and in
        ``without_rules`` if the context has no rules for them.

        Raises
        ------
        CrdsError
            If the rules have to be fetched, and cannot be.
        """
        if self.mode != "remote":
            self.rules  # noqa: B018 - what is wrong with it is no fault of an exposure
        type_names = None if types is None else tuple(types)
        table: ReferenceTable[Exposure] = ReferenceTable(self.context)
        seen: dict[Any, int] = {}
        for exposure, header in headers.items():
            try:
                with convert_errors(ContextError, f"{self.context} cannot be applied"):
                    configurations = self._configurations_of(header)
                    values = configurations.values(header)
                    key = (configurations.rules.instrument, configurations.key(values))
                    references = (
                        seen[key] if key in seen else configurations.resolve(values, type_names)
                    )
            except CrdsError as error:
                table.faults[exposure] = str(error)
                if isinstance(error, (HeaderError, NoRulesError)):
                    table.without_rules.add(exposure)
                continue
            seen[key] = table.add(exposure, references)
        return table

    def locate(self, name: str) -> Path:
        """Return the path of a file in the cache.

        Raises
        ------
        ReferenceMissing
            If it is not in the cache; the message names the command that fetches it.
        UnsafeName
            If the name leads outside the cache.
        WithdrawnReference
            If the observatory has withdrawn it, unless ``CRDS_ALLOW_BAD_REFERENCES`` is set.
        """
        if name in self._withdrawn and not _is_allowed("CRDS_ALLOW_BAD_REFERENCES"):
            raise WithdrawnReference(
                f"{name} was withdrawn as scientifically invalid; set "
                "CRDS_ALLOW_BAD_REFERENCES=1 to use it nevertheless"
            )
        return self.cache.locate(name)

    def foresee_paths(self, names: Iterable[str]) -> dict[str, Path]:
        """Return the paths that missing files will have in the cache once they are fetched.

        Names that lead outside the cache, which are never fetched, have none.
        """
        paths: dict[str, Path] = {}
        for name in names:
            with suppress(UnsafeName):
                paths[name] = self.cache.checked_new_path(name)
        return paths

    @functools.cached_property
    def _withdrawn(self) -> frozenset[str]:
        return self.cache.bad_files()

    @functools.cached_property
    def _instrument_key(self) -> str:
        if self.mode == "remote":
            return _INSTRUMENT_KEYS[self.observatory]
        return self.rules.instrument_key

    def _configurations_of(self, header: Mapping[str, Any]) -> Configurations:
        return self.configurations(instrument_of(header, self._instrument_key))


_INSTRUMENT_KEYS = {
    "jwst": "META.INSTRUMENT.NAME",
    "roman": "ROMAN.META.INSTRUMENT.NAME",
    "hst": "INSTRUME",
}


def _observatory_of(context: str) -> str | None:
    """Return the observatory in the name of a context."""
    return next(
        (one for one in _INSTRUMENT_KEYS if context.startswith((f"{one}_", f"{one}-"))), None
    )


def _is_allowed(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("1", "T", "TRUE", "Y", "YES")
