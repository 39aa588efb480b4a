"""Where steps get their reference files from."""

from __future__ import annotations

from collections.abc import Mapping
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
    """References by CRDS rules, one exposure at a time: for steps that run outside a batch."""

    def __init__(self, client: Any = None) -> None:
        self._client = client

    @property
    def client(self) -> Any:
        """The CRDS client, made on first use from the environment's settings."""
        if self._client is None:
            from calbatch.crds_client import Client

            self._client = Client()
        return self._client

    @property
    def context(self) -> str:
        """The context in use."""
        return str(self.client.context)

    def choose(self, header: Mapping[str, Any], reference_type: str) -> Chosen:
        """Return the reference that the rules choose."""
        return self.resolve(header, [reference_type]).choose(header, reference_type)

    def resolve(self, header: Mapping[str, Any], types: list[str]) -> ResolvedReferences:
        """Return an exposure's references of several types."""
        from calbatch.crds_client.errors import CrdsError

        keys = {path.upper(): value for path, value in header.items()}
        try:
            found = self.client.best_references(keys, types)
        except CrdsError as error:
            raise ReferenceFileError(str(error)) from error
        chosen: dict[str, Chosen] = {}
        missing: dict[str, str] = {}
        for name, resolution in found.items():
            if resolution.status == "n/a":
                chosen[name] = NOT_APPLICABLE
            elif resolution.status == "found":
                try:
                    path = Path(self.client.locate(resolution.name))
                    chosen[name] = Chosen(path, f"crds://{resolution.name}")
                except CrdsError as error:
                    missing[name] = str(error)
            else:
                missing[name] = str(resolution.reason)
        return ResolvedReferences(self.context, chosen, missing)
