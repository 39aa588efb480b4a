"""Stores: descriptions of objects, and the errors that exceptions of fsspec become."""

import asyncio
import gc
import threading
import weakref
from datetime import UTC, datetime

import fsspec
import pytest
from support.crds_server import CrdsServer, make_cache
from support.waiting import GENEROUS, eventually

from calbatch.models.errors import FileError, StorageError
from calbatch.models.storage import stores
from calbatch.models.storage.location import Url
from calbatch.models.storage.stores import Store, object_info, timeout
from calbatch.models.threads import CancelledError, CancelScope

URL = Url("memory://stores/a.fits")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = 10**9
SECONDS = int(MOMENT.timestamp())


@pytest.fixture
def files():
    files = fsspec.filesystem("memory")
    files.pipe_file("/stores/a.fits", b"12345")
    yield files
    files.rm("/stores", recursive=True)


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(stores, "_PAUSES", (0, 0))
    return Store(URL)


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 30), ("2.5", 2.5), ("0", 0.1), ("-3", 0.1), ("soon", 30)]
)
def test_the_timeout_is_read_from_the_environment(monkeypatch, text, seconds):
    monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", text)
    assert timeout() == seconds


def test_a_larger_transfer_may_take_longer():
    assert Store.time_limit(1 << 30) > Store.time_limit() >= 2 * timeout()


@pytest.mark.parametrize(
    "moment",
    [
        MOMENT, MOMENT.replace(tzinfo=None), MOMENT.isoformat(), MOMENT.timestamp(),
        "Fri, 02 Jan 2026 03:04:05 GMT",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["LastModified", "mtime", "updated", "created"])
def test_times_are_read_in_any_form(name, moment):
    info = object_info({"size": 5, name: moment})
    assert (info.size, info.mtime_ns) == (5, SECONDS * SECOND)
    assert (info.version, info.version_kind) == (str(info.mtime_ns), "time")


@pytest.mark.parametrize(
    ("fields", "version", "kind"),
    [
        ({"ETag": '"abc"'}, "abc", "etag"),
        ({"etag": 'W/"abc"'}, 'W/"abc', "weak-etag"),
        ({"md5Hash": "x==", "generation": 7}, "x==", "md5"),
        ({"generation": 7}, "7", "generation"),
        ({"ETag": '"abc"', "md5Hash": "x=="}, "abc", "etag"),
    ],
)
def test_the_most_reliable_version_counts(fields, version, kind):
    info = object_info({"size": 5, "LastModified": MOMENT, **fields})
    assert (info.version, info.version_kind) == (version, kind)
    assert info.mtime_ns // SECOND == SECONDS


def test_versions_within_a_second_have_different_times():
    first, second = (
        object_info({"size": 5, "LastModified": MOMENT, "ETag": tag}) for tag in ("a", "b")
    )
    assert first.mtime_ns != second.mtime_ns


@pytest.mark.parametrize("moment", [None, "yesterday", ""])
def test_an_object_may_have_neither_time_nor_version(moment):
    info = object_info({"size": 5, "mtime": moment})
    assert (info.mtime_ns, info.version) == (0, "")
    assert info.version_kind == "nothing"


def test_an_object_is_described(files):
    assert Store(URL).describe().size == 5
    with pytest.raises(FileError, match="memory://stores: is a folder, not an object"):
        Store(Url("memory://stores")).describe()
    with pytest.raises(FileError, match="there is no such object"):
        Store(URL.with_name("b.fits")).describe()


def test_an_object_of_unknown_size_is_rejected(files, monkeypatch):
    monkeypatch.setattr(type(files), "info", lambda self, path, **_: {"name": path, "size": None})
    with pytest.raises(FileError, match="its server does not report its size"):
        Store(URL).describe()


def test_a_file_can_be_renamed(files):
    files.pipe_file("/stores/part", b"new")
    Store(URL).rename("/stores/part")
    assert files.cat_file("/stores/a.fits") == b"new"


def test_unknown_protocols_are_rejected():
    with pytest.raises(FileError, match="cannot be reached: "):
        Store(Url("nonsense://a/b"))


class NoCredentialsError(Exception):
    """As botocore's."""


class ConfigParseError(Exception):
    """As botocore's."""


class ReadTimeoutError(Exception):
    """As urllib3's."""


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (FileNotFoundError(), FileError, "there is no such object"),
        (PermissionError("denied"), FileError, "reading is not permitted: denied"),
        (NoCredentialsError(), FileError, "reading needs credentials, and none were found"),
        (ConfigParseError("line 3"), FileError, "reading failed, invalid request: line 3"),
        (ValueError("bad name"), FileError, "reading failed, invalid request: bad name"),
        (NotImplementedError(), FileError, "reading is not supported by memory"),
        (ReadTimeoutError(), StorageError, "reading failed: no answer within the limit"),
        (TimeoutError(), StorageError, "reading failed: no answer within the limit"),
        (OSError(5, "Input/output error"), StorageError, "reading failed: Input/output error"),
        (RuntimeError("a\nb"), StorageError, "reading failed: a b"),
        (RuntimeError(), StorageError, "reading failed: RuntimeError"),
    ],
    ids=repr,
)
def test_exceptions_become_errors_that_name_the_url(store, error, kind, message):
    raised = store.to_error("reading", error)
    assert type(raised) is kind or (kind is FileError and not isinstance(raised, StorageError))
    assert str(raised).startswith(f"{URL}: {message}")


