"""The files that clients need, which pruning spares."""

import copy
import os
import pickle

import pytest

from calbatch.crds_client.cache.holds import Hold, lock_holds, names_in_use
from calbatch.crds_client.cache.layout import Cache

NAMES = ["jwst_miri_flat_0001.fits", "jwst_miri_flat_0002.fits"]


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path)


def in_use(cache, *arguments):
    with lock_holds(cache):
        return names_in_use(cache, *arguments)


def records(cache):
    return {path.suffix for path in (cache.config / ".in-use").iterdir() if path.suffix}


def test_names_are_in_use_until_they_are_released(cache):
    one, other = Hold(cache), Hold(cache)
    one.add(NAMES[:1])
    other.add(NAMES)
    assert in_use(cache) == set(NAMES)
    assert in_use(cache, other.id) == set(NAMES[:1])
    other.release()
    assert in_use(cache) == set(NAMES[:1])
    one.add(NAMES[1:])
    assert in_use(cache) == set(NAMES)
    one.release()
    assert in_use(cache) == set()


def test_records_without_a_process_are_removed(cache):
    hold = Hold(cache)
    hold.add(NAMES)
    assert records(cache) == {".names", ".lock"}
    hold.release()
    assert in_use(cache) == set()
    assert records(cache) == set()


def test_nothing_is_recorded_for_rules(cache):
    Hold(cache).add(["jwst_0001.pmap", "jwst_miri_0001.imap"])
    assert not cache.config.exists()


@pytest.mark.parametrize("duplicate", [copy.copy, lambda hold: pickle.loads(pickle.dumps(hold))])
def test_copies_are_empty(cache, duplicate):
    hold = Hold(cache)
    hold.add(NAMES)
    other = duplicate(hold)
    assert other.id != hold.id
    hold.release()
    assert in_use(cache) == set()
    other.add(NAMES)
    assert in_use(cache) == set(NAMES)
    other.release()


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_bytes(b"\xff\xfe"),
    ],
    ids=["pipe", "folder", "endless", "binary"],
)
def test_records_that_cannot_be_read_stop_nobody(cache, make):
    hold, other = Hold(cache), Hold(cache)
    hold.add(NAMES)
    other.add(NAMES[:1])
    (record,) = cache.config.glob(f".in-use/{other.id}.names")
    record.unlink()
    make(record)
    assert in_use(cache) >= set(NAMES)
    assert in_use(cache, hold.id).isdisjoint(NAMES)
    hold.release()
    if record.is_dir():
        record.rmdir()
    other.release()
