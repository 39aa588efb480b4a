"""The sources of the reference files of steps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from calbatch.calibrate.errors import ReferenceFileError
from calbatch.models.model import DataModel

if TYPE_CHECKING:
    from calbatch.crds_client import Client, ReferenceTable, Resolution
    from calbatch.crds_client.fetching import Progress
    from calbatch.crds_client.parameters import ParameterReference

Headers = Mapping[Any, Mapping[str, Any]]
"""Metadata (value by dotted path) by exposure, which is a number or a name."""

Header = Callable[[], Mapping[str, Any]]
"""Returns the metadata of an exposure, which is slow and not always needed."""

Fetch = Callable[[Sequence[str]], Mapping[str, str]]
"""Fetches files by name; returns the reason by name of those that failed."""

Foresee = Callable[[Mapping[Any, "ResolvedReferences"], bool], None]
"""Callback with the references that exposures will have, and whether files have to be fetched."""


@dataclass(frozen=True)
class ChosenReference:
    """The reference of one type for one exposure.

    Attributes
    ----------
    path : Path or None
        The file; None for ``N/A``.
    recorded : str
        The entry in the product's header: ``crds://<name>`` or ``N/A``.
    """

    path: Path | None
    recorded: str


NOT_APPLICABLE = ChosenReference(None, "N/A")


def resolve_override(reference_type: str, override: str | Path | DataModel) -> ChosenReference:
    """Return the reference that a user gives instead of the one that CRDS would choose.

    Parameters
    ----------
    reference_type : str
        The reference type.
    override : str, Path or DataModel
        A file, an open model, or ``N/A``.

    Raises
    ------
    ReferenceFileError
        If there is no such file.
    """
    if isinstance(override, DataModel):
        path = override.path if isinstance(override.path, Path) else None
        return ChosenReference(path, str(override.path or type(override).__name__))
    if str(override).upper() == "N/A":
        return NOT_APPLICABLE
    path = Path(override).expanduser()
    if not path.is_file():
        raise ReferenceFileError(f"override_{reference_type}: no such file: {path}")
    return ChosenReference(path, str(path.resolve()))


class References(Protocol):
    """Chooses reference files for exposures."""

    @property
    def context(self) -> str:
        """The context by which they are chosen, such as ``jwst_0541.pmap``."""
        ...

    def choose(self, header: Header, reference_type: str) -> ChosenReference:
        """Return the reference for an exposure; ``header`` returns its metadata by dotted path.

        Raises
        ------
        ReferenceFileError
            If there is none, or its file is unavailable.
        """
        ...


@dataclass(frozen=True)
class ResolvedReferences:
    """The references of one exposure, resolved together with those of its batch.

    Attributes
    ----------
    context : str
        The version of the rules.
    chosen : mapping
        References by type.
    missing : mapping
        Reasons why there is no reference, by type.
    fault : str
        The reason why no reference of any type can be chosen, such as a damaged rules file; ""
        usually.
    """

    context: str
    chosen: Mapping[str, ChosenReference] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""

    def choose(self, header: Header, reference_type: str) -> ChosenReference:
        """Return the resolved reference of a type."""
        if reference_type in self.chosen:
            return self.chosen[reference_type]
        self.require_rules()
        reason = self.missing.get(reference_type, "it was not requested when the batch was planned")
        raise ReferenceFileError(f"no {reference_type} reference: {reason}")

    @property
    def is_complete(self) -> bool:
        """True if there is a reference, or N/A, of each type."""
        return not (self.missing or self.fault)

    def require_rules(self) -> None:
        """Raise an error if the rules cannot be applied.

        Raises
        ------
        ReferenceFileError
            With the reason, which may be a file of a type that the exposure does not need.
        """
        if self.fault:
            raise ReferenceFileError(f"references cannot be chosen: {self.fault}")


@contextmanager
def _converted_errors() -> Iterator[None]:
    """Raise the errors of the CRDS client as `ReferenceFileError`."""
    from calbatch.crds_client import CrdsError

    try:
        yield
    except CrdsError as error:
        raise ReferenceFileError(str(error)) from error


class CrdsReferences:
    """References chosen by CRDS rules and located in a cache on disk.

    Parameters
    ----------
    context : str, optional
        The version of the rules; by default from the environment.
    """

    def __init__(self, context: str | None = None) -> None:
        self._context = context
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The CRDS client, made at the first use with the settings of the environment.

        Raises
        ------
        ReferenceFileError
            If there is no usable cache or context.
        """
        if self._client is None:
            from calbatch.crds_client import Client

            with _converted_errors():
                self._client = Client(context=self._context)
        return self._client

    @property
    def context(self) -> str:
        """The context in use."""
        return self.client.context

    @property
    def context_reason(self) -> str:
        """The reason for this context."""
        return self.client.context_reason

    @property
    def offline(self) -> bool:
        """True if there is no source of missing files."""
        return self.client.source is None

    @property
    def cache(self) -> str:
        """The folder or folders of the cache."""
        return str(self.client.cache)

    def choose(self, header: Header, reference_type: str) -> ChosenReference:
        """Return the reference that the rules choose for an exposure."""
        resolved = self.resolve({"": header()}, [reference_type])[""]
        return resolved.choose(header, reference_type)

    def fetch(self, names: Sequence[str], progress: Progress | None = None) -> Mapping[str, str]:
        """Fetch missing files into the cache; return the reasons of those that failed."""
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
        foresee: Foresee | None = None,
    ) -> dict[Any, ResolvedReferences]:
        """Return the references of groups of exposures that need different types.

        Equal configurations are resolved once, and each missing file is fetched once.

        Parameters
        ----------
        groups : iterable of (headers, types)
            Exposures and the types that they need.
        fetch : callable, optional
            Fetches missing files; by default `fetch`.
        optional : bool
            True if no reference is needed where the rules have none. Rules that cannot be read are
            a fault nevertheless.
        foresee : callable, optional
            Called with the references before missing files are fetched.

        Raises
        ------
        ReferenceFileError
            If there is no usable cache or context, or its rules cannot be fetched.
        """
        fetch = fetch or self.fetch
        self._fetch_rules(fetch)
        tables = [self._table(headers, sorted(types)) for headers, types in groups]
        missing = self._list_missing(set().union(*(table.names() for table in tables)))
        if foresee is not None and not (missing and self.offline):
            places = self.client.foresee_paths(missing)
            foresee(self._join(tables, {}, places, optional=optional), bool(missing))
        failed = fetch(missing) if missing else {}
        return self._join(tables, failed, {}, optional=optional)

    def _join(
        self,
        tables: Sequence[ReferenceTable[Hashable]],
        failed: Mapping[str, str],
        places: Mapping[str, Path],
        *,
        optional: bool,
    ) -> dict[Any, ResolvedReferences]:
        """Return the references of all tables; ``places`` has those of files to be fetched."""
        resolved: dict[Any, ResolvedReferences] = {}
        for table in tables:
            located: dict[int, ResolvedReferences] = {}
            for exposure, reason in table.faults.items():
                no_matter = optional and exposure in table.without_rules
                fault = "" if no_matter else reason
                resolved[exposure] = ResolvedReferences(self.context, fault=fault)
            for exposure in table:
                references = table[exposure]
                key = id(references)
                if key not in located:
                    located[key] = self._locate_all(references, failed, places, optional=optional)
                resolved[exposure] = located[key]
        return resolved

    def _table(self, headers: Headers, types: Sequence[str]) -> ReferenceTable[Hashable]:
        keyed = {e: {path.upper(): v for path, v in h.items()} for e, h in headers.items()}
        with _converted_errors():
            return self.client.table(keyed, types)

    def _list_missing(self, names: Iterable[str]) -> list[str]:
        with _converted_errors():
            return self.client.list_missing(names)

    def _fetch_rules(self, fetch: Fetch) -> None:
        """Fetch the rules of the context, if they are not in the cache."""
        from calbatch.crds_client.fetching import FetchReport

        if missing := self.client.list_missing_rules():
            with _converted_errors():
                FetchReport(failed=dict(fetch(missing))).check()

    def _locate_all(
        self,
        resolutions: Mapping[str, Resolution],
        failed: Mapping[str, str],
        places: Mapping[str, Path],
        *,
        optional: bool,
    ) -> ResolvedReferences:
        chosen: dict[str, ChosenReference] = {}
        missing: dict[str, str] = {}
        for kind, resolution in resolutions.items():
            if resolution.status == "n/a" or (optional and resolution.status != "found"):
                chosen[kind] = NOT_APPLICABLE
            elif resolution.status == "not found":
                missing[kind] = resolution.reason
            elif resolution.name is None:
                missing[kind] = f"the rules choose several files: {', '.join(resolution.names)}"
            elif resolution.name in failed:
                missing[kind] = failed[resolution.name]
            elif resolution.name in places:
                place = places[resolution.name]
                chosen[kind] = ChosenReference(place, f"crds://{resolution.name}")
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
        If the file is not a parameter reference.
    """
    from calbatch.crds_client.parameters import read_parameters as read

    with _converted_errors():
        return read(path)


def parameter_type(step: str) -> str:
    """Return the reference type of the parameters of a step's class."""
    from calbatch.crds_client.parameters import parameter_type as type_of_step

    return type_of_step(step)
