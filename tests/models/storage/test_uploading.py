"""Products uploaded as objects: complete and verified, or absent."""

import base64
import hashlib
import pickle
import subprocess
import sys

import fsspec
import numpy as np
import pytest
from support.s3 import GoBetween, Harm, moto_server, plain_s3, use_endpoint

from calbatch.models import datamodels
from calbatch.models.errors import FileError, StorageError, SupersededError
from calbatch.models.fits.writer import FitsWriter, OutputImage, write_fits
from calbatch.models.storage import uploading
from calbatch.models.storage.files import read_stamp
from calbatch.models.storage.location import Url
from calbatch.models.storage.upload_permits import Permits
from calbatch.models.storage.uploading import upload

# raised by botocore on some versions of Python
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

URL = "s3://bucket/out/a.fits"
PARTS = (
    OutputImage(name="", extname="PRIMARY"),
    OutputImage(name="data", extname="SCI", dtype=np.dtype("f4"), shape=(3, 40, 50)),
)
DATA = np.random.default_rng(0).normal(size=(3, 40, 50)).astype("f4")
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def server():
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def bucket(server):
    made = plain_s3(server)
    made.mkdir("bucket")
    return made


@pytest.fixture
def files(bucket):
    """Return access to an empty bucket that bypasses the proxy."""
    yield bucket
    for name in bucket.find("bucket"):
        bucket.rm_file(name)


@pytest.fixture
def proxy(server, files, monkeypatch, scratch):
    """Return a proxy between this process and the server."""
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


def write_product(url=URL):
    return write_fits(url, PARTS, {"data": DATA})


def test_an_object_equals_the_local_file(proxy, files, tmp_path, scratch):
    local = write_fits(tmp_path / "a.fits", PARTS, {"data": DATA})
    product = write_product()
    assert files.cat_file("bucket/out/a.fits") == (tmp_path / "a.fits").read_bytes()
    assert (product.path, product.size, product.digest) == (URL, local.size, local.digest)
    assert list(scratch.iterdir()) == []


def test_a_product_has_the_stamp_of_its_object(proxy, files):
    product = write_product()
    stamp = read_stamp(URL)
    identity = (stamp.path, stamp.size, stamp.mtime_ns, stamp.version)
    assert identity == (product.path, product.size, product.mtime_ns, product.identity)
    files.pipe_file("bucket/out/a.fits", b"0" * product.size)
    assert read_stamp(URL).version != product.identity


def test_nothing_is_visible_before_the_product_is_complete(proxy, files, scratch):
    writer = FitsWriter(URL, PARTS)
    writer.prepare()
    receipts = [writer.write_rows("data", (0, 40), DATA)]
    assert files.find("bucket") == []
    assert [p.parent for p in (writer.temporary,)] == [scratch]
    assert not [r for r in proxy.requests if r.method == "PUT"]
    writer.finish(receipts)
    assert files.find("bucket") == ["bucket/out/a.fits"]


def test_other_processes_can_write_rows(proxy, scratch, tmp_path):
    writer = FitsWriter(URL, PARTS)
    writer.prepare()
    request, answer = tmp_path / "request", tmp_path / "answer"
    request.write_bytes(pickle.dumps((writer, DATA[:, 20:])))
    code = (
        "import pickle, sys; from pathlib import Path\n"
        "writer, data = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "receipt = writer.write_rows('data', (20, 40), data)\n"
        "Path(sys.argv[2]).write_bytes(pickle.dumps(receipt))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(request), str(answer)], check=True)
    mine = writer.write_rows("data", (0, 20), DATA[:, :20])
    writer.finish([mine, pickle.loads(answer.read_bytes())])
    assert (datamodels.CubeModel(URL).data.compute() == DATA).all()


@pytest.mark.parametrize("kind", ["refuse", "stall", "cut"])
def test_a_failed_upload_leaves_the_earlier_object(proxy, files, scratch, kind, monkeypatch):
    if kind == "stall":
        monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", "0.6")
    files.pipe_file("bucket/out/a.fits", b"older")
    proxy.harms = [Harm(kind, "PUT", before_upstream=True)]
    with pytest.raises(StorageError, match=r"s3://bucket/out/a\.fits: uploading \d+ bytes failed"):
        write_product()
    assert files.cat_file("bucket/out/a.fits") == b"older"
    assert list(scratch.iterdir()) == []


def test_a_failed_upload_is_retried(proxy, files):
    proxy.harms = [Harm("cut", "PUT", times=1, before_upstream=True)]
    assert files.info(write_product().path)["size"] == read_stamp(URL).size


def test_data_altered_in_transit_are_rejected(proxy, files, scratch):
    proxy.harms = [Harm("alter", "PUT")]
    with pytest.raises(StorageError, match=r"out/a\.fits: (uploading|reading) .*failed"):
        write_product()
    assert list(scratch.iterdir()) == []


def test_an_object_of_another_program_is_rejected_and_kept(proxy, files, scratch):
    proxy.before_head = lambda: files.pipe_file("bucket/out/a.fits", b"theirs")
    with pytest.raises(StorageError, match=r"a\.fits: differs from the uploaded file"):
        write_product()
    assert files.cat_file("bucket/out/a.fits") == b"theirs"


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.fits"
    path.write_bytes(np.random.default_rng(0).bytes(17 * MEGABYTE))
    return path


def test_large_files_are_uploaded_in_parts(proxy, files, large):
    facts = upload(large, Url(URL))
    assert len([r for r in proxy.requests if r.method == "PUT"]) == 3
    assert max(r.received for r in proxy.requests) <= 9 * MEGABYTE
    assert facts.version.endswith("-3")
    assert not proxy.reads  # the store's checksum was enough
    assert files.cat_file("bucket/out/a.fits") == large.read_bytes()


def test_an_incomplete_upload_leaves_no_parts(proxy, files, large):
    proxy.harms = [Harm("refuse", "POST", path="uploadId")]
    with pytest.raises(StorageError, match="uploading 17825792 bytes failed"):
        upload(large, Url(URL))
    assert files.find("bucket") == []
    assert files.list_multipart_uploads("bucket") == []


def test_an_object_without_a_known_checksum_is_read_again(proxy, files, large, monkeypatch):
    """The ETag of an encrypted object is not a checksum of its content."""
    monkeypatch.setattr(uploading, "_chunk", lambda size: 6 * MEGABYTE + len(proxy.requests))
    upload(large, Url(URL))
    assert sum(r.sent for r in proxy.reads) == 17 * MEGABYTE


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://no-bucket/a.fits", "cannot be written: there is no such bucket"),
        ("http://127.0.0.1:9/a.fits", "cannot be written: http is read-only"),
    ],
)
def test_urls_that_cannot_be_written_are_rejected(proxy, scratch, url, message):
    with pytest.raises(FileError, match=f"{url}: {message}"):
        write_product(url)
    assert list(scratch.iterdir()) == []


