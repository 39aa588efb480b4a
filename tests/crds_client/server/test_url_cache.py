"""A cache at a URL: in memory, and in a bucket served by moto's S3 on loopback."""

import fsspec
import pytest
from support.crds_server import CONTEXT, HEADER, CrdsServer, make_cache
from support.s3 import moto_server, use_endpoint

from calbatch.crds_client import Client
from calbatch.crds_client.errors import ServerError
from calbatch.crds_client.server.url_cache import UrlCache

FLAT = "jwst_miri_flat_0002.fits"


@pytest.fixture
def source(tmp_path):
    """Return a complete cache with the server's descriptions of its files."""
    cache = make_cache(tmp_path / "published")
    with CrdsServer(cache) as serving:
        cache.save_config(serving.rpc_get_server_info())
    return cache


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("CRDS_CONTEXT", raising=False)
    monkeypatch.setenv("CRDS_CLIENT_RETRY_DELAY_SECONDS", "0")
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def check(root, url, source):
    """Select and fetch a reference into an empty cache."""
    client = Client(root, "latest", server_url=url)
    assert client.context == CONTEXT
    assert client.best_references(HEADER)["flat"].name == FLAT
    report = client.fetch([FLAT, "jwst_miri_flat_9999.fits"])
    assert report.paths[FLAT].read_bytes() == source.locate(FLAT).read_bytes()
    assert set(report.failed) == {"jwst_miri_flat_9999.fits"}


@pytest.fixture
def in_memory(source):
    memory = fsspec.filesystem("memory")
    memory.put(str(source.root), "/crds", recursive=True)
    yield memory
    memory.rm("/crds", recursive=True)


def test_a_cache_in_memory(root, source, in_memory):
    check(root, "memory://crds", source)


def test_altered_files_are_rejected(root, source, in_memory):
    in_memory.pipe_file(f"/crds/references/jwst/miri/{FLAT}", b"altered")
    client = Client(root, "latest", server_url="memory://crds")
    assert "bytes" in client.fetch([FLAT]).failed[FLAT]
    assert client.cache.find(FLAT) is None


def test_an_unknown_protocol_is_an_error():
    with pytest.raises(ServerError, match="nonsense"):
        UrlCache("nonsense://x")


@pytest.fixture
def bucket(monkeypatch):
    """Serve S3 on loopback, and make it the endpoint."""
    with moto_server() as endpoint:
        use_endpoint(monkeypatch, endpoint)
        yield


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of botocore
def test_a_bucket(bucket, root, source):
    files = fsspec.filesystem("s3")
    files.mkdir("published")
    files.put(str(source.root), "published/crds", recursive=True)
    check(root, "s3://published/crds", source)
