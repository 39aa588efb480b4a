"""The page of a batch in this process: who reaches it, when it is loaded, and that it ends."""

import errno
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil
import pytest
from support.pages_of_batches import (
    SCRIPT,
    ask_details,
    hostile_monitor,
    is_listening,
    read_data,
    split_link,
)
from support.waiting import eventually

from calbatch.cluster.sites.page.live_page import MOST_CONNECTIONS, RETRY
from calbatch.cluster.sites.page.own_server import serve_batch

TOKEN = "a-secret-token"
BATCH = hostile_monitor().take_snapshot().batch


def describe(number):
    return {"number": number, "path": f"/data/{number}"}


@contextmanager
def serve(describe=describe):
    """Yield the address below which there is the page of a batch with hostile texts."""
    with serve_batch(hostile_monitor(), TOKEN, print, describe=describe) as link:
        base, token = split_link(link)
        assert token == TOKEN
        yield base


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.geturl(), answer.headers, answer.read().decode()


def test_the_page_is_served_also_to_those_who_give_no_path():
    with serve() as base:
        url, headers, html = get(f"{base}/calbatch")
        assert get(base)[::2] == (url, html)
    assert html.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_paths_and_reasons_need_the_token():
    with serve() as base:
        public, wrong, full = (read_data(base, each) for each in ("", f"{TOKEN}x", TOKEN))
    for each in (public, wrong):
        assert each["batches"][0]["counts"] == {"waiting": 2, "failed": 1}
        assert "/data/" not in str(each)
    (failed,) = full["batches"][0]["private"]["failures"]
    assert failed["path"].startswith(f"/data/{SCRIPT}")


@pytest.mark.parametrize(
    ("batch", "number", "token", "expected"),
    [
        (BATCH, 2, TOKEN, (200, {"number": 2, "path": "/data/2"})),
        (BATCH, 2, "", (403, None)),
        (BATCH, 2, "t", (403, None)),
        ("other", 2, TOKEN, (403, None)),
        (BATCH, "x", TOKEN, (400, None)),
    ],
)
def test_details_are_in_the_first_answer_to_those_with_the_token(batch, number, token, expected):
    with serve() as base:
        assert ask_details(base, batch, number, token) == expected


def test_an_error_does_not_reach_the_terminal(caplog):
    def fail(number):
        raise OSError(number)

    with caplog.at_level(logging.INFO), serve(describe=fail) as base:
        assert ask_details(base, BATCH, 2, TOKEN) == (500, None)
        assert ask_details(base, BATCH, "x", TOKEN) == (400, None)
        assert read_data(base)["batches"]
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []


FORM = "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip"


@pytest.mark.parametrize("path", ["/", "/nope", "/calbatch", "/calbatch.json"])
def test_nothing_of_a_request_is_printed(caplog, capfd, path):
    request = (
        f"POST {path}?text\xc2\x9b HTTP/1.1\r\nHost: x\r\n{FORM}\r\nContent-Length: 3\r\n\r\n%ff"
    )
    with caplog.at_level(logging.INFO), serve() as base:
        address = "127.0.0.1", urlsplit(base).port
        with socket.create_connection(address, 60) as connection:
            connection.sendall(request.encode("latin-1"))
            assert connection.recv(9) == b"HTTP/1.1 "
        assert read_data(base)["batches"]
    assert [each for each in caplog.records if each.levelno > logging.INFO] == []
    assert capfd.readouterr().err == ""


def test_other_paths_have_no_page():
    with serve() as base, pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{base}/other")
    assert refused.value.code == 404
    assert refused.value.headers["X-Content-Type-Options"] == "nosniff"
    refused.value.close()


def test_many_connections_take_the_batch_no_descriptors(capfd):
    with serve() as base:
        address = "127.0.0.1", urlsplit(base).port
        connections = [socket.create_connection(address, 60) for _ in range(3 * MOST_CONNECTIONS)]
        for each in connections[-MOST_CONNECTIONS:]:
            assert each.recv(1) == b""  # closed at once
        assert count_served(base) == MOST_CONNECTIONS
        for each in connections:
            each.close()
        eventually(lambda: is_served(base))
    assert capfd.readouterr().err == ""