def test_a_missing_scratch_folder_is_reported(proxy, scratch):
    scratch.rmdir()
    with pytest.raises(FileError, match=rf"{scratch}/\.a\.fits\..*: cannot be written: its folder"):
        write_product()


def test_other_protocols_use_a_temporary_name_until_completion(scratch):
    memory = fsspec.filesystem("memory")
    try:
        product = write_product("memory://out/sub/a.fits")
        assert memory.find("/out") == ["/out/sub/a.fits"]
        assert read_stamp("memory://out/sub/a.fits").size == product.size
        assert (datamodels.CubeModel("memory://out/sub/a.fits").data.compute() == DATA).all()
    finally:
        memory.rm("/out", recursive=True)


@pytest.fixture
def memory(monkeypatch):
    """Return fsspec's memory; it stands for an object store, and reports versions."""
    memory = fsspec.filesystem("memory")
    monkeypatch.setattr(uploading, "_ATOMIC", ("memory",))
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("field", ["Content-MD5", "ETag", "generation"])
@pytest.mark.parametrize("same", [True, False])
def test_content_is_compared_by_the_stores_checksum(memory, monkeypatch, tmp_path, field, same):
    (tmp_path / "a.fits").write_bytes(b"12345")
    digest = hashlib.md5(b"12345" if same else b"54321", usedforsecurity=False)
    base64_digest = base64.b64encode(digest.digest()).decode()
    versions = {"Content-MD5": base64_digest, "ETag": digest.hexdigest(), "generation": "7"}
    info = {"name": "a", "size": 5, field: versions[field]}
    monkeypatch.setattr(type(memory), "info", lambda self, path, **_: info)
    stored = memory.cat_ranges if same else lambda paths, *_, **__: [b"54321"] * len(paths)
    monkeypatch.setattr(type(memory), "cat_ranges", lambda self, *a, **b: stored(*a, **b))
    url = Url("memory://out/a.fits")
    if same:
        assert upload(tmp_path / "a.fits", url).version == versions[field]
    else:
        with pytest.raises(StorageError, match="differs from the uploaded file"):
            upload(tmp_path / "a.fits", url)


def test_an_object_that_disappears_is_reported(memory, monkeypatch, tmp_path):
    (tmp_path / "a.fits").write_bytes(b"12345")
    monkeypatch.setattr(type(memory), "put_file", lambda *_, **__: None)
    with pytest.raises(StorageError, match="after it was uploaded: there is no such object"):
        upload(tmp_path / "a.fits", Url("memory://out/a.fits"))


def test_a_permit_is_checked_before_an_atomic_upload(memory, tmp_path):
    (tmp_path / "a.fits").write_bytes(b"12345")
    permits = Permits(Url("memory://out"), "a")
    permits.claim()
    permit = permits.issue("0-1")
    assert upload(tmp_path / "a.fits", Url("memory://out/a.fits"), permit).size == 5
    permits.revoke(permit)
    with pytest.raises(SupersededError):
        upload(tmp_path / "a.fits", Url("memory://out/b.fits"), permit)
    assert not memory.exists("/out/b.fits")
