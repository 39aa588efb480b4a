"""Files on this machine: paths that are rejected, and changes that prevent a digest."""

import errno
import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.page_cache import PAGE, count_cached_pages, require_releasable_pages

from calbatch.models.errors import ChangedError, FileError, StorageError
from calbatch.models.storage import local_files
from calbatch.models.storage.local_files import (
    LocalFile,
    OpenLocalFile,
    begin_flush,
    whole_pages,
)
from calbatch.models.storage.stamps import Hashing

CONTENT = b"SIMPLE  = " * 20_000
SHA256 = Hashing("sha256", hashlib.sha256)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(CONTENT)
    return path


def folder(path):
    path.mkdir()


def fifo(path):
    os.mkfifo(path)


def loop(path):
    path.symlink_to(path)


def dangling(path):
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (folder, "is a directory, not a file"),
        (fifo, "is not a regular file"),
        (loop, "its symbolic links form a loop"),
        (dangling, r"is a symbolic link to .*nowhere, which does not exist"),
        (lambda path: None, "there is no such file"),
    ],
)
def test_paths_without_a_regular_file_are_rejected(tmp_path, make, message):
    make(tmp_path / "a.fits")
    with pytest.raises(FileError, match=rf"{tmp_path}/a\.fits: {message}"):
        LocalFile(tmp_path / "a.fits").stamp()


def test_a_path_through_a_file_is_rejected(path):
    with pytest.raises(FileError, match="part of the path is not a directory"):
        LocalFile(path / "b.fits").stamp()


@pytest.mark.parametrize("name", ["a\0b.fits", "a" * 5000])
def test_a_name_that_no_file_can_have_is_rejected(tmp_path, name):
    with pytest.raises(FileError, match=r"is not a path|cannot be read"):
        LocalFile(tmp_path / name).stamp()


def test_an_unreadable_file_is_rejected(path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "refused")

    stamp = LocalFile(path).stamp()
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileError, match="no permission to read it"), LocalFile(path).open(stamp):
        pass


def test_relative_paths_become_absolute(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert LocalFile(path.relative_to(path.parent)).stamp() == LocalFile(path).stamp()


def test_the_version_of_an_unusable_file_is_none(path, tmp_path):
    path.write_bytes(b"")
    assert LocalFile(path).version() is None
    assert LocalFile(tmp_path).version() is None


def test_a_digest_is_that_of_the_stored_bytes(path):
    digest = LocalFile(path).content_digest(LocalFile(path).stamp(), SHA256)
    assert digest == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


def test_no_digest_after_a_change_that_restores_size_and_time(path):
    stamp = LocalFile(path).stamp()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(stamp.mtime_ns, stamp.mtime_ns))
    with pytest.raises(ChangedError, match="was replaced or changed while it was read"):
        LocalFile(path).content_digest(stamp, SHA256)


def test_a_disk_that_fails_is_reported(path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    monkeypatch.setattr(os, "preadv", fail)
    file = OpenLocalFile(-1, str(path))
    with pytest.raises(StorageError, match="reading failed: Input/output error"):
        file.read(0, 1)
    with pytest.raises(StorageError, match="reading failed: Input/output error"):
        file.read_into(memoryview(bytearray(1)), 0)


def test_small_reads_make_few_system_calls(path):
    calls = []

    class Counting(OpenLocalFile):
        def read(self, position, count):
            calls.append((position, count))
            return super().read(position, count)

    with LocalFile(path).open(LocalFile(path).stamp()) as file:
        read = Counting(file._descriptor, str(path)).read_ahead()
        for position in range(0, len(CONTENT), 80):
            assert read(position, 80) == CONTENT[position : position + 80]
    assert len(calls) == pytest.approx(len(CONTENT) / local_files.READ_AHEAD, abs=1)


@given(st.integers(0, 1 << 21), st.integers(0, 1 << 21))
def test_only_whole_pages_of_long_ranges_are_flushed_early(start, length):
    pages = whole_pages(start, start + length)
    assert all(place % 4096 == 0 for place in (pages.start, pages.stop))
    if pages:
        assert start <= pages.start < pages.stop <= start + length
    assert bool(pages) or length < (1 << 18) + 2 * 4096
    assert not pages or length >= 1 << 18


@pytest.mark.parametrize("bounds", [(0, 1 << 20), (100, (1 << 20) - 100), (5, 6)])
def test_flushing_early_changes_no_bytes(tmp_path, bounds):
    content = bytes(range(256)) * 4096
    with (tmp_path / "a").open("w+b") as file:
        file.write(content)
        file.flush()
        begin_flush(file.fileno(), *bounds)
        os.fsync(file.fileno())
    assert (tmp_path / "a").read_bytes() == content


def test_flushing_early_releases_the_pages_before(tmp_path):
    require_releasable_pages(tmp_path)
    size, path = 1 << 24, tmp_path / "a"
    with path.open("w+b", buffering=0) as file:
        for _ in range(2):
            file.write(bytes(size))
            os.fsync(file.fileno())
        file.write(bytes(size))
        begin_flush(file.fileno(), 2 * size, 2 * size + 100)  # too short
        assert count_cached_pages(path) == 3 * size // PAGE
        begin_flush(file.fileno(), 2 * size, 3 * size, floor=2 * size)
        assert count_cached_pages(path, 0, 2 * size) == 2 * size // PAGE
        begin_flush(file.fileno(), 2 * size, 3 * size)
        # The system releases pages in groups, and none that is only in part in the range.
        assert count_cached_pages(path, size, 2 * size) < size // PAGE // 4
        assert count_cached_pages(path, 0, size) > size // PAGE * 3 // 4


def test_flushing_early_is_an_advice_that_a_pipe_may_refuse():
    read, write = os.pipe()
    try:
        begin_flush(write, 0, 1 << 20)
        assert os.write(write, b"a") == 1
    finally:
        os.close(read)
        os.close(write)
