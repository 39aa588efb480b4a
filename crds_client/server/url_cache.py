"""A CRDS cache at a URL that fsspec can read: an S3 bucket, say, as the observatory publishes."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Iterable, Mapping
from typing import IO, Any

from calbatch.crds_client.answers import (
    MAX_ANSWER,
    FileInfo,
    file_descriptions,
    parse_infos,
    parse_literal,
    shorten,
)
from calbatch.crds_client.cache.layout import check_name, is_mapping
from calbatch.crds_client.errors import ServerError
from calbatch.crds_client.server.transport import RefusedError, TransientError


class UrlCache:
    """Serves files from a cache at a URL, in the layout of caches on disk.

    Parameters
    ----------
    url : str
        Of the cache's root, such as ``s3://bucket/crds``.
    observatory : str
        ``jwst``, ``roman`` or ``hst``.
    options : mapping, optional
        For fsspec: credentials, an endpoint.

    Raises
    ------
    ServerError
        If fsspec knows no such protocol, or the package for it is not installed.
    """

    def __init__(
        self, url: str, observatory: str = "jwst", options: Mapping[str, Any] | None = None
    ) -> None:
        import fsspec

        self.url = url.rstrip("/")
        self.observatory = observatory
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url, **(options or {}))
        except Exception as error:  # by its package, which may raise anything
            raise ServerError(f"{url}: {error}") from None

    def __str__(self) -> str:
        return self.url

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        """The cache's ``server_config``; empty if it has none."""
        path = self._path("config", self.observatory, "server_config")
        try:
            with self._files.open(path, "rb") as stream:
                return parse_literal(stream.read(MAX_ANSWER + 1))
        except FileNotFoundError:
            return {}
        except Exception as error:  # a store's client may raise anything
            raise ServerError(f"{self.url}: server_config: {_error_text(error)}") from None

    def default_context(self, state: str) -> str:
        """Give the context that the cache's ``server_config`` names."""
        keys = ("latest_context", "operational_context") if state == "latest" else ("edit_context",)
        for key in keys:
            if self.info.get(key):
                return check_name(str(self.info[key]))
        raise ServerError(f"{self.url}: server_config names no {state} context")

    def build_context(self, version: str) -> str:
        """Refuse: a cache does not know releases."""
        raise ServerError(f"{self.url}: a cache does not say which context belongs to {version}")

    def context_by_date(self, date: str) -> str:
        """Refuse: the history is looked up by who has the ``server_config``."""
        raise ServerError(f"{self.url}: a cache does not say which context was in use on {date}")

    def file_infos(self, names: Iterable[str]) -> dict[str, FileInfo]:
        """Give sizes and, where the ``server_config`` has them, sums."""
        wanted = list(names)
        try:
            known = parse_infos(file_descriptions(self.info), wanted)
        except ServerError as error:
            raise ServerError(f"{self.url}: server_config: {error}") from None
        for name in wanted:
            if name not in known and (size := self._size(name)) is not None:
                known[name] = FileInfo(size, "")
        return known

    def _size(self, name: str) -> int | None:
        path = self._find(name)
        try:
            return int(self._files.info(path)["size"])
        except FileNotFoundError:
            return None
        except Exception as error:  # a store's client may raise anything
            raise ServerError(f"{self.url}: {name}: {_error_text(error)}") from None

    def open_file(self, name: str, offset: int) -> tuple[int, IO[bytes]]:
        """Begin to fetch a file, as `Server.open_file` does."""
        path = self._find(name)
        try:
            stream = self._files.open(path, "rb")
            stream.seek(offset)
        except FileNotFoundError:
            raise RefusedError(f"{self.url}: no {name}") from None
        except Exception as error:  # a store's client may raise anything
            raise TransientError(f"{self.url}: {name}: {_error_text(error)}") from None
        return offset, stream

    def _path(self, *parts: str) -> str:
        return posixpath.join(self._root, *parts)

    def _find(self, name: str) -> str:
        check_name(name)
        if is_mapping(name):
            return self._path("mappings", self.observatory, name)
        flat = self._path("references", self.observatory, name)
        parts = name.split("_")
        if len(parts) > 2:
            grouped = self._path("references", self.observatory, parts[1], name)
            if self._exists(grouped):
                return grouped
        return flat

    def _exists(self, path: str) -> bool:
        try:
            return bool(self._files.exists(path))
        except Exception as error:  # a store's client may raise anything
            raise ServerError(f"{self.url}: {_error_text(error)}") from None


def _error_text(error: BaseException) -> str:
    return shorten(str(error)) or type(error).__name__
