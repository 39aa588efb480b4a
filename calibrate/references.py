"""Where steps get their reference files from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from calbatch.calibrate.errors import ReferenceFileError


@dataclass(frozen=True)
class Chosen:
    """The reference of one type for one exposure.

    Attributes
    ----------
    path : Path or None
        The file; None for ``N/A``.
    recorded : str
        What the product's header says: ``crds://<name>`` or ``N/A``.
    """

    path: Path | None
    recorded: str


NOT_APPLICABLE = Chosen(None, "N/A")


class References(Protocol):
    """Chooses reference files."""

    @property
    def context(self) -> str:
        """The context that chose them, such as ``jwst_0541.pmap``."""
        ...

    def choose(self, header: Mapping[str, Any], reference_type: str) -> Chosen:
        """Return the reference for an exposure with this metadata (dotted path -> value).

        Raises
        ------
        ReferenceFileError
            When there is none, or its file is not to be had.
        """
        ...


@dataclass(frozen=True)
class ResolvedReferences:
    """The references of one exposure, resolved ahead of the pixels with all of its batch."""

    context: str
    chosen: Mapping[str, Chosen] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def choose(self, header: Mapping[str, Any], reference_type: str) -> Chosen:
        """Return the reference that was resolved."""
        if reference_type in self.chosen:
            return self.chosen[reference_type]
        reason = self.missing.get(reference_type, "it was not asked for when the batch began")
        raise ReferenceFileError(f"no {reference_type} reference: {reason}")


class CrdsReferences:
    """References by CRDS rules, found in a cache on disk.

    Parameters
    ----------
    context : str, optional
        The rules' version; by default what the environment says.
    """

    def __init__(self, context: str | None = None) -> None:
        self._context = context
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The CRDS client, made on first use from the environment's settings.

        Raises
        ------
        ReferenceFileError
            When there is no usable cache or context.
        """
        if self._client is None:
            from calbatch.crds_client import Client, CrdsError

            try:
                self._client = Client(context=self._context)
            except CrdsError as error:
                raise ReferenceFileError(str(error)) from error
        return self._client

    @property
    def context(self) -> str:
        """The context in use."""
        return str(self.client.context)

    def choose(self, header: Mapping[str, Any], reference_type: str) -> Chosen:
        """Return the reference that the rules choose."""
        resolved = self.resolve({"": header}, [reference_type])[""]
        return resolved.choose(header, reference_type)

    def resolve(
        self, headers: Mapping[Any, Mapping[str, Any]], types: Iterable[str]
    ) -> dict[Any, ResolvedReferences]:
        """Return the references of many exposures; equal configurations are resolved once.

        Raises
        ------
        ReferenceFileError
            When there is no usable cache or context.
        """
        from calbatch.crds_client.errors import CrdsError

        wanted = sorted(types)
        keyed = {e: {path.upper(): v for path, v in h.items()} for e, h in headers.items()}
        try:
            table = self.client.table(keyed, wanted)
        except CrdsError as error:
            raise ReferenceFileError(str(error)) from error
        faults = {
            exposure: ResolvedReferences(table.context, {}, dict.fromkeys(wanted, reason))
            for exposure, reason in table.faults.items()
        }
        return faults | {exposure: self._located(table[exposure]) for exposure in table}

    def _located(self, found: Mapping[str, Any]) -> ResolvedReferences:
        chosen: dict[str, Chosen] = {}
        missing: dict[str, str] = {}
        for name, resolution in found.items():
            if resolution.status == "n/a":
                chosen[name] = NOT_APPLICABLE
            elif resolution.status == "found":
                self._locate(name, resolution.name, chosen, missing)
            else:
                missing[name] = str(resolution.reason)
        return ResolvedReferences(self.context, chosen, missing)

    def _locate(
        self, reference_type: str, name: str, chosen: dict[str, Chosen], missing: dict[str, str]
    ) -> None:
        from calbatch.crds_client.errors import CrdsError

        try:
            chosen[reference_type] = Chosen(Path(self.client.locate(name)), f"crds://{name}")
        except CrdsError as error:
            missing[reference_type] = str(error)
