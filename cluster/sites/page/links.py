"""Addresses of dashboards, and of the page of a batch, as users can open them."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import dask

HOST = "127.0.0.1"
"""The only address of this host at which a page is served."""

DIRECT_LINK = "{scheme}://{host}:{port}/status"
"""The value of ``distributed.dashboard.link`` that is dask's own."""


def page_link(dashboard: str, token: str) -> str:
    """Return the address of the page with its token, for that of a dashboard's page ``status``.

    The token is in the fragment, which browsers do not send. An address of another form, from
    dask's configuration, is returned as it is.
    """
    base, slash, page = dashboard.rpartition("/")
    return f"{base}/calbatch#{token}" if slash and page == "status" else dashboard


def dashboard_link(client: Any) -> str | None:
    """Return the address of a scheduler's dashboard; on a JupyterHub, through its proxy.

    An address that dask's configuration states, and that of a scheduler on another host, which the
    proxy does not reach, are returned as they are.
    """
    link = client.dashboard_link
    if not link:
        return None
    return _find_way(link) if _is_on_this_host(client, link) else str(link)


def own_link(port: int) -> str:
    """Return the address of a server of this process, formed as that of a dashboard.

    Parameters
    ----------
    port : int
        Its port on this host.
    """
    parts = {"scheme": "http", "host": HOST, "port": port}
    try:  # as dask does
        link = _stated_link().format(**{**os.environ, **parts})
    except (
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ):  # it asks for something that is not there
        link = DIRECT_LINK.format(**parts)
    return _find_way(link)


def _find_way(link: str) -> str:
    """Return an address of this host, unless dask's configuration states it, as a hub has it."""
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX")
    if not prefix or _stated_link() != DIRECT_LINK:
        return link
    # the hub's variables: https://hub.example/user/me/; https://hub.example, or "" if unknown
    own = os.environ.get("JUPYTERHUB_PUBLIC_URL") or os.environ.get("JUPYTERHUB_HOST", "") + prefix
    return f"{own.rstrip('/')}/proxy/{urlsplit(link).port}/status"


def _stated_link() -> str:
    return str(dask.config.get("distributed.dashboard.link", DIRECT_LINK))


def _is_on_this_host(client: Any, link: str) -> bool:
    from distributed import Scheduler

    is_in_process = isinstance(getattr(client.cluster, "scheduler", None), Scheduler)
    return is_in_process or urlsplit(link).hostname in (HOST, "localhost", "::1")
