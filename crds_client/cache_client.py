"""A cache and the source of its files: everything that needs no context."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal, get_args

from calbatch.crds_client.cache.holds import Hold
from calbatch.crds_client.cache.layout import Cache, is_mapping
from calbatch.crds_client.errors import (
    CrdsError,
    ReferenceMissing,
    ServerError,
    UnsafeName,
    convert_errors,
)
from calbatch.crds_client.fetching import Fetcher, FetchReport, Progress
from calbatch.crds_client.server.protocol import Server
from calbatch.crds_client.server.remote import contact, is_server_address, open_source
from calbatch.crds_client.server.url_cache import UrlCache
from calbatch.crds_client.upkeep import Fault, cached_files, config_infos, prune, verify

Mode = Literal["auto", "local", "remote"]


class CacheClient:
    """Client for maintaining a cache, even if its rules are missing or damaged.

    Parameters
    ----------
    cache_path, observatory, mode, server_url, overlay, max_bytes
        See `calbatch.crds_client.client.Client`.

    Attributes
    ----------
    cache : Cache
        The cache on disk.
    mode : str
        ``local``, ``remote`` or ``auto``.
    hold : Hold
        The files requested by this client, which other processes do not prune while this one runs.

    Raises
    ------
    CrdsError
        If there is no cache.
    """

    def __init__(
        self,
        cache_path: str | Path | None = None,
        *,
        observatory: str | None = None,
        mode: Mode | None = None,
        server_url: str | None = None,
        overlay: str | Path | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.observatory = observatory or _default_observatory()
        self.mode = _mode(mode)
        self.max_bytes = max_bytes
        self.cache = _open_cache(cache_path, overlay, self.observatory)
        self.hold = Hold(self.cache)
        self.server_url = server_url or os.environ.get("CRDS_SERVER_URL")

    @functools.cached_property
    def source(self) -> Server | UrlCache | None:
        """The server or URL, contacted at the first use; None in local mode or offline.

        Raises
        ------
        ServerError
            If the mode is remote and the server cannot be reached.
        """
        local = self.mode == "local"
        source = None if local else open_source(self.server_url, self.observatory)
        if source is None:
            if self.mode == "remote":
                raise ServerError("the mode is remote, but CRDS_SERVER_URL names no server")
            return None
        with convert_errors(ServerError, f"{source}: its description of itself"):
            info = contact(source, required=self.mode == "remote")
        if info is None:
            return None
        if self.mode == "auto" and info.get("force_remote_mode"):
            self.mode = "remote"
        if info:
            self.cache.save_config(info)
        return source

    def fetch(
        self, names: Iterable[str], progress: Progress | None = None, *, anew: bool = False
    ) -> FetchReport:
        """Fetch the files that are not in the cache, several at a time.

        Parameters
        ----------
        names : iterable of str
            References or rules.
        progress : callable, optional
            Called with name, bytes received and size.
        anew : bool
            Fetch existing files, too.

        Returns
        -------
        FetchReport
            Paths, fetched files, and failed files with reasons. Without a server, every missing
            file counts as failed.

        Raises
        ------
        ReadOnlyCache, DownloadError, ServerError
            If nothing can be fetched at all.
        """
        names = list(dict.fromkeys(names))
        # In local mode, and without a server, nothing is written to the cache.
        if self.mode != "local" and is_server_address(self.server_url):
            self.hold.add(names)
        if (anew or self.list_missing(names)) and self.source is not None:
            with convert_errors(ServerError, f"{self.source}: its descriptions of files"):
                report = Fetcher(self.cache, self.source).fetch(names, progress, anew=anew)
            if self.max_bytes is not None:
                prune(self.cache, self.max_bytes, keep=set(names), own=self.hold.id)
            return report
        report = FetchReport()
        for name in names:
            path = self.cache.find(name)
            if path is None:
                report.failed[name] = str(ReferenceMissing(name, str(self.cache)))
            else:
                report.paths[name] = path
        return report

    def list_missing(self, names: Iterable[str]) -> list[str]:
        """Return the files that are not in the cache; invalid names are left to `locate`."""
        return sorted(name for name in set(names) if not self._has(name))

    def _has(self, name: str) -> bool:
        try:
            return self.cache.find(name) is not None
        except UnsafeName:  # no source has it
            return True

    def verify(self, names: Collection[str] = ()) -> tuple[list[Fault], list[str]]:
        """Read cached files and compare their sizes and checksums with the expected ones.

        Parameters
        ----------
        names : collection of str
            The files; by default all in the cache.

        Returns
        -------
        faults : list of Fault
            The damaged or missing files.
        unknown : list of str
            References that cannot be verified, because their checksums are unknown.
        """
        present = {path.name for path in cached_files(self.cache)}
        wanted = present.intersection(names) if names else present
        absent = [
            Fault(n, self.cache.new_path(n), "is not in the cache") for n in {*names} - present
        ]
        infos = self.source.file_infos(wanted) if self.source else config_infos(self.cache, wanted)
        unknown = {name for name in wanted if name not in infos and not is_mapping(name)}
        return [*absent, *verify(self.cache, infos, wanted - unknown)], sorted(unknown)


def _default_observatory() -> str:
    """Return ``CRDS_OBSERVATORY``, which the official client sets to ``None`` on import."""
    name = os.environ.get("CRDS_OBSERVATORY", "").lower()
    return name if name in ("jwst", "roman", "hst") else "jwst"


def _mode(mode: str | None) -> Mode:
    value = mode or os.environ.get("CRDS_MODE") or "auto"
    for known in get_args(Mode):
        if value == known:
            return known
    raise CrdsError(f"mode {value!r} is not one of {', '.join(get_args(Mode))}")


def _open_cache(path: str | Path | None, overlay: str | Path | None, observatory: str) -> Cache:
    root = path or os.environ.get("CRDS_PATH")
    if not root:
        raise CrdsError("no reference cache: set CRDS_PATH to its folder")
    if not Path(root).expanduser().is_dir():
        raise CrdsError(f"{root}: no such folder; CRDS_PATH must name the reference cache")
    cache = Cache(root, observatory)
    before = overlay or os.environ.get("CALBATCH_CRDS_OVERLAY")
    if not before:
        return cache
    Path(before).expanduser().mkdir(parents=True, exist_ok=True)
    return Cache(before, observatory, behind=cache)