def count_served(base):
    sockets = psutil.Process().net_connections("inet")
    return sum(each.laddr.port == urlsplit(base).port and bool(each.raddr) for each in sockets)


def is_served(base):
    try:
        return bool(read_data(base)["batches"])
    except OSError:
        return False


def test_without_descriptors_the_server_waits(capfd):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serve() as base:
        assert read_data(base)["batches"]
        eventually(lambda: count_served(base) == 0)  # its descriptor is free
        address = "127.0.0.1", urlsplit(base).port
        with socket.socket() as browser:
            os.close(free := os.dup(browser.fileno()))
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            try:
                browser.connect(address)
                browser.settimeout(2 * RETRY)
                browser.sendall(b"GET /calbatch HTTP/1.1\r\nHost: x\r\n\r\n")
                with pytest.raises(TimeoutError):
                    browser.recv(1)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            browser.settimeout(60)
            assert browser.recv(12) == b"HTTP/1.1 200"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("is_opened", [False, True])
def test_a_child_forked_meanwhile_does_not_keep_the_page(is_opened):
    with serve() as base:
        if is_opened:
            assert read_data(base)["batches"]
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE,
            pass_fds=[each.fd for each in psutil.Process().net_connections("all") if each.fd > 2],
        )  # fmt: skip
    try:
        assert not is_thread_left()
        assert not is_listening(urlsplit(base).port)
    finally:
        child.communicate(b"\n")


def test_a_large_request_is_refused():
    with serve() as base:
        with pytest.raises(OSError):  # noqa: PT011 - a status, or a broken connection
            get(urllib.request.Request(f"{base}/calbatch.json", headers={"X": "x" * 10**6}))
        with pytest.raises(OSError):  # noqa: PT011
            get(urllib.request.Request(f"{base}/calbatch.json", data=b"x" * 10**6))
        assert read_data(base)["batches"]


def is_thread_left():
    return any(each.name == "calbatch-page" for each in threading.enumerate())


def test_only_this_host_can_connect_and_nobody_after_the_end():
    with serve() as base:
        port = urlsplit(base).port
        sockets = psutil.Process().net_connections("inet")
        assert [each.laddr.ip for each in sockets if each.laddr.port == port] == ["127.0.0.1"]
        assert is_listening(port)
    assert not is_listening(port)
    assert not is_thread_left()


def test_browsers_that_hang_hold_up_neither_others_nor_the_end():
    with serve() as base:
        address = "127.0.0.1", urlsplit(base).port
        hanging = [socket.create_connection(address, 60) for _ in range(3)]
        hanging[0].sendall(b"GET /calbatch.json HTTP/1.1\r\nHost:")
        hanging[1].sendall(b"GET /calbatch HTTP/1.1\r\n\r\n")  # and does not read
        assert read_data(base)["batches"]
    assert not is_thread_left()
    for each in hanging:
        with each:
            while each.recv(10**6):
                pass


def test_a_busy_server_does_not_hold_up_the_end():
    begun, released = threading.Event(), threading.Event()

    def hang(number):
        begun.set()
        released.wait(60)
        return {}

    with serve(describe=hang) as base:
        asking = threading.Thread(target=ask_details, args=(base, BATCH, 2, TOKEN))
        asking.start()
        assert begun.wait(60)
    assert is_thread_left()  # the context has ended before
    released.set()
    asking.join(60)
    eventually(lambda: not is_thread_left())


def test_without_a_socket_there_is_no_page_and_a_reason():
    said = []
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with serve_batch(hostile_monitor(), TOKEN, said.append, describe=describe) as link:
            assert link is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(said) == 1
    assert said[0].startswith("the batch has no page: ")
    assert os.strerror(errno.EMFILE) in said[0]


PROGRAM = """
import sys, urllib.request
from calbatch.cluster.display.monitor import BatchMonitor
from calbatch.cluster.sites.page.own_server import serve_batch

monitor = BatchMonitor(batch="b", pipeline="p", output="/o", states=["waiting"], left=1)
for is_opened in (False, True):
    with serve_batch(monitor, "token", print, describe=lambda number: {}) as link:
        if is_opened:
            urllib.request.urlopen(link).close()
    print("tornado" in sys.modules, "distributed" in sys.modules)
"""


def test_libraries_are_imported_when_a_browser_connects():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["False False", "True False", ""]
