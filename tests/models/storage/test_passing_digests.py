"""Digests of files that are made while these are read: always those of the whole content."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.errors import ChangedError, FileError
from calbatch.models.storage import passing_digests
from calbatch.models.storage.content_digests import begin_content_digest, content_digest
from calbatch.models.storage.files import open_file, read_stamp
from calbatch.models.storage.passing_digests import digest_in_passing, find_passing_digest
from calbatch.models.storage.stamps import Hashing

CONTENT = bytes(range(251)) * 9
SIZE = len(CONTENT)
DIGEST = f"xxh128:{xxhash.xxh128_hexdigest(CONTENT)}"


@pytest.fixture(scope="module")
def stamp(tmp_path_factory):
    path = tmp_path_factory.mktemp("digests") / "a.fits"
    path.write_bytes(CONTENT)
    return read_stamp(path)


@pytest.fixture(scope="module", autouse=True)
def _small_gaps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passing_digests, "LARGEST_GAP", 100)
        yield


def read(stamp, position, size):
    buffer = bytearray(size)
    with open_file(stamp) as file:
        file.read_into(memoryview(buffer), position)
    assert buffer == CONTENT[position : position + size]


def count_covered(stamp):
    """Return the number of bytes of which there is a digest."""
    return find_passing_digest(stamp, stamp.ctime_ns).so_far()[1]


ranges = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted)
near = st.tuples(st.integers(0, 300), st.integers(0, 300))


@given(st.lists(ranges, max_size=8), st.lists(near, max_size=30))
def test_the_digest_is_that_of_the_file_whatever_is_read(stamp, anywhere, onwards):
    """Reads in any order, and reads that go on with gaps and steps back."""
    reads, position = [(start, stop - start) for start, stop in anywhere], 0
    for skipped, size in onwards:
        start = min(max(0, position + skipped - 100), SIZE)
        reads.append((start, min(size, SIZE - start)))
        position = sum(reads[-1])
    with begin_content_digest(stamp):
        for start, size in reads:
            read(stamp, start, size)
        assert content_digest(stamp) == content_digest(stamp) == DIGEST
    assert content_digest(stamp) == DIGEST


def test_what_was_read_in_order_is_covered_with_the_gaps_between(stamp):
    with begin_content_digest(stamp):
        for start in range(90, SIZE - 50, 500):
            read(stamp, start, min(410, SIZE - 50 - start))
        assert count_covered(stamp) == SIZE - 50
        assert content_digest(stamp) == DIGEST


def test_a_gap_that_is_too_large_is_left_to_the_end(stamp):
    with begin_content_digest(stamp):
        read(stamp, 100, 50)
        assert count_covered(stamp) == 150
        read(stamp, 251, 50)
        assert count_covered(stamp) == 150
        read(stamp, 20, 60)  # known already
        assert count_covered(stamp) == 150
        assert content_digest(stamp) == DIGEST


def test_threads_may_read_at_the_same_time(stamp):
    start = threading.Barrier(4, timeout=60)

    def read_all(offset):
        start.wait()
        for position in range(offset, SIZE - 60, 47):
            read(stamp, position, 60)

    with begin_content_digest(stamp):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(read_all, (0, 13, 29, 41)))
        assert count_covered(stamp) > SIZE - 110
        assert content_digest(stamp) == DIGEST


def test_a_file_that_is_read_twice_at_once_has_one_digest(stamp):
    with begin_content_digest(stamp):
        first = find_passing_digest(stamp, stamp.ctime_ns)
        with begin_content_digest(stamp):
            assert find_passing_digest(stamp, stamp.ctime_ns) is first
            read(stamp, 0, SIZE)
        assert count_covered(stamp) == SIZE
    assert find_passing_digest(stamp, stamp.ctime_ns) is None


def test_a_file_that_replaces_another_gets_its_own_digest(tmp_path):
    """Of the same size and time, as some programs that copy files leave it."""
    path, new = tmp_path / "a.fits", tmp_path / "new"
    path.write_bytes(CONTENT[::-1])
    before = read_stamp(path)
    new.write_bytes(CONTENT)
    os.utime(new, ns=(before.mtime_ns, before.mtime_ns))
    with begin_content_digest(before):
        with open_file(before) as file:
            file.read_into(memoryview(bytearray(SIZE)), 0)
        new.replace(path)
        after = read_stamp(path)
        assert after == before
        with begin_content_digest(after):
            read(after, 0, SIZE)
            assert content_digest(after) == DIGEST
        with pytest.raises(ChangedError, match="was replaced or changed while it was read"):
            content_digest(before)


def test_threads_may_begin_and_end_at_the_same_time(stamp):
    start, end = threading.Barrier(4, timeout=60), threading.Barrier(4, timeout=60)

    def begin_together():
        start.wait()
        return xxhash.xxh3_128()

    def read_once(_):
        with digest_in_passing(stamp, Hashing("xxh128", begin_together)):
            end.wait()
            read(stamp, 0, SIZE)
            return content_digest(stamp)

    for _ in range(20):
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(read_once, range(4))) == [DIGEST] * 4
        assert find_passing_digest(stamp, stamp.ctime_ns) is None


def test_an_earlier_digest_of_another_kind_is_made_anew(stamp):
    with begin_content_digest(stamp):
        read(stamp, 0, SIZE)
        assert content_digest(stamp, "sha256:0").startswith("sha256:")


def test_nothing_is_kept_after_a_failure(stamp):
    with pytest.raises(ZeroDivisionError), begin_content_digest(stamp):
        raise ZeroDivisionError
    assert find_passing_digest(stamp, stamp.ctime_ns) is None


def test_no_digest_of_a_file_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(CONTENT)
    stamp = read_stamp(path)
    with begin_content_digest(stamp):
        read(stamp, 0, SIZE)
        path.write_bytes(CONTENT[::-1])
        os.utime(path, ns=(stamp.mtime_ns, stamp.mtime_ns))
        with pytest.raises(ChangedError, match="was replaced or changed while it was read"):
            content_digest(stamp)


def test_a_file_that_becomes_shorter_has_no_digest_of_what_is_missing(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(CONTENT)
    stamp = read_stamp(path)
    with begin_content_digest(stamp), open_file(stamp) as file:
        buffer = memoryview(bytearray(60))
        file.read_into(buffer, 0)
        os.truncate(path, 100)
        with pytest.raises(FileError, match="truncated while reading"):
            file.read_into(buffer, 80)
        assert count_covered(stamp) == 60
        find_passing_digest(stamp, stamp.ctime_ns).add(
            file.read, 130, buffer
        )  # read before it became shorter
        assert count_covered(stamp) == 60
