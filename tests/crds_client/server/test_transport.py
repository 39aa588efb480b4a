"""HTTP requests: limits on time and length, and retries."""

import io
import urllib.error
from types import SimpleNamespace

import pytest
from support.crds_server import CrdsServer, make_cache

from calbatch.crds_client.server import transport
from calbatch.crds_client.server.transport import (
    SLOWEST,
    Pace,
    RefusedError,
    TransientError,
    open_url,
    read_answer,
    read_chunk,
    retry,
)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    with CrdsServer(make_cache(tmp_path_factory.mktemp("transport") / "served", 1)) as made:
        yield made


def test_a_response_is_read_to_its_end(serving):
    (name,) = serving.cache.references.rglob("*.fits")
    with open_url(f"{serving.url}/references/jwst/{name.name}", timeout=5) as response:
        assert read_answer(response, 10**6, 5) == name.read_bytes()


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "x", "", "http://[x"])
def test_other_urls_are_refused(url):
    with pytest.raises(RefusedError):
        open_url(url, timeout=0.3)


def test_the_status_tells_transient_faults_from_refusals(serving):
    serving.faults["busy"] = ["500"]
    with pytest.raises(TransientError, match="/busy: 500"):
        open_url(f"{serving.url}/busy", timeout=5)
    with pytest.raises(RefusedError, match="/gone: 404"):
        open_url(f"{serving.url}/gone", timeout=5)


def test_an_unreachable_server_is_a_transient_fault():
    with pytest.raises(TransientError, match="refused"):
        open_url("http://127.0.0.1:9/", timeout=0.3)


def test_a_long_answer_is_refused():
    with pytest.raises(RefusedError, match="longer than 9 bytes"):
        read_answer(io.BytesIO(b"0123456789"), 9, 5)


def test_an_answer_that_ends_early_is_a_transient_fault():
    response = io.BytesIO(b"01")
    cut = SimpleNamespace(read=response.read, read1=response.read1, length=3)
    with pytest.raises(TransientError, match="ended 3 bytes too early"):
        read_answer(cut, 9, 5)


def test_any_failure_to_read_is_a_transient_fault():
    class Broken:
        def read(self, _size):
            raise urllib.error.URLError("connection lost")

    with pytest.raises(TransientError, match="connection lost"):
        read_chunk(Broken(), 9)


def test_a_slow_response_is_aborted_after_the_time_limit(monkeypatch):
    now = 0.0
    monkeypatch.setattr(transport.time, "monotonic", lambda: now)
    pace = Pace(10)
    now = 9.0
    pace.add(1)
    now = 20.0
    pace.add(20 * SLOWEST)  # fast enough on average
    now = 50.0
    with pytest.raises(TransientError, match="bytes received in 50 s"):
        pace.add(1)


def test_transient_faults_are_retried(monkeypatch):
    pauses = []
    monkeypatch.setattr(transport.time, "sleep", pauses.append)
    faults = [TransientError("one"), TransientError("two")]

    def action():
        if faults:
            raise faults.pop(0)
        return "done"

    assert retry(action, 3, 1.0) == "done"
    first, second = pauses
    assert 0.5 <= first <= 1.5
    assert 1.0 <= second <= 3.0


def test_the_last_transient_fault_is_raised():
    def action():
        calls.append(1)
        raise TransientError(f"number {len(calls)}")

    calls = []
    with pytest.raises(TransientError, match="number 2"):
        retry(action, 2, 0.0)


def test_refusals_are_not_retried():
    def action():
        calls.append(1)
        raise RefusedError("no")

    calls = []
    with pytest.raises(RefusedError):
        retry(action, 5, 0.0)
    assert len(calls) == 1
