"""Sites at a scheduler that is already running."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dask

from calbatch import __version__
from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.local import FEW_MESSAGES
from calbatch.cluster.sites.page.links import dashboard_link
from calbatch.cluster.sites.timeouts import call_within
from calbatch.models.errors import format_count

CONNECT = 10.0
"""Seconds to wait for a scheduler to answer."""

ASK_WORKERS = 60.0
"""Seconds to wait for all workers to answer: kernels may hold their interpreters for a while."""


@contextmanager
def open_scheduler(address: str, grain: str, *, insecure: bool = False) -> Iterator[DaskSite]:
    """Connect to a running scheduler, and yield it as a site.

    Certificates for ``tls://`` come from dask's configuration (distributed.comm.tls).

    Parameters
    ----------
    address : str
        The scheduler's address.
    grain : {"exposure", "tile"}
        Size of a task.
    insecure : bool
        Accept an unencrypted scheduler on another machine.

    Raises
    ------
    RequestError
        If it cannot be reached, is neither on this machine nor encrypted, or has workers that are
        unfit to calibrate.
    """
    from distributed import Client

    refuse_insecure(address, insecure=insecure)
    try:
        with dask.config.set(FEW_MESSAGES):
            client = call_within(
                CONNECT + 1.0,  # with a stopped scheduler, Client waits beyond its `timeout`
                lambda: Client(address, timeout=CONNECT, set_as_default=False),
                discard=Client.close,
            )
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise RequestError(f"no scheduler answers at {address}: {first_cause(error)}") from error
    with client:
        hosts = check_workers(client, address, grain)
        name = f"the scheduler at {address} with {format_count(sum(hosts.values()), 'worker')}"
        prepare_departure(client)
        yield DaskSite(client, grain, name, dashboard_link(client))


def prepare_departure(client: Any) -> None:
    """Keep a scheduler that outlives this process from logging a traceback if it is killed."""
    from calbatch.cluster.sites.scheduler_plugins import Departures, install_plugin

    with suppress(Exception):  # the scheduler may accept no code; a batch does not need it
        install_plugin(client, Departures())


def refuse_insecure(address: str, *, insecure: bool) -> None:
    """Refuse a scheduler whose traffic others could read, unless the user accepts the risk.

    Raises
    ------
    RequestError
        If it is neither on this machine nor encrypted, certificates are missing, or the address is
        malformed.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname:
        raise RequestError(f"{address}: must be tcp://HOST:PORT or tls://HOST:PORT")
    if parts.scheme == "tcp" and not _is_loopback(parts.hostname) and not insecure:
        raise RequestError(
            f"{address}: not encrypted, and not on this machine: anybody who reaches it can run "
            "code on it; use tls://, or --insecure if you trust the network"
        )
    if parts.scheme == "tls":
        _require_certificates(address)


def _require_certificates(address: str) -> None:
    for name in ("ca-file", "client.cert", "client.key"):
        setting = f"distributed.comm.tls.{name}"
        path = dask.config.get(setting)
        if path is None or not Path(path).is_file():
            variable = "DASK_" + setting.upper().replace(".", "__").replace("-", "_")
            problem = f"is {path}, which is not a file" if path else "is not set"
            raise RequestError(f"{address}: dask's {setting} {problem}; {variable} can set it")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def first_cause(error: Exception) -> str:
    """Return the message of an error's first cause, in one line."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)  # type: ignore[arg-type]
    return " ".join(str(causes[-1]).split()) or type(causes[-1]).__name__


def _host_and_version() -> tuple[str, str]:
    """Return the host and the version of calbatch; runs in a worker."""
    return socket.gethostname(), __version__


def check_workers(client: Any, address: str, grain: str) -> dict[str, int]:
    """Check that all workers are fit to calibrate, and return their number on each host.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    address : str
        Name of the site in error messages.
    grain : {"exposure", "tile"}
        Size of a task.

    Raises
    ------
    RequestError
        If a worker does not answer or has another version, or if several hosts would write the
        tiles of one exposure.
    """
    try:
        versions = call_within(ASK_WORKERS, lambda: client.run(_host_and_version))
    except TimeoutError as error:
        raise RequestError(
            f"{address}: not all of its workers answer within {ASK_WORKERS:g} s; one may be stopped"
        ) from error
    except Exception as error:
        raise RequestError(
            f"{address}: its workers cannot run calbatch: {first_cause(error)}"
        ) from error
    hosts: dict[str, int] = {}
    for worker, (host, version) in versions.items():
        if version != __version__:
            raise RequestError(
                f"{address}: worker {worker} has calbatch {version}, this process {__version__}"
            )
        hosts[host] = hosts.get(host, 0) + 1
    if grain == "tile" and len(hosts) > 1:
        raise RequestError(
            f"{address}: its workers are on {len(hosts)} hosts, which must not write to one "
            "file together: use --grain exposure"
        )
    return hosts
