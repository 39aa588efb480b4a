"""HTTP requests: limits on time and length, and retries."""

import io
import socket
import threading
import urllib.error
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import pytest
from support.crds_server import CrdsServer, make_cache
from support.tls import certificate, encrypt, server_context
from support.waiting import GENEROUS, eventually

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
from calbatch.models.threads import CancelledError, CancelScope


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    with CrdsServer(make_cache(tmp_path_factory.mktemp("transport") / "served", 1)) as made:
        yield made


def request(url, timeout=5):
    """Return the body of a response."""
    with open_url(url, timeout=timeout) as response:
        return read_answer(response, 10**6, timeout)


def test_a_response_is_read_to_its_end(serving):
    (name,) = serving.cache.references.rglob("*.fits")
    assert request(f"{serving.url}/references/jwst/{name.name}") == name.read_bytes()


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "x", "", "http://[x"])
def test_other_urls_are_refused(url):
    with pytest.raises(RefusedError):
        request(url, timeout=0.3)


def test_the_status_tells_transient_faults_from_refusals(serving):
    serving.faults["busy"] = ["500"]
    with pytest.raises(TransientError, match="/busy: 500"):
        request(f"{serving.url}/busy")
    with pytest.raises(RefusedError, match="/gone: 404"):
        request(f"{serving.url}/gone")


def test_an_unreachable_server_is_a_transient_fault():
    with pytest.raises(TransientError, match="refused"):
        request("http://127.0.0.1:9/", timeout=0.3)


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


@pytest.fixture(params=["http", "https"])
def halting(serving, request, tmp_path, monkeypatch):
    """Return a server that sends a part of a file, or nothing, and is silent then."""
    with CrdsServer(serving.cache) as made:
        if request.param == "https":
            authority, chain = certificate(tmp_path)
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
            encrypt(made, chain)
        yield made


@pytest.mark.parametrize("fault", ["stall", "halt"])
def test_a_request_that_is_cancelled_hangs_up(halting, fault):
    (name,) = (path.name for path in halting.cache.references.rglob("*.fits"))
    halting.faults[name] = [fault]
    before = threading.active_count()
    with CancelScope() as scope:
        threading.Thread(target=cancel_once_asked, args=(scope, halting, name)).start()
        with pytest.raises(CancelledError):
            request(f"{halting.url}/references/jwst/{name}", timeout=100 * GENEROUS)
    eventually(lambda: halting.left == [name])
    eventually(lambda: threading.active_count() <= before)


def cancel_once_asked(scope, server, name):
    """Cancel a scope when a file has been requested."""
    eventually(lambda: server.asked[name])
    scope.cancel()


def test_a_connection_that_is_not_established_is_not_waited_for():
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:

        def accept(scope):
            connection = stack.enter_context(listening.accept()[0])
            connection.recv(1)  # the client has begun to negotiate the encryption
            scope.cancel()

        with CancelScope() as scope:
            threading.Thread(target=accept, args=(scope,)).start()
            with pytest.raises(CancelledError):
                request(f"https://127.0.0.1:{listening.getsockname()[1]}/", timeout=100 * GENEROUS)
    eventually(lambda: threading.active_count() <= before)  # the other end has gone


def test_no_request_is_sent_on_a_connection_that_came_too_late(tmp_path, monkeypatch):
    authority, chain = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    protocols, received = [], []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept(scope):
            connection = listening.accept()[0]
            connection.recv(1, socket.MSG_PEEK)  # the client has begun to negotiate the encryption
            scope.cancel()
            with server_context(chain).wrap_socket(connection, server_side=True) as encrypted:
                protocols.append(encrypted.version())
                with suppress(ConnectionError):
                    received.append(encrypted.recv(1))

        with CancelScope() as scope:
            thread = threading.Thread(target=accept, args=(scope,))
            thread.start()
            with pytest.raises(CancelledError):
                request(f"https://localhost:{listening.getsockname()[1]}/", timeout=100 * GENEROUS)
        thread.join(GENEROUS)
    assert protocols
    assert not any(received)


def test_cancelled_work_is_not_retried():
    calls = []

    def action():
        calls.append(1)
        raise TransientError("the connection was shut down")

    with CancelScope() as scope:
        scope.cancel()
        with pytest.raises(CancelledError):
            retry(action, 5, 100 * GENEROUS)
    assert len(calls) == 1
