"""Files by path or URL: the right implementation, and gzipped content decompressed."""

import gzip

import fsspec
import pytest

from calbatch.models.errors import FileError
from calbatch.models.storage.files import (
    current_version,
    file_at,
    open_decompressed,
    open_file,
    read_stamp,
)
from calbatch.models.storage.local_files import LocalFile
from calbatch.models.storage.remote_files import RemoteFile
from calbatch.models.storage.stamps import FileVersion

CONTENT = bytes(range(251)) * 9000


@pytest.fixture
def remote():
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/files", recursive=True)


@pytest.fixture(params=["local", "remote"])
def store(request, tmp_path):
    """Return a function that stores content and returns its path or URL."""
    if request.param == "local":

        def store_file(content):
            (tmp_path / "a.fits").write_bytes(content)
            return str(tmp_path / "a.fits")

        return store_file
    files = request.getfixturevalue("remote")

    def store_object(content):
        files.pipe_file("/files/a.fits", content)
        return "memory://files/a.fits"

    return store_object


def test_urls_are_remote_and_paths_local(tmp_path):
    assert isinstance(file_at("s3://bucket/a.fits"), RemoteFile)
    assert isinstance(file_at(tmp_path / "a.fits"), LocalFile)
    assert isinstance(file_at("file:///a.fits"), LocalFile)


def test_a_stamped_file_is_opened(store):
    path = store(CONTENT)
    stamp = read_stamp(path)
    assert current_version(path) == FileVersion(stamp.path, stamp.size, stamp.mtime_ns)
    with open_file(stamp, [(5, 15)]) as file:
        assert file.read(5, 10) == CONTENT[5:15]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_content_is_read_decompressed(store, compress):
    stamp = read_stamp(store(compress(CONTENT)))
    with open_decompressed(stamp) as read_at:
        for position in (0, 80, 100_000, 2_000_000, 1_999_000, len(CONTENT) - 10, len(CONTENT)):
            assert read_at(position, 1000) == CONTENT[position : position + 1000]


@pytest.mark.parametrize("damage", [lambda data: data[:-1000], lambda data: data[:-4] + b"sums"])
def test_damaged_gzip_data_are_reported(store, damage):
    stamp = read_stamp(store(damage(gzip.compress(CONTENT))))
    with (
        pytest.raises(FileError, match=r"a\.fits: damaged or truncated gzip data: "),
        open_decompressed(stamp) as read_at,
    ):
        read_at(0, len(CONTENT) + 1)


@pytest.mark.parametrize("path", ["absent.fits", "a\0b", "memory://files/absent.fits"])
def test_a_file_that_cannot_be_read_has_no_version(path):
    assert current_version(path) is None
    with pytest.raises(FileError):
        read_stamp(path)


def test_a_url_with_a_secret_is_rejected_rather_than_versionless():
    with pytest.raises(FileError, match="must not have a password"):
        current_version("s3://me:secret@bucket/a.fits")
