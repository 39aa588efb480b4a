"""Sites of any dask cluster class, by its import path."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from calbatch.cluster.errors import RequestError
from calbatch.cluster.sites.dask_site import DaskSite
from calbatch.cluster.sites.local import DASK_SETTINGS, hold_interrupts, http_routes
from calbatch.cluster.sites.options import ClusterOptions
from calbatch.cluster.sites.page.links import dashboard_link
from calbatch.cluster.sites.remote import (
    check_workers,
    first_cause,
    prepare_departure,
    refuse_insecure,
)
from calbatch.cluster.sites.timeouts import call_within
from calbatch.models.errors import format_count

EVERY = 0.1
"""Seconds between checks for a first worker."""


@contextmanager
def open_cluster(options: ClusterOptions, grain: str) -> Iterator[DaskSite]:
    """Create a cluster of any class, yield its scheduler as a site, and close it.

    Parameters
    ----------
    options : ClusterOptions
        The class, its arguments, and the number of workers.
    grain : {"exposure", "tile"}
        Size of a task.

    Raises
    ------
    RequestError
        If the class does not exist or cannot be instantiated, no worker arrives, or workers are
        unfit to calibrate.
    """
    import dask

    kind = import_class(options.path)
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({**DASK_SETTINGS, **http_routes()}))
        with hold_interrupts():
            cluster = _make_cluster(kind, options)
            stack.callback(cluster.close)
            client = stack.enter_context(_connect(cluster, options))
        _scale(cluster, client, options)
        workers = sum(check_workers(client, options.path, grain).values())
        name = f"{kind.__name__} with {format_count(workers, 'worker')} so far"
        prepare_departure(client)
        yield DaskSite(client, grain, name, dashboard_link(client))


def import_class(path: str) -> type:
    """Return a class by its import path.

    Raises
    ------
    RequestError
        If there is none.
    """
    module, _, name = path.replace(":", ".").rpartition(".")
    if not module or not name:
        raise RequestError(f"cluster {path!r}: must be like dask_gateway.GatewayCluster")
    try:
        cls = getattr(import_module(module), name)
    except ImportError as error:
        raise RequestError(f"cluster {path}: {error}; is it installed?") from error
    except AttributeError:
        raise RequestError(f"cluster {path}: {module} has no {name}") from None
    if not isinstance(cls, type):
        raise RequestError(f"cluster {path}: is not a class")
    return cls


def _make_cluster(kind: type, options: ClusterOptions) -> Any:
    try:
        cluster = kind(**options.arguments)
    except Exception as error:  # foreign code, with the user's arguments, may raise anything
        raise RequestError(
            f"cluster {options.path}: cannot be created: {first_cause(error)}"
        ) from error
    if not callable(getattr(cluster, "close", None)) or not hasattr(cluster, "scheduler_address"):
        raise RequestError(f"cluster {options.path}: is not a dask cluster class")
    return cluster


def _connect(cluster: Any, options: ClusterOptions) -> Any:
    from distributed import Client
    from distributed.deploy.cluster import Cluster

    address = str(cluster.scheduler_address)
    if urlsplit(address).scheme == "tcp":
        refuse_insecure(address, insecure=options.insecure)
    try:
        if isinstance(cluster, Cluster):
            return call_within(
                options.patience,
                lambda: Client(cluster, set_as_default=False),
                discard=Client.close,
            )
        return cluster.get_client(set_as_default=False)
    except Exception as error:  # foreign code may raise anything
        raise RequestError(
            f"cluster {options.path}: no connection: {first_cause(error)}"
        ) from error


def _scale(cluster: Any, client: Any, options: ClusterOptions) -> None:
    """Request workers, and wait for the first.

    Raises
    ------
    RequestError
        If the cluster cannot scale to so many, or no worker arrives.
    """
    if options.workers is not None:
        try:
            cluster.scale(options.workers)
        except Exception as error:  # foreign code may raise anything
            raise RequestError(
                f"cluster {options.path}: cannot scale to "
                f"{format_count(options.workers, 'worker')}: {first_cause(error)}"
            ) from error
    limit = time.monotonic() + options.patience
    while not client.nthreads():
        if time.monotonic() > limit:
            raise RequestError(
                f"cluster {options.path}: no worker arrived within {options.patience:g} s; does "
                "it need the option `workers`?"
            )
        time.sleep(EVERY)
