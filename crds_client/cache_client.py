"""A cache and where its files come from: all that needs no context."""

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
    """Looks after a cache, whatever state its rules are in.

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
        What was asked for here, which others' pruning spares until the process ends.

    Raises
    ------
    CrdsError
        If there is no cache.
    """

    def __init__(
        self,
        cache_path: str | Path | None = None,
        observatory: str | None = None,
        mode: Mode | None = None,
        server_url: str | None = None,
        overlay: str | Path | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.observatory = observatory or _usual_observatory()
        self.mode = _mode(mode)
        self.max_bytes = max_bytes
        self.cache = _open_cache(cache_path, overlay, self.observatory)
        self.hold = Hold(self.cache)
        self.server_url = server_url or os.environ.get("CRDS_SERVER_URL")

    @functools.cached_property
    def source(self) -> Server | UrlCache | None:
        """The server or URL, reached when first needed; None in local mode or offline.

        Raises
        ------
        ServerError
            If the mode is remote and it cannot be reached.
        """
        local = self.mode == "local"
        source = None if local else open_source(self.server_url, self.observatory)
        if source is None:
            if self.mode == "remote":
                raise ServerError("mode is remote, and CRDS_SERVER_URL names no server")
            return None
        with convert_errors(ServerError, f"{source}: what it says of itself"):
            info = contact(source, must=self.mode == "remote")
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
        """Have files in the cache: those that are not there are fetched, many at once.

        Parameters
        ----------
        names : iterable of str
            References or rules.
        progress : callable, optional
            Called with name, bytes received and size.
        anew : bool
            Fetch also what is there.

        Returns
        -------
        FetchReport
            Paths, what was fetched, and what failed, with reasons. Without a server, what is
            missing has failed.

        Raises
        ------
        ReadOnlyCache, DownloadError, ServerError
            If nothing can be fetched at all.
        """
        names = list(dict.fromkeys(names))
        if self.mode != "local" and is_server_address(
            self.server_url
        ):  # or else nothing is written
            self.hold.add(names)
        if (anew or self.missing(names)) and self.source is not None:
            with convert_errors(ServerError, f"{self.source}: what it says of files"):
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

    def missing(self, names: Iterable[str]) -> list[str]:
        """List those files that are not in the cache; names that are none `locate` refuses."""
        return sorted(name for name in set(names) if not self._has(name))

    def _has(self, name: str) -> bool:
        try:
            return self.cache.find(name) is not None
        except UnsafeName:  # asking for it would not help
            return True

    def verify(self, names: Collection[str] = ()) -> tuple[list[Fault], list[str]]:
        """Read files of the cache again, and compare them with the sizes and sums they should have.

        Parameters
        ----------
        names : collection of str
            Which; all that there are unless said.

        Returns
        -------
        list of Fault, list of str
            What is wrong, and what cannot be verified: references that nobody knows.
        """
        there = {path.name for path in cached_files(self.cache)}
        wanted = there.intersection(names) if names else there
        absent = [Fault(n, self.cache.place(n), "is not in the cache") for n in {*names} - there]
        infos = self.source.file_infos(wanted) if self.source else config_infos(self.cache, wanted)
        unknown = {name for name in wanted if name not in infos and not is_mapping(name)}
        return [*absent, *verify(self.cache, infos, wanted - unknown)], sorted(unknown)


def _usual_observatory() -> str:
    """Give ``CRDS_OBSERVATORY``; the official client, when imported, sets it to ``None``."""
    name = os.environ.get("CRDS_OBSERVATORY", "").lower()
    return name if name in ("jwst", "roman", "hst") else "jwst"


def _mode(mode: str | None) -> Mode:
    value = mode or os.environ.get("CRDS_MODE") or "auto"
    for known in get_args(Mode):
        if value == known:
            return known
    raise CrdsError(f"mode {value!r} is not one of {', '.join(get_args(Mode))}")


def _open_cache(path: str | Path | None, overlay: str | Path | None, observatory: str) -> Cache:
    chosen = path or os.environ.get("CRDS_PATH")
    if not chosen:
        raise CrdsError("no reference cache: set CRDS_PATH to its folder")
    if not Path(chosen).expanduser().is_dir():
        raise CrdsError(f"{chosen}: no such folder; CRDS_PATH is to name the reference cache")
    cache = Cache(chosen, observatory)
    before = overlay or os.environ.get("CALBATCH_CRDS_OVERLAY")
    if not before:
        return cache
    Path(before).expanduser().mkdir(parents=True, exist_ok=True)
    return Cache(before, observatory, behind=cache)
