"""The interface of files, held by both of its implementations."""

import gzip
import hashlib

import fsspec
import pytest

from calbatch.models.errors import ChangedError, FileError
from calbatch.models.storage.local_files import LocalFile
from calbatch.models.storage.location import Url
from calbatch.models.storage.remote_files import RemoteFile
from calbatch.models.storage.stamps import FileVersion, Hashing, Stamp

CONTENT = bytes(range(256)) * 1000
SHA256 = Hashing("sha256", hashlib.sha256)


class Local:
    """A file in a temporary folder."""

    def __init__(self, folder):
        self.place = folder / "a.fits"
        self.file = LocalFile(self.place)

    def write(self, content):
        self.place.write_bytes(content)

    def remove(self):
        self.place.unlink()


class Remote:
    """An object in fsspec's memory."""

    def __init__(self, folder):
        self.place = Url("memory://stamps/a.fits")
        self.file = RemoteFile(self.place)
        self.files = fsspec.filesystem("memory")

    def write(self, content):
        self.files.pipe_file("/stamps/a.fits", content)

    def remove(self):
        if self.files.exists("/stamps/a.fits"):
            self.files.rm_file("/stamps/a.fits")


@pytest.fixture(params=[Local, Remote])
def stored(request, tmp_path):
    made = request.param(tmp_path)
    made.write(CONTENT)
    yield made
    if request.param is Remote:
        made.remove()


def test_a_stamp_identifies_the_file(stored):
    stamp = stored.file.stamp()
    assert (stamp.path, stamp.size, stamp.is_gzipped) == (str(stored.place), len(CONTENT), False)
    assert stamp.mtime_ns > 0
    assert stored.file.stamp() == stamp
    assert stored.file.version() == FileVersion(stamp.path, stamp.size, stamp.mtime_ns)


def test_gzipped_content_is_recognized(stored):
    stored.write(gzip.compress(CONTENT))
    assert stored.file.stamp().is_gzipped


@pytest.mark.parametrize("count", [0, 1, 100, 1 << 16, len(CONTENT)])
@pytest.mark.parametrize("position", [0, 17, len(CONTENT) - 3])
def test_every_way_of_reading_returns_the_same_bytes(stored, position, count):
    expected = CONTENT[position : position + count]
    with stored.file.open(stored.file.stamp(), [(position, position + count)]) as file:
        assert file.read(position, count) == expected
        assert file.read_ahead()(position, count) == expected
        buffer = bytearray(len(expected))
        file.read_into(memoryview(buffer), position)
        assert buffer == expected
        with file.stream() as stream:
            stream.seek(position)
            assert stream.read(count) == expected


def test_small_reads_return_the_bytes_in_any_order(stored):
    with stored.file.open(stored.file.stamp()) as file:
        read = file.read_ahead()
        for position in (0, 80, 70_000, 69_990, 10, len(CONTENT) - 5, len(CONTENT), 200_000):
            assert read(position, 80) == CONTENT[position : position + 80]


def test_a_buffer_beyond_the_end_is_not_filled(stored):
    message = rf"10 bytes requested at byte {len(CONTENT) - 3}, only 3 present"
    with (
        stored.file.open(stored.file.stamp()) as file,
        pytest.raises(FileError, match=message),
    ):
        file.read_into(memoryview(bytearray(10)), len(CONTENT) - 3)


def test_a_file_that_has_changed_is_rejected(stored):
    stamp = stored.file.stamp()
    stored.write(CONTENT + b"more")
    with (
        pytest.raises(ChangedError, match="was replaced or changed since it was first read"),
        stored.file.open(stamp) as file,
    ):
        file.read(0, 10)


def test_a_file_that_is_gone_is_rejected(stored):
    stamp = stored.file.stamp()
    stored.remove()
    with (
        pytest.raises(FileError, match=r"there is no such (file|object)"),
        stored.file.open(stamp) as file,
    ):
        file.read(0, 10)


def test_an_empty_file_has_no_stamp(stored):
    stored.write(b"")
    with pytest.raises(FileError, match=r"is empty \(0 bytes\)"):
        stored.file.stamp()


def test_a_digest_stands_for_one_content(stored):
    first = stored.file.content_digest(stored.file.stamp(), SHA256)
    assert ":" in first
    assert stored.file.content_digest(stored.file.stamp(), SHA256) == first
    stored.write(CONTENT[::-1])
    assert stored.file.content_digest(stored.file.stamp(), SHA256) != first


def test_a_new_link_does_not_change_a_stamp():
    assert Stamp("a", 1, 2, ctime_ns=3) == Stamp("a", 1, 2, ctime_ns=4)
