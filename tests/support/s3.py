"""An S3 server on loopback (moto), and a proxy that counts and damages requests."""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.waiting import eventually

SECRET = "testing-secret-access-key"


@contextmanager
def moto_server() -> Iterator[str]:
    """Serve S3 on loopback, and yield the address; afterwards its buckets are gone."""
    endpoint = _start_moto()
    try:
        yield endpoint
    finally:
        urllib.request.urlopen(f"{endpoint}/moto-api/reset", data=b"").close()


@cache
def _start_moto() -> str:
    """Start the server of this process, which serves until the process ends."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    moto = shutil.which("moto_server", path=str(Path(sys.executable).parent))
    if moto is None:
        pytest.skip("moto_server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    server = subprocess.Popen([moto, "-H", "127.0.0.1", "-p", str(port)], env=clean, **quiet)
    atexit.register(_end, server)
    endpoint = f"http://127.0.0.1:{port}"
    eventually(lambda: _answers(endpoint))
    return endpoint


def _end(server: subprocess.Popen) -> None:
    server.terminate()
    server.wait()


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint).close()
    except OSError:
        return False
    return True


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Make S3 mean a server on loopback in this process and its children."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()


def plain_s3(endpoint: str) -> object:
    """Return a separate file system, independent of the environment."""
    import s3fs

    return s3fs.S3FileSystem(
        key="testing",
        secret=SECRET,
        endpoint_url=endpoint,
        use_listings_cache=False,
        skip_instance_cache=True,
    )


@dataclass(frozen=True)
class Request:
    """A request, with the number of bytes of its body and of the response."""

    method: str
    path: str
    range: tuple[int, int] | None
    status: int
    received: int
    sent: int


@dataclass
class Harm:
    """Damage to a number of requests of one method.

    ``stall``: half of the response, then silence. ``cut``: half of the response, then the end of
    the connection. With ``before_upstream``, these do not reach the server, and nothing is
    answered. ``alter``: one bit of the data sent to the server changes. ``refuse``: the response
    is that the server is too busy; ``forbid``: that access is denied. ``drip``: the response
    arrives byte by byte.
    """

    kind: str
    method: str = "GET"
    times: int = 1000
    ranges_from: int = 0
    ranges_to: int = 1 << 60
    path: str = ""
    before_upstream: bool = False


@dataclass
class GoBetween:
    """Passes requests on to a server, and records them."""

    upstream: str
    requests: list[Request] = field(default_factory=list)
    harms: list[Harm] = field(default_factory=list)
    before_get: Callable[[int], None] | None = None
    before_head: Callable[[], None] | None = None
    before_complete: Callable[[], None] | None = None
    released: threading.Event = field(default_factory=threading.Event)
    meeting: tuple[threading.Barrier, Callable[[int], bool]] | None = None

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on loopback, and yield the address."""
        handler = type("Handler", (_Handler,), {"between": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            self.released.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def harm_to(self, method: str, path: str, start: int) -> Harm | None:
        """Return the harm to do to a request."""
        for harm in self.harms:
            meant = harm.method == method and harm.path in path
            meant = meant and harm.ranges_from <= start < harm.ranges_to
            if meant and harm.times > 0:
                harm.times -= 1
                return harm
        return None

    def meet(self, count: int, meant: Callable[[int], bool]) -> None:
        """Hold reads of ranges until a number of them has arrived."""
        self.meeting = (threading.Barrier(count), meant)

    def wait_for_others(self, span: tuple[int, int] | None) -> None:
        """Wait for the other requests, if any are expected."""
        if self.meeting is not None and span is not None and self.meeting[1](span[0]):
            self.meeting[0].wait(10)

    @property
    def reads(self) -> list[Request]:
        """The requests for content."""
        return [r for r in self.requests if r.method == "GET" and r.range is not None]


class _Handler(BaseHTTPRequestHandler):
    between: GoBetween
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        between = self.between
        span = _span(self.headers.get("Range"))
        meant = between.harm_to(self.command, self.path, span[0] if span else 0)
        harm = meant.kind if meant else ""
        if meant and meant.before_upstream and harm in ("stall", "cut"):
            between.requests.append(Request(self.command, self.path, span, 0, len(body), 0))
            self._end(harm)
            return
        if harm in ("refuse", "forbid"):
            status = 503 if harm == "refuse" else 403
            between.requests.append(Request(self.command, self.path, span, status, len(body), 0))
            self._answer(status, [], b"", harm)
            return
        if harm == "alter" and body:
            body = bytes([*body[:-1], body[-1] ^ 1])
        if self.command == "GET" and span and between.before_get:
            between.before_get(span[0])
        if self.command == "HEAD" and between.before_head:
            between.before_head()
        if self.command == "POST" and "uploadId=" in self.path and between.before_complete:
            between.before_complete()
        between.wait_for_others(span)
        upstream = HTTPConnection(between.upstream.removeprefix("http://"))
        kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "expect")}
        upstream.request(self.command, self.path, body, kept)
        answer = upstream.getresponse()
        content = answer.read()
        status, headers = answer.status, answer.getheaders()
        upstream.close()
        sent = len(content) // 2 if harm in ("stall", "cut") else len(content)
        between.requests.append(Request(self.command, self.path, span, status, len(body), sent))
        self._answer(status, headers, content, harm)

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, harm: str
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if harm in ("stall", "cut"):
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self._end(harm)
        elif harm == "drip":
            self._drip(content)
        else:
            self.wfile.write(content)

    def _end(self, harm: str) -> None:
        if harm == "stall":
            self.between.released.wait()
        self.close_connection = True
        with suppress(OSError):  # the client may have hung up
            self.connection.shutdown(socket.SHUT_RDWR)

    def _drip(self, content: bytes) -> None:
        for octet in content:
            if self.between.released.wait(0.1):
                break
            try:
                self.wfile.write(bytes([octet]))
            except OSError:  # the client has hung up
                break
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on


def _span(header: str | None) -> tuple[int, int] | None:
    if header is None:
        return None
    first, _, last = header.removeprefix("bytes=").partition("-")
    return int(first), int(last) + 1