def test_errors_do_not_repeat_secrets(store):
    raised = store.to_error("reading", RuntimeError("GET https://host/a?X-Amz-Signature=0123abc"))
    assert "0123abc" not in str(raised)


def fail_first(times, error):
    """Return a function that raises an error a number of times, and its list of calls."""
    calls = []

    def function():
        calls.append(None)
        if len(calls) <= times:
            raise error
        return "result"

    return function, calls


def test_failures_of_the_server_are_retried(store):
    function, calls = fail_first(2, OSError("reset"))
    assert store.retry("reading", function) == "result"
    assert len(calls) == 3


@pytest.mark.parametrize("tries", [1, 3])
def test_the_last_failure_is_raised_without_its_cause(store, tries):
    function, calls = fail_first(9, OSError("reset"))
    with pytest.raises(StorageError, match="reading failed: reset") as caught:
        store.retry("reading", function, tries)
    assert len(calls) == tries
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("tries", [1, 3])
def test_a_missing_object_is_not_looked_for_again(store, tries):
    function, calls = fail_first(9, FileNotFoundError())
    with pytest.raises(FileError, match="there is no such object"):
        store.retry("reading", function, tries)
    assert len(calls) == 1


@pytest.mark.parametrize("tries", [1, 3])
def test_programming_errors_are_raised_as_they_are(store, tries):
    function, calls = fail_first(9, KeyError("a"))
    with pytest.raises(KeyError):
        store.retry("reading", function, tries)
    assert len(calls) == 1


class AsyncFiles:
    """An asynchronous file system of one method."""

    async_impl = True

    def __init__(self):
        from fsspec.asyn import get_loop

        self.loop = get_loop()

    async def _cat_file(self, path, *, start=0):
        await asyncio.sleep(0)
        return b"12345"[start:]


def test_asynchronous_file_systems_run_on_their_loop(store):
    store._files = AsyncFiles()
    assert store.call("cat_file", "a", start=2) == b"345"

    async def read_twice():
        return await store.call_async("cat_file", "a") + await store.call_async("cat_file", "a")

    assert store.run(read_twice) == b"1234512345"


def test_a_request_that_is_cancelled_hangs_up(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", str(100 * GENEROUS))
    with CrdsServer(make_cache(tmp_path / "served", references=1)) as server:
        (name,) = (name for name in server.files if name.endswith(".fits"))
        server.faults[name] = ["halt"]
        with CancelScope() as scope:
            cancel = lambda: eventually(lambda: server.asked[name]) and scope.cancel()  # noqa: E731
            threading.Thread(target=cancel).start()
            with pytest.raises(CancelledError):
                Store(Url(f"{server.url}/references/{name}")).read_ranges([(0, 9), (10, 19)])
        eventually(lambda: server.left == [name])


def test_a_result_is_not_kept_until_the_next_collection(store):
    class Result:
        """Something large, such as the bytes of an object."""

    async def make():
        return Result()

    store._files = AsyncFiles()
    gc.disable()
    try:
        result = weakref.ref(store.run(make))
        eventually(lambda: result() is None)
        assert result() is None
    finally:
        gc.enable()
