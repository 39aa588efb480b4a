"""The page of a batch in this process: who reaches it, when it is loaded, and that it ends."""

import errno
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
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
