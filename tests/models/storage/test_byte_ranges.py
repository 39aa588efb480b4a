"""Requests for byte ranges: few, no longer than needed, and for the right bytes."""

import os

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models.errors import FileError
from calbatch.models.storage.location import Url
from calbatch.models.storage.remote_files import (
    OpenRemoteFile,
    RemoteFile,
    group_requests,
    merge_ranges,
)
from calbatch.models.storage.stores import Store

CONTENT = np.random.default_rng(1).bytes(300_000)
URL = Url("memory://ranges/object")


@pytest.fixture(autouse=True)
def stored():
    files = fsspec.filesystem("memory")
    files.pipe_file("/ranges/object", CONTENT)
    yield files
    files.rm("/ranges", recursive=True)


spans = st.tuples(st.integers(0, 2000), st.integers(0, 300)).map(lambda s: (s[0], s[0] + s[1]))


@given(st.lists(spans), st.integers(0, 50), st.integers(1, 400))
def test_requests_cover_the_ranges_and_short_gaps_only(wanted, gap, longest):
    requests = merge_ranges(wanted, gap, longest)
    asked = [at for start, stop in requests for at in range(start, stop)]
    assert asked == sorted(set(asked))
    needed = {at for start, stop in wanted for at in range(start, stop)}
    assert needed <= set(asked)
    assert all(0 < stop - start <= longest for start, stop in requests)
    known = sorted(needed)
    for at in set(asked) - needed:  # in a gap between two wanted bytes
        index = np.searchsorted(known, at)
        assert known[index] - known[index - 1] - 1 <= gap


@given(st.lists(spans), st.integers(1, 1000))
def test_groups_are_bounded_and_complete(wanted, at_once):
    requests = merge_ranges(wanted, 10, 200)
    groups = group_requests(requests, at_once)
    assert [request for group in groups for request in group] == requests
    assert all(len(g) == 1 or sum(b - a for a, b in g) <= at_once for g in groups)


@settings(max_examples=50)
@given(st.data())
def test_any_bytes_can_be_read_for_any_announced_ranges(data):
    places = st.tuples(st.integers(0, len(CONTENT)), st.integers(0, 100_000))
    pairs = data.draw(st.lists(places, max_size=6))
    announced = data.draw(st.lists(st.sampled_from(pairs), max_size=3)) if pairs else []
    wanted = [(at, min(at + count, len(CONTENT))) for at, count in announced]
    remote = OpenRemoteFile(URL, Store(URL).describe(), wanted)
    for at, count in pairs:
        assert remote.read(at, count) == CONTENT[at : at + count]
        view = bytearray(min(count, len(CONTENT) - at))
        remote.read_into(memoryview(view), at)
        assert view == CONTENT[at : at + len(view)]


def test_an_object_can_be_read_as_a_file():
    stream = OpenRemoteFile(URL, Store(URL).describe()).stream()
    stream.seek(-10, os.SEEK_END)
    assert stream.read() == CONTENT[-10:]
    stream.seek(5)
    assert (stream.read(7), stream.tell()) == (CONTENT[5:12], 12)


def test_a_buffer_cannot_be_filled_beyond_the_end():
    remote = OpenRemoteFile(URL, Store(URL).describe())
    assert remote.read(len(CONTENT) - 3, 10) == CONTENT[-3:]
    with pytest.raises(FileError, match="10 bytes requested at byte 299997, only 3 present"):
        remote.read_into(memoryview(bytearray(10)), len(CONTENT) - 3)


@pytest.mark.parametrize("content", [b"1", b"\x1f"])
def test_an_object_of_one_byte_has_a_stamp(stored, content):
    stored.pipe_file("/ranges/byte", content)
    stamp = RemoteFile(Url("memory://ranges/byte")).stamp()
    assert (stamp.size, stamp.is_gzipped) == (1, False)
