"""A CRDS cache at a URL, such as the S3 bucket that an observatory publishes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from calbatch.crds_client.answers import (
    MAX_ANSWER,
    FileInfo,
    file_descriptions,
    parse_infos,
    parse_literal,
)
from calbatch.crds_client.cache.layout import check_name, is_mapping
from calbatch.crds_client.errors import ServerError
from calbatch.crds_client.server.transport import RefusedError, TransientError
from calbatch.models.errors import ChangedError, FileError, MissingFileError, StorageError
from calbatch.models.storage.files import open_file, read_stamp
from calbatch.models.storage.location import Location, Url, location
from calbatch.models.storage.stamps import Stamp
from calbatch.models.storage.stores import Store


class UrlCache:
    """Serves files from a cache at a URL, which has the layout of a cache on disk.

    Parameters
    ----------
    url : str
        URL of the cache's root, such as ``s3://bucket/crds``.
    observatory : str
        ``jwst``, ``roman`` or ``hst``.

    Raises
    ------
    ServerError
        If the protocol is unknown, or the package for it is not installed.
    """

    def __init__(self, url: str, observatory: str = "jwst") -> None:
        self.url = url.rstrip("/")
        self.observatory = observatory
        try:
            self._root = location(self.url)
            if isinstance(self._root, Url):
                Store(self._root)
        except FileError as error:
            raise ServerError(str(error)) from None

    def __str__(self) -> str:
        return self.url

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        """The cache's ``server_config``; empty if it has none."""
        with _server_errors():
            stamp = _stamp(self._place("config", "server_config"))
            if stamp is None:
                return {}
            with open_file(stamp) as file:
                content = file.read(0, MAX_ANSWER + 1)
        try:
            return parse_literal(content)
        except ServerError as error:
            raise ServerError(f"{stamp.path}: {error}") from None

    def default_context(self, state: str) -> str:
        """Return the context that the cache's ``server_config`` names."""
        keys = ("latest_context", "operational_context") if state == "latest" else ("edit_context",)
        for key in keys:
            if self.info.get(key):
                return check_name(str(self.info[key]))
        raise ServerError(f"{self.url}: server_config names no {state} context")

    def build_context(self, version: str) -> str:
        """Raise `ServerError`: a cache does not list releases."""
        raise ServerError(f"{self.url}: a cache does not say which context belongs to {version}")

    def context_by_date(self, date: str) -> str:
        """Raise `ServerError`: the caller looks the date up in its own ``server_config``."""
        raise ServerError(f"{self.url}: a cache does not say which context was in use on {date}")

    def file_infos(self, names: Iterable[str]) -> dict[str, FileInfo]:
        """Return sizes and, where the ``server_config`` has them, checksums of existing files."""
        wanted = list(names)
        try:
            infos = parse_infos(file_descriptions(self.info), wanted)
        except ServerError as error:
            raise ServerError(f"{self.url}: server_config: {error}") from None
        with _server_errors():
            for name in wanted:
                if name not in infos and (stamp := self._find(name)) is not None:
                    infos[name] = FileInfo(stamp.size, "")
        return infos

    @contextmanager
    def open_file(self, name: str, offset: int) -> Iterator[tuple[int, IO[bytes]]]:
        """Open a file at an offset; see `calbatch.crds_client.fetching.Source.open_file`."""
        try:
            stamp = self._find(name)
            if stamp is None:
                raise RefusedError(f"{self.url}: no {name}")
            with open_file(stamp) as file, file.stream() as stream:
                stream.seek(offset)
                yield offset, stream
        except (StorageError, ChangedError) as error:
            raise TransientError(str(error)) from None
        except FileError as error:
            raise RefusedError(str(error)) from None

    def _find(self, name: str) -> Stamp | None:
        """Return the stamp of a file, in either layout; None if there is none."""
        check_name(name)
        if is_mapping(name):
            return _stamp(self._place("mappings", name))
        parts = name.split("_")
        folders = ["", parts[1]] if len(parts) > 2 else [""]
        for folder in reversed(folders):
            stamp = _stamp(self._place("references", *filter(None, [folder]), name))
            if stamp is not None:
                return stamp
        return None

    def _place(self, section: str, *parts: str) -> Location:
        place: Location = self._root / section / self.observatory
        for part in parts:
            place = place / part
        return place


def _stamp(place: Location) -> Stamp | None:
    try:
        return read_stamp(place)
    except MissingFileError:
        return None


@contextmanager
def _server_errors() -> Iterator[None]:
    try:
        yield
    except FileError as error:
        raise ServerError(str(error)) from None
