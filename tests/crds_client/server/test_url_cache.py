"""A cache at a URL: in memory, and in a bucket served by moto's S3 on loopback."""

import ast

import fsspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.crds_server import CONTEXT, HEADER, CrdsServer, encode_answer, make_cache
from support.foreign_answers import BY_NAME, CONFIG, NAME, NAMES, VALUES, is_valid
from support.s3 import moto_server, use_endpoint

from calbatch.crds_client import Client
from calbatch.crds_client.answers import FileInfo
from calbatch.crds_client.errors import CrdsError, ServerError
from calbatch.crds_client.server.transport import RefusedError, TransientError
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


@pytest.fixture
def on_disk(source):
    """Return a cache without a description of its files, on a disk that is mounted here."""
    (source.config / "server_config").unlink()
    return UrlCache(f"file://{source.root}")


def test_a_cache_without_a_description_is_searched(on_disk, source):
    assert on_disk.info == {}
    infos = on_disk.file_infos([FLAT, CONTEXT, "jwst_miri_flat_9999.fits"])
    sizes = {name: source.locate(name).stat().st_size for name in (FLAT, CONTEXT)}
    assert infos == {name: FileInfo(size, "") for name, size in sizes.items()}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda cache: cache.default_context("latest"), "names no latest context"),
        (lambda cache: cache.default_context("edit"), "names no edit context"),
        (lambda cache: cache.build_context("1.2"), r"which context belongs to 1\.2"),
        (lambda cache: cache.context_by_date("2024-01-31"), "in use on 2024-01-31"),
    ],
)
def test_a_cache_refuses_questions_that_only_a_server_can_answer(on_disk, ask, message):
    with pytest.raises(ServerError, match=message):
        ask(on_disk)


def test_a_file_is_opened_at_an_offset(on_disk, source):
    with on_disk.open_file(FLAT, 3) as (start, stream):
        assert (start, stream.read()) == (3, source.locate(FLAT).read_bytes()[3:])


def test_a_missing_file_is_refused(on_disk):
    with (
        pytest.raises(RefusedError, match=r"no jwst_miri_flat_9999\.fits"),
        on_disk.open_file("jwst_miri_flat_9999.fits", 0),
    ):
        pytest.fail("it was opened")


def test_a_folder_in_the_place_of_a_file_is_refused(on_disk, source):
    path = source.locate(FLAT)
    path.unlink()
    path.mkdir()
    with pytest.raises(RefusedError, match=str(path)), on_disk.open_file(FLAT, 0):
        pytest.fail("it was opened")


def test_a_file_that_is_replaced_while_it_is_read_is_fetched_again(source, in_memory):
    """The caller retries after a temporary error."""

    def read_replaced():
        with UrlCache("memory://crds").open_file(FLAT, 0) as (_, stream):
            in_memory.pipe_file(f"/crds/references/jwst/miri/{FLAT}", b"another file")
            return stream.read()

    with pytest.raises(TransientError, match="changed"):
        read_replaced()


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


# -- foreign configurations --------------------------------------------------------------------

DESCRIBED = {NAME: {"size": "5"}}


PACKED = encode_answer(DESCRIBED)


CONFIGS = st.binary(max_size=60) | VALUES.map(lambda value: repr(value).encode())


@given(text=CONFIGS)
@example(text=b"(" * 5000)
@example(text=b"{'download_metadata': {'crds_encoded': 1, 'crds_payload': 'x'}}")
@example(text=b"{'edit_context': '../x', 'download_metadata': [1]}")
@example(text=b"{[]: 1}")
@example(text=repr({"edit_context": CONTEXT, "download_metadata": DESCRIBED}).encode())
@example(text=repr({"download_metadata": PACKED}).encode())
def test_the_config_of_a_published_cache_is_used_if_it_is_valid(text):
    files = fsspec.filesystem("memory")
    files.pipe("/foreign/config/jwst/server_config", text)
    config = config_in(text)
    check_url_cache(lambda source: source.info, config)
    context = (config or {}).get("edit_context")
    context = context if is_valid(context, NAMES) else None
    check_url_cache(lambda source: source.default_context("edit"), context)
    check_url_cache(lambda source: source.file_infos([NAME]), infos_in(config))


def config_in(text):
    """Return the dictionary that a file holds, as Python reads it; None if it is no valid one."""
    try:
        config = ast.literal_eval(text.decode())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return config if is_valid(config, CONFIG) else None


def infos_in(config):
    """Return the description of the file ``NAME`` in a configuration; None if it is damaged."""
    if config is None:
        return None
    described = config.get("download_metadata")
    if described in (DESCRIBED, PACKED):
        return {NAME: FileInfo(5, "")}
    valid = described is None or (is_valid(described, BY_NAME) and "crds_encoded" not in described)
    return {} if valid else None


def check_url_cache(question, expected):
    """Compare the answer of a cache at a URL; None stands for an error."""
    source = UrlCache("memory://foreign")
    if expected is None:
        with pytest.raises(CrdsError):
            question(source)
    else:
        assert question(source) == expected
