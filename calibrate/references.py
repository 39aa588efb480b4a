"""Where steps get their reference files from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.models.errors import FileError
from calbatch.models.fits.decoded_copies import DecodedCopies
from calbatch.models.private import NotPrivateError

if TYPE_CHECKING:
    from calbatch.crds_client import Client, ReferenceTable, Resolution
    from calbatch.crds_client.fetching import Progress
    from calbatch.crds_client.parameters import ParameterReference

Headers = Mapping[Any, Mapping[str, Any]]
"""Exposure (a number, a name) to its metadata by dotted path."""

Fetch = Callable[[Sequence[str]], Mapping[str, str]]
"""Fetches files by name; returns the reasons of those that could not be had."""


@dataclass(frozen=True)
class ChosenReference:
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


NOT_APPLICABLE = ChosenReference(None, "N/A")


class References(Protocol):
    """Chooses reference files."""

    @property
    def context(self) -> str:
        """The context that chose them, such as ``jwst_0541.pmap``."""
        ...

    def choose(self, header: Mapping[str, Any], reference_type: str) -> ChosenReference:
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
    chosen: Mapping[str, ChosenReference] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def choose(self, header: Mapping[str, Any], reference_type: str) -> ChosenReference:
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
        self._client: Client | None = None

    @property
    def client(self) -> Client:
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
        return self.client.context

    @property
    def context_reason(self) -> str:
        """Why that one."""
        return self.client.context_reason

    @property
    def offline(self) -> bool:
        """Whether there is nobody to ask for what is missing."""
        return self.client.source is None

    @property
    def cache(self) -> str:
        """The folder, or folders, of the cache."""
        return str(self.client.cache)

    def choose(self, header: Mapping[str, Any], reference_type: str) -> ChosenReference:
        """Return the reference that the rules choose."""
        resolved = self.resolve({"": header}, [reference_type])[""]
        return resolved.choose(header, reference_type)

    def fetch(self, names: Sequence[str], progress: Progress | None = None) -> Mapping[str, str]:
        """Have files in the cache, each fetched once; return the reasons of those that failed."""
        from calbatch.crds_client import CrdsError

        try:
            return self.client.fetch(names, progress).failed
        except CrdsError as error:
            return dict.fromkeys(names, str(error))

    def resolve(
        self,
        headers: Headers,
        types: Iterable[str],
        fetch: Fetch | None = None,
        *,
        optional: bool = False,
    ) -> dict[Any, ResolvedReferences]:
        """Return the references of many exposures; see `resolve_all`."""
        return self.resolve_all([(headers, types)], fetch, optional=optional)

    def resolve_all(
        self,
        groups: Iterable[tuple[Headers, Iterable[str]]],
        fetch: Fetch | None = None,
        *,
        optional: bool = False,
    ) -> dict[Any, ResolvedReferences]:
        """Return the references of groups of exposures that want different types.

        Equal configurations are resolved once, and each file that is not in the cache is fetched
        once.

        Parameters
        ----------
        groups : iterable of (headers, types)
            Exposures and the types that they want.
        fetch : callable, optional
            Fetches what is not in the cache; by default `fetch`.
        optional : bool
            Whether no reference is needed where the rules have none.

        Raises
        ------
        ReferenceFileError
            When there is no usable cache or context.
        """
        wanted = [(headers, sorted(types)) for headers, types in groups]
        tables = [self._table(headers, types) for headers, types in wanted]
        missing = self._missing(set().union(*(table.names() for table in tables)))
        failed = (fetch or self.fetch)(missing) if missing else {}
        found: dict[Any, ResolvedReferences] = {}
        for table, (_, types) in zip(tables, wanted, strict=True):
            known: dict[int, ResolvedReferences] = {}
            for exposure, reason in table.faults.items():
                found[exposure] = self._nothing({} if optional else dict.fromkeys(types, reason))
            for exposure in table:
                references = table[exposure]
                if id(references) not in known:
                    known[id(references)] = self._locate_all(references, failed, optional=optional)
                found[exposure] = known[id(references)]
        return found

    def _table(self, headers: Headers, types: Sequence[str]) -> ReferenceTable[Hashable]:
        from calbatch.crds_client import CrdsError

        keyed = {e: {path.upper(): v for path, v in h.items()} for e, h in headers.items()}
        try:
            return self.client.table(keyed, types)
        except CrdsError as error:
            raise ReferenceFileError(str(error)) from error

    def _missing(self, names: Iterable[str]) -> list[str]:
        from calbatch.crds_client import CrdsError

        try:
            return self.client.missing(names)
        except CrdsError as error:
            raise ReferenceFileError(str(error)) from error

    def _nothing(self, missing: Mapping[str, str]) -> ResolvedReferences:
        return ResolvedReferences(self.context, {}, missing)

    def _locate_all(
        self, found: Mapping[str, Resolution], failed: Mapping[str, str], *, optional: bool
    ) -> ResolvedReferences:
        chosen: dict[str, ChosenReference] = {}
        missing: dict[str, str] = {}
        for kind, resolution in found.items():
            if resolution.status == "n/a" or (optional and resolution.status != "found"):
                chosen[kind] = NOT_APPLICABLE
            elif resolution.status == "not found":
                missing[kind] = resolution.reason
            elif resolution.name is None:
                missing[kind] = f"the rules choose several files: {', '.join(resolution.names)}"
            elif resolution.name in failed:
                missing[kind] = failed[resolution.name]
            else:
                self._locate(kind, resolution.name, chosen, missing)
        return ResolvedReferences(self.context, chosen, missing)

    def _locate(
        self,
        reference_type: str,
        name: str,
        chosen: dict[str, ChosenReference],
        missing: dict[str, str],
    ) -> None:
        from calbatch.crds_client import CrdsError

        try:
            chosen[reference_type] = ChosenReference(self.client.locate(name), f"crds://{name}")
        except CrdsError as error:
            missing[reference_type] = str(error)


def read_parameters(path: Path) -> ParameterReference:
    """Read a parameter reference.

    Raises
    ------
    ReferenceFileError
        If the file is not one.
    """
    from calbatch.crds_client import CrdsError
    from calbatch.crds_client.parameters import read_parameters as read

    try:
        return read(path)
    except CrdsError as error:
        raise ReferenceFileError(str(error)) from error


def parameter_type(step: str) -> str:
    """Return the reference type that holds the parameters of a step's class."""
    from calbatch.crds_client.parameters import parameter_type as named

    return named(step)


@dataclass(frozen=True)
class HostCopies:
    """References that are compressed, scaled or tables, decoded once on a host.

    See `calbatch.models.fits.readers.CopyProvider`.

    Parameters
    ----------
    folder : str, optional
        Where; by default each host's own, which ``CALBATCH_DECODED_DIR`` names.
    """

    folder: str | None = None

    def plain_file(self, path: str) -> Path:
        """Give a file whose images can be read by position.

        Raises
        ------
        ReferenceFileError
            If it cannot be decoded, or the copy not be written.
        """
        try:
            return DecodedCopies(self.folder).plain_file(path)
        except FileError as error:
            raise ReferenceFileError(str(error)) from error

    def table_file(self, path: str, index: int) -> Path | None:
        """Give an ``.npy`` file with a table's rows; None if they cannot be held by one."""
        try:
            return DecodedCopies(self.folder).table_file(path, index)
        except NotPrivateError as error:
            raise ReferenceFileError(str(error)) from error
        except FileError:
            return None
