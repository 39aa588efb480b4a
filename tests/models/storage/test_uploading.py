"""Products that become objects: whole and verified, or not at all."""

import pickle
import subprocess
import sys

import fsspec
import numpy as np
import pytest
from support.s3 import GoBetween, Harm, moto_server, plain_s3, use_endpoint

from calbatch.models import datamodels
from calbatch.models.errors import FileError, StorageError
from calbatch.models.fits.writer import FitsWriter, OutputImage, write_fits
from calbatch.models.storage import uploading
from calbatch.models.storage.files import read_stamp
from calbatch.models.storage.location import Url
from calbatch.models.storage.uploading import upload

# botocore's own, on some Pythons
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

URL = "s3://bucket/out/a.fits"
PARTS = (
    OutputImage("", "PRIMARY"),
    OutputImage("data", "SCI", dtype=np.dtype("f4"), shape=(3, 40, 50)),
)
DATA = np.random.default_rng(0).normal(size=(3, 40, 50)).astype("f4")
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def server():
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def bucket(server):
    found = plain_s3(server)
    found.mkdir("bucket")
    return found


@pytest.fixture
def files(bucket):
    """Give a bucket that is empty, past what is between."""
    yield bucket
    for name in bucket.find("bucket"):
        bucket.rm_file(name)


@pytest.fixture
def between(server, files, monkeypatch, scratch):
    """Give what is between this process and the server."""
    made = GoBetween(server)
    with made.serving() as endpoint:
        use_endpoint(monkeypatch, endpoint)
        yield made


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("CALBATCH_SCRATCH_DIR", str(folder))
    return folder


def written(url=URL):
    return write_fits(url, PARTS, {"data": DATA})


def test_an_object_is_the_file_byte_by_byte(between, files, tmp_path, scratch):
    local = write_fits(tmp_path / "a.fits", PARTS, {"data": DATA})
    product = written()
    assert files.cat_file("bucket/out/a.fits") == (tmp_path / "a.fits").read_bytes()
    assert (product.path, product.size, product.digest) == (URL, local.size, local.digest)
    assert list(scratch.iterdir()) == []


def test_a_product_is_known_again(between, files):
    product = written()
    stamp = read_stamp(URL)
    known = (stamp.path, stamp.size, stamp.mtime_ns, stamp.version)
    assert known == (product.path, product.size, product.mtime_ns, product.identity)
    files.pipe_file("bucket/out/a.fits", b"0" * product.size)
    assert read_stamp(URL).version != product.identity


def test_nothing_shows_before_it_is_complete(between, files, scratch):
    writer = FitsWriter(URL, PARTS)
    writer.prepare()
    receipts = [writer.write_rows("data", (0, 40), DATA)]
    assert files.find("bucket") == []
    assert [p.parent for p in (writer.part,)] == [scratch]
    assert not [r for r in between.requests if r.method == "PUT"]
    writer.finish(receipts)
    assert files.find("bucket") == ["bucket/out/a.fits"]


def test_rows_are_written_by_other_processes(between, scratch, tmp_path):
    writer = FitsWriter(URL, PARTS)
    writer.prepare()
    given, taken = tmp_path / "given", tmp_path / "taken"
    given.write_bytes(pickle.dumps((writer, DATA[:, 20:])))
    code = (
        "import pickle, sys; from pathlib import Path\n"
        "writer, data = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "receipt = writer.write_rows('data', (20, 40), data)\n"
        "Path(sys.argv[2]).write_bytes(pickle.dumps(receipt))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(given), str(taken)], check=True)
    mine = writer.write_rows("data", (0, 20), DATA[:, :20])
    writer.finish([mine, pickle.loads(taken.read_bytes())])
    assert (datamodels.CubeModel(URL).data.compute() == DATA).all()


@pytest.mark.parametrize("kind", ["refuse", "stall", "cut"])
def test_an_upload_that_fails_leaves_what_was_there(between, files, scratch, kind, monkeypatch):
    if kind == "stall":
        monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", "0.6")
    files.pipe_file("bucket/out/a.fits", b"older")
    between.harms = [Harm(kind, "PUT", before_upstream=True)]
    with pytest.raises(StorageError, match=r"s3://bucket/out/a\.fits: uploading \d+ bytes failed"):
        written()
    assert files.cat_file("bucket/out/a.fits") == b"older"
    assert list(scratch.iterdir()) == []


def test_an_upload_that_fails_once_is_tried_again(between, files):
    between.harms = [Harm("cut", "PUT", times=1, before_upstream=True)]
    assert files.info(written().path)["size"] == read_stamp(URL).size


def test_what_was_altered_on_its_way_does_not_count(between, files, scratch):
    between.harms = [Harm("alter", "PUT")]
    with pytest.raises(StorageError, match=r"out/a\.fits: (uploading|reading) .*failed"):
        written()
    assert list(scratch.iterdir()) == []


def test_what_somebody_else_put_there_does_not_count_and_stays(between, files, scratch):
    between.before_head = lambda: files.pipe_file("bucket/out/a.fits", b"theirs")
    with pytest.raises(StorageError, match=r"a\.fits: is not what was uploaded"):
        written()
    assert files.cat_file("bucket/out/a.fits") == b"theirs"


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.fits"
    path.write_bytes(np.random.default_rng(0).bytes(17 * MEGABYTE))
    return path


def test_large_files_go_in_parts(between, files, large):
    facts = upload(large, Url(URL))
    assert len([r for r in between.requests if r.method == "PUT"]) == 3
    assert max(r.received for r in between.requests) <= 9 * MEGABYTE
    assert facts.version.endswith("-3")
    assert not between.reads  # what the store tells was enough
    assert files.cat_file("bucket/out/a.fits") == large.read_bytes()


def test_parts_are_nothing_without_their_end(between, files, large):
    between.harms = [Harm("refuse", "POST", path="uploadId")]
    with pytest.raises(StorageError, match="uploading 17825792 bytes failed"):
        upload(large, Url(URL))
    assert files.find("bucket") == []
    assert files.list_multipart_uploads("bucket") == []


def test_what_the_store_says_nothing_of_is_read_again(between, files, large, monkeypatch):
    """As where it encrypts: its ETag is then no sum of the content."""
    monkeypatch.setattr(uploading, "_chunk", lambda size: 6 * MEGABYTE + len(between.requests))
    upload(large, Url(URL))
    assert sum(r.sent for r in between.reads) == 17 * MEGABYTE


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://no-bucket/a.fits", "cannot be written: there is no such bucket"),
        ("http://127.0.0.1:9/a.fits", "cannot be written: http is for reading"),
    ],
)
def test_where_nothing_can_be_written(between, scratch, url, message):
    with pytest.raises(FileError, match=f"{url}: {message}"):
        written(url)
    assert list(scratch.iterdir()) == []


def test_scratch_without_a_folder_is_told(between, scratch):
    scratch.rmdir()
    with pytest.raises(FileError, match=rf"{scratch}/\.a\.fits\..*: cannot be written: its folder"):
        written()


def test_elsewhere_it_has_another_name_until_it_is_complete(scratch):
    memory = fsspec.filesystem("memory")
    try:
        product = written("memory://out/sub/a.fits")
        assert memory.find("/out") == ["/out/sub/a.fits"]
        assert read_stamp("memory://out/sub/a.fits").size == product.size
        assert (datamodels.CubeModel("memory://out/sub/a.fits").data.compute() == DATA).all()
    finally:
        memory.rm("/out", recursive=True)
