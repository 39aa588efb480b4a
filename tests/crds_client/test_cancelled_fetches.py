"""Fetches that are cancelled, while a server is silent or another process fetches the file."""

import threading

import filelock
import pytest
from support.crds_server import CrdsServer, make_cache
from support.waiting import GENEROUS, eventually

from calbatch.crds_client.fetching import Fetcher, file_lock
from calbatch.crds_client.server.protocol import Patience, Server
from calbatch.models.threads import CancelledError, CancelScope

PATIENT = Patience(timeout=100 * GENEROUS)
NAME = "jwst_miri_flat_0000.fits"


@pytest.fixture
def serving(tmp_path):
    with CrdsServer(make_cache(tmp_path / "served", references=1)) as made:
        yield made


@pytest.fixture
def fetcher(serving, cache):
    return Fetcher(cache, Server(serving.url, patience=PATIENT), patience=PATIENT)


def fetch_until(condition, fetcher):
    """Fetch a file, and cancel that when a condition is true; wait for the end of all threads."""
    before = threading.active_count()
    with CancelScope() as scope:
        threading.Thread(target=lambda: eventually(condition) and scope.cancel()).start()
        with pytest.raises(CancelledError):
            fetcher.fetch([NAME])
    eventually(lambda: threading.active_count() <= before)


def test_a_cancelled_fetch_can_be_continued(serving, cache, fetcher):
    serving.faults[NAME] = ["halt"]
    part = cache.new_path(NAME).with_name(f".{NAME}.part")
    fetch_until(lambda: part.exists() and part.stat().st_size, fetcher)
    eventually(lambda: serving.left == [NAME])
    assert cache.find(NAME) is None
    received = part.stat().st_size
    fetcher.fetch([NAME]).check()
    asked = [what for what, name in serving.requests if name == NAME]
    assert asked == ["whole", f"bytes={received}-"]
    assert cache.locate(NAME).read_bytes() == serving.files[NAME].read_bytes()


def test_questions_to_a_silent_server_are_cancelled(serving, fetcher):
    serving.rpc_faults = ["stall"]
    fetch_until(lambda: serving.requests, fetcher)
    eventually(lambda: serving.left)
    fetcher.fetch([NAME]).check()


def test_a_file_that_another_process_fetches_is_no_longer_waited_for(serving, cache, fetcher):
    cache.new_path(NAME).parent.mkdir(parents=True)
    with file_lock(cache, NAME, waiting=False):
        fetch_until(lambda: ("rpc", "get_server_info") in serving.requests, fetcher)
        with pytest.raises(filelock.Timeout), file_lock(cache, NAME, waiting=False):
            pytest.fail("the lock was lost")
    assert serving.asked[NAME] == 0
    fetcher.fetch([NAME]).check()
