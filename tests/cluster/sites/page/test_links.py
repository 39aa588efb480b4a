"""Addresses of dashboards and of the page, on this host, through a hub and as configured."""

from types import SimpleNamespace

import dask
import pytest

from calbatch.cluster.sites.page.links import DIRECT_LINK, dashboard_link, own_link, page_link

HUB = {
    "JUPYTERHUB_SERVICE_PREFIX": "/user/me/",
    "JUPYTERHUB_HOST": "https://me.hub.example",
    "JUPYTERHUB_PUBLIC_URL": "https://hub.example/user/me/",
}
DIRECT, ELSEWHERE = "http://127.0.0.1:8787/status", "http://10.0.0.9:8787/status"


def set_hub(monkeypatch, numbers):
    """Set some of the hub's variables, and unset the others."""
    for number, (name, value) in enumerate(HUB.items()):
        if number in numbers:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "stated", "link", "expected"),
    [
        ([], None, DIRECT, DIRECT),
        ([0, 1, 2], None, DIRECT, "https://hub.example/user/me/proxy/8787/status"),
        ([0, 1], None, DIRECT, "https://me.hub.example/user/me/proxy/8787/status"),
        ([0], None, DIRECT, "/user/me/proxy/8787/status"),
        ([0, 1, 2], None, ELSEWHERE, ELSEWHERE),
        ([0, 1, 2], "proxy/{port}/status", "proxy/8787/status", "proxy/8787/status"),
        ([0, 1, 2], None, None, None),
    ],
)
def test_the_link_is_the_one_that_works(monkeypatch, variables, stated, link, expected):
    set_hub(monkeypatch, variables)
    client = SimpleNamespace(dashboard_link=link, cluster=None)
    with dask.config.set({"distributed.dashboard.link": stated or DIRECT_LINK}):
        assert dashboard_link(client) == expected


@pytest.mark.parametrize(
    ("variables", "stated", "expected"),
    [
        ([], None, DIRECT),
        ([0, 1, 2], None, "https://hub.example/user/me/proxy/8787/status"),
        ([0, 1, 2], "/{JUPYTERHUB_HOST}/{port}/status", "/https://me.hub.example/8787/status"),
        ([], "/{JUPYTERHUB_HOST}/{port}/status", DIRECT),  # without that variable
        ([], "{0}{port", DIRECT),
    ],
)
def test_a_server_of_this_process_has_the_link_of_a_dashboard(
    monkeypatch, variables, stated, expected
):
    set_hub(monkeypatch, variables)
    with dask.config.set({"distributed.dashboard.link": stated or DIRECT_LINK}):
        assert own_link(8787) == expected


def test_a_server_of_this_process_has_a_link_where_distributed_is_not_loaded(monkeypatch):
    set_hub(monkeypatch, [])
    with dask.config.set({"distributed.dashboard": {}}):
        assert own_link(8787) == DIRECT


@pytest.mark.parametrize(
    ("dashboard", "expected"),
    [
        ("http://127.0.0.1:8787/status", "http://127.0.0.1:8787/calbatch#t"),
        ("/user/me/proxy/8787/status", "/user/me/proxy/8787/calbatch#t"),
        ("https://hub.example/a/status", "https://hub.example/a/calbatch#t"),
        ("https://elsewhere.example/show?port=8787", "https://elsewhere.example/show?port=8787"),
        ("status", "status"),
    ],
)
def test_the_link_opens_the_page_where_the_dashboard_is(dashboard, expected):
    assert page_link(dashboard, "t") == expected
