"""A scheduler that runs already."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask

from calbatch import __version__
from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.local import dashboard_link
from calbatch.cluster.sites.timeouts import call_within

CONNECT = 10.0
"""Seconds to wait for a scheduler to answer."""

ASK_WORKERS = 60.0
"""Seconds to wait for all workers to answer: kernels may hold their interpreters for a while."""


@contextmanager
def open_scheduler(address: str, grain: str, *, insecure: bool = False) -> Iterator[DaskSite]:
    """Give a scheduler that runs already.

    Its certificates, for ``tls://``, are those of dask's configuration (distributed.comm.tls).

    Raises
    ------
    RequestError
        When it cannot be reached, is neither on this machine nor encrypted, or has workers that
        cannot calibrate.
    """
    from distributed import Client

    refuse_insecure(address, insecure=insecure)
    try:
        client = call_within(
            CONNECT + 1.0,  # `timeout` does not bound a scheduler that is stopped
            lambda: Client(address, timeout=CONNECT, set_as_default=False),
            discard=Client.close,
        )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise RequestError(f"no scheduler answers at {address}: {first_cause(error)}") from error
    with client:
        hosts = check_workers(client, address, grain)
        name = f"the scheduler at {address} with {sum(hosts.values())} workers"
        yield DaskSite(client, grain, name, dashboard_link(client))


def refuse_insecure(address: str, *, insecure: bool) -> None:
    """Refuse a scheduler whose traffic others could read, unless the user takes the risk.

    Raises
    ------
    RequestError
        When it is neither on this machine nor encrypted, certificates are missing, or it is no
        address at all.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname:
        raise RequestError(f"{address}: must be tcp://HOST:PORT or tls://HOST:PORT")
    if parts.scheme == "tcp" and not _is_loopback(parts.hostname) and not insecure:
        raise RequestError(
            f"{address}: not encrypted, and not on this machine: whoever reaches it runs code on "
            "it; use tls://, or say --insecure if the network is trusted"
        )
    if parts.scheme == "tls":
        _require_certificates(address)


def _require_certificates(address: str) -> None:
    for name in ("ca-file", "client.cert", "client.key"):
        setting = f"distributed.comm.tls.{name}"
        found = dask.config.get(setting)
        if found is None or not Path(found).is_file():
            variable = "DASK_" + setting.upper().replace(".", "__").replace("-", "_")
            what = f"is {found}, which is no file" if found else "is not set"
            raise RequestError(
                f"{address}: dask's {setting} {what}; {variable} can say where it is"
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def first_cause(error: Exception) -> str:
    """Return an error's first cause, in one line."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)  # type: ignore[arg-type]
    return " ".join(str(causes[-1]).split()) or type(causes[-1]).__name__


def _host_and_version() -> tuple[str, str]:
    """Return a worker's host, and its version of calbatch."""
    return socket.gethostname(), __version__


def check_workers(client: Any, address: str, grain: str) -> dict[str, int]:
    """Return how many workers each host has, all of them fit to calibrate.

    Raises
    ------
    RequestError
        When one is not, or tiles of one exposure would be written from several hosts.
    """
    try:
        found = call_within(ASK_WORKERS, lambda: client.run(_host_and_version))
    except TimeoutError as error:
        raise RequestError(
            f"{address}: not all of its workers answer within {ASK_WORKERS:g} s; one may be stopped"
        ) from error
    except Exception as error:
        raise RequestError(
            f"{address}: its workers cannot run calbatch: {first_cause(error)}"
        ) from error
    hosts: dict[str, int] = {}
    for worker, (host, version) in found.items():
        if version != __version__:
            raise RequestError(
                f"{address}: worker {worker} has calbatch {version}, this is {__version__}"
            )
        hosts[host] = hosts.get(host, 0) + 1
    if grain == "tile" and len(hosts) > 1:
        raise RequestError(
            f"{address}: its workers are on {len(hosts)} hosts, which must not write to one "
            "file together: use --grain exposure"
        )
    return hosts
