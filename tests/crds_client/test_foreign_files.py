"""Foreign answers to requests for files: other parts, redirections, and answers that trickle in."""

import itertools
import socket

import pytest
from support.crds_server import CrdsServer
from support.foreign_answers import NAME, QUICK, RESPONSES, assert_named, file_server, response
from support.tls import certificate, encrypt
from support.waiting import be_slow

from calbatch.crds_client.errors import ServerError
from calbatch.crds_client.fetching import Fetcher
from calbatch.crds_client.server.protocol import Patience, Server

FLAT = "jwst_miri_flat_0002.fits"


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_that_is_no_file_fails(foreign, cache, name):
    report = Fetcher(cache, file_server(foreign, RESPONSES[name]), patience=QUICK).fetch([NAME])
    assert set(report.failed) == {NAME}
    assert cache.find(NAME) is None


@pytest.mark.parametrize("content_range", ["bytes 0-9/50000", "bytes 7-9/*", "items 5-9/10", None])
def test_another_part_of_a_file_than_requested_is_rejected(foreign, cache, content_range):
    content = foreign.files[NAME].read_bytes()
    part = cache.new_path(NAME).with_name(f".{NAME}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:5])
    answer = response(content[5:], "206 Partial Content", **{"Content-Range": content_range})
    fetcher = Fetcher(cache, file_server(foreign, answer), patience=QUICK)
    assert set(fetcher.fetch([NAME]).failed) == {NAME}
    foreign.raw = None
    fetcher.fetch([NAME]).check()
    assert cache.locate(NAME).read_bytes() == content


ELSEWHERE = [
    "ftp://127.0.0.1:{port}/x", "file://{file}", "FILE://{file}", "data:,x", "gopher://x/",
    "gopher://[x",
]  # fmt: skip


@pytest.mark.parametrize("target", ELSEWHERE)
def test_only_http_is_followed(foreign, cache, target):
    # Another protocol would deliver the file, or reach a server of its own.
    with socket.create_server(("127.0.0.1", 0)) as other:
        port, file = other.getsockname()[1], foreign.files[NAME]
        answer = response(b"", "302 Found", Location=target.format(port=port, file=file))
        report = Fetcher(cache, file_server(foreign, answer), patience=QUICK).fetch([NAME])
        other.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has connected
            other.accept()
    assert f"/{NAME}: " in report.failed[NAME]
    assert cache.find(NAME) is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirected_file_arrives(foreign, cache, status):
    content = foreign.files[NAME].read_bytes()

    def answer(asked):
        moved = response(b"", f"{status} Moved", Location=f"{foreign.url}/elsewhere")
        yield response(content) if asked == "elsewhere" else moved

    server = file_server(foreign)
    foreign.raw = answer
    Fetcher(cache, server, patience=QUICK).fetch([NAME]).check()
    assert cache.locate(NAME).read_bytes() == content


def test_a_loop_of_redirections_ends(foreign, cache):
    server = file_server(foreign)
    count = itertools.count()
    foreign.raw = lambda asked: [
        response(b"", "302 Found", Location=f"{foreign.url}/{next(count) % 3}")
    ]
    assert set(Fetcher(cache, server, patience=QUICK).fetch([NAME]).failed) == {NAME}
    assert next(count) < 50


def test_an_encrypted_download_stays_encrypted(foreign, cache, tmp_path, monkeypatch):
    authority, chain = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    patience = Patience(timeout=10.0, attempts=1, delay=0.0)
    with CrdsServer(foreign.cache) as secure:
        encrypt(secure, chain)
        server = Server(secure.url, patience=patience)
        Fetcher(cache, server, patience=patience).fetch([FLAT]).check()  # encryption works
        plain = f"{foreign.url}/references/jwst/{NAME}"
        secure.raw = lambda asked: [response(b"", "302 Found", Location=plain)]
        report = Fetcher(cache, server, patience=patience).fetch([NAME])
    assert "not encrypted" in report.failed[NAME]
    assert cache.find(NAME) is None


def trickling(start, piece):
    """Yield pieces until the client closes the connection."""
    yield start
    while True:
        be_slow(0.02)
        yield piece


TRICKLES = {
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("what", TRICKLES)
def test_an_answer_that_is_too_slow_is_aborted(foreign, cache, what):
    server = file_server(foreign)
    foreign.raw = lambda asked: trickling(*TRICKLES[what])
    with pytest.raises(ServerError) as caught:
        server.default_context("latest")
    assert_named(caught.value, server, "get_default_context")
    assert set(Fetcher(cache, server, patience=QUICK).fetch([NAME]).failed) == {NAME}
