"""Fixtures for tests of caches and servers."""

import pytest
from support.crds_server import CrdsServer, make_cache

from calbatch.crds_client.cache.layout import Cache


@pytest.fixture(scope="module")
def _served(tmp_path_factory):
    with CrdsServer(make_cache(tmp_path_factory.mktemp("foreign") / "served")) as made:
        yield made


@pytest.fixture
def foreign(_served, monkeypatch):
    """Return a server whose answers a test replaces, and that clients ask only once."""
    monkeypatch.setenv("CRDS_CLIENT_RETRY_COUNT", "1")
    monkeypatch.setenv("CRDS_CLIENT_TIMEOUT_SECONDS", "0.3")
    monkeypatch.setenv("CRDS_CLIENT_RETRY_DELAY_SECONDS", "0")
    for name in ("CRDS_CONTEXT", "CRDS_MODE", "CRDS_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    yield _served
    _served.answers, _served.raw = {}, None


@pytest.fixture
def cache(tmp_path):
    """Return an empty cache."""
    (tmp_path / "cache").mkdir()
    return Cache(tmp_path / "cache")
