"""Digests of contents: their kinds, of files and of objects."""

import hashlib

import fsspec
import pytest
import xxhash

from calbatch.models.storage.content_digests import content_digest
from calbatch.models.storage.files import read_stamp

CONTENT = bytes(range(251)) * 90


@pytest.fixture
def stamp(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(CONTENT)
    return read_stamp(path)


@pytest.mark.parametrize("like", ["", "xxh128:0123456789abcdef", "etag:1", "md7:0"])
def test_a_new_digest_of_a_file_is_xxh128(stamp, like):
    assert content_digest(stamp, like) == f"xxh128:{xxhash.xxh128_hexdigest(CONTENT)}"


def test_a_digest_to_compare_has_the_kind_of_the_earlier_one(stamp):
    expected = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert content_digest(stamp, f"sha256:{'0' * 64}") == expected


def test_the_digest_of_an_object_is_its_version():
    files = fsspec.filesystem("memory")
    files.pipe("/digests/a.fits", CONTENT)
    try:
        stamp = read_stamp("memory://digests/a.fits")
    finally:
        files.rm("/digests", recursive=True)
    assert content_digest(stamp) == f"{stamp.version_kind}:{stamp.version}"
