"""Upload permits: after they are revoked, no upload completes, even one that has begun."""

import asyncio
from types import SimpleNamespace

import fsspec
import pytest
from support.s3 import GoBetween, Harm, moto_server, plain_s3, use_endpoint

from calbatch.models.errors import StorageError, SupersededError
from calbatch.models.storage import upload_permits
from calbatch.models.storage.location import Url
from calbatch.models.storage.upload_permits import Permit, Permits
from calbatch.models.storage.uploading import upload

# raised by botocore on some versions of Python
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OUT = Url("s3://bucket/out")
URL = OUT / "a.fits"


@pytest.fixture(scope="module")
def server():
    with moto_server() as endpoint:
        plain_s3(endpoint).mkdir("bucket")
        yield endpoint


@pytest.fixture
def files(server):
    bucket = plain_s3(server)
    yield bucket
    for name in bucket.find("bucket"):
        bucket.rm_file(name)
    assert uploads(bucket) == []


@pytest.fixture(scope="module")
def proxy(server):
    made = GoBetween(server)
    with pytest.MonkeyPatch.context() as patch, made.serving() as endpoint:
        use_endpoint(patch, endpoint)
        yield made


def uploads(files):
    return files.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads", [])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(b"mine" * 100)
    return path


def claim(generation, output=OUT):
    permits = Permits(output, generation)
    permits.claim()
    return permits


def test_a_file_is_uploaded_with_a_permit(proxy, files, file):
    permits = claim("a")
    facts = upload(file, URL, permits.issue("0-1"))
    assert files.cat_file("bucket/out/a.fits") == file.read_bytes()
    assert facts.size == file.stat().st_size
    permits.release()
    assert files.find("bucket") == ["bucket/out/a.fits"]


@pytest.mark.parametrize("late", [False, True], ids=["before", "between-check-and-completion"])
def test_an_earlier_driver_cannot_replace_products(proxy, files, file, late):
    earlier, later = claim("a"), []

    def take_over():
        proxy.before_complete = None
        later.append(claim("b"))
        files.pipe_file("bucket/out/a.fits", b"theirs")

    if late:  # all parts are uploaded and the permit was checked
        proxy.before_complete = take_over
    else:
        take_over()
    with pytest.raises(SupersededError, match="given to another worker"):
        upload(file, URL, earlier.issue("0-1"))
    assert files.cat_file("bucket/out/a.fits") == b"theirs"
    assert not earlier.is_held()
    assert later[0].is_held()
    later[0].release()
    assert files.find("bucket") == ["bucket/out/a.fits"]


@pytest.mark.parametrize("late", [False, True], ids=["before", "between-check-and-completion"])
def test_a_revoked_permit_leaves_others_valid(proxy, files, file, late):
    permits = claim("a")
    revoked, other = permits.issue("0-1"), permits.issue("1-1")

    def revoke():
        proxy.before_complete = None
        permits.revoke(revoked)

    if late:
        proxy.before_complete = revoke
    else:
        revoke()
    with pytest.raises(SupersededError, match="given to another worker"):
        upload(file, URL, revoked)
    if late:  # its upload is aborted as well, and it starts another
        proxy.before_complete = revoke
    upload(file, URL, other)
    assert files.cat_file("bucket/out/a.fits") == file.read_bytes()


def test_large_files_are_uploaded_in_parts(proxy, files, tmp_path):
    path = tmp_path / "large.fits"
    path.write_bytes(bytes(range(256)) * (17 << 12))
    facts = upload(path, URL, claim("a").issue("0-1"))
    assert facts.version.endswith("-3")
    assert files.cat_file("bucket/out/a.fits") == path.read_bytes()


def test_uploads_of_other_programs_are_left_alone(proxy, files):
    names = ["out/table.csv", "out/deeper/a.fits", "output/a.fits"]
    ours = files.call_s3("create_multipart_upload", Bucket="bucket", Key="out/b.fits")
    others = [files.call_s3("create_multipart_upload", Bucket="bucket", Key=n) for n in names]
    claim("a")
    assert sorted(u["Key"] for u in uploads(files)) == sorted(names)
    assert ours["UploadId"] not in {u["UploadId"] for u in uploads(files)}
    for made in others:
        where = {key: made[key] for key in ("Bucket", "Key", "UploadId")}
        files.call_s3("abort_multipart_upload", **where)


def test_a_store_that_forbids_listing_uploads_is_reported(proxy, files, file):
    proxy.harms.append(Harm("forbid", path="uploads"))
    permits = claim("a")
    assert "may still complete an upload" in permits.remark
    proxy.harms.clear()
    permits = claim("b")
    assert permits.remark == ""


def test_the_marker_is_checked_in_stores_without_multipart_uploads(file):
    output = Url("memory://out")
    earlier = claim("a", output)
    later = claim("b", output)
    with pytest.raises(SupersededError):
        upload(file, output / "a.fits", earlier.issue("0-1"))
    upload(file, output / "a.fits", later.issue("0-1"))
    later.release()
    memory = fsspec.filesystem("memory")
    assert memory.find("/out") == ["/out/a.fits"]
    memory.rm("/out", recursive=True)


class Bucket:
    """A store in memory whose multipart uploads another program aborts before a request."""

    url = URL
    bucket_and_key = ("bucket", "out/a.fits")

    def __init__(self, marker: bytes | None, missing_at: str = "") -> None:
        self.marker, self.missing_at, self.requests = marker, missing_at, []

    def run(self, function, size):
        return asyncio.run(function())

    async def call_async(self, method, name, **_):
        if method == "cat_file":
            if self.marker is None:
                raise FileNotFoundError
            return self.marker
        self.requests.append(name)
        if name == self.missing_at:
            raise FileNotFoundError
        return {"UploadId": "1", "ETag": "2"}


def upload_to(bucket, file, monkeypatch):
    marker = SimpleNamespace(path="marker", call_async=bucket.call_async)
    monkeypatch.setattr(upload_permits, "Store", lambda url: marker)
    permit = Permit(OUT / ".calbatch" / "driver-a", "0-1")
    upload_permits.upload_with_permit(bucket, file, 100, permit)


def test_parts_are_uploaded_before_completion(file, monkeypatch):
    bucket = Bucket(b"[]")
    upload_to(bucket, file, monkeypatch)
    parts = ["upload_part"] * 4
    assert bucket.requests == ["create_multipart_upload", *parts, "complete_multipart_upload"]


@pytest.mark.parametrize("request_", ["upload_part", "complete_multipart_upload"])
def test_an_upload_that_another_program_aborted_is_reported(file, monkeypatch, request_):
    bucket = Bucket(b"[]", request_)
    with pytest.raises(StorageError, match="its upload was aborted by another program"):
        upload_to(bucket, file, monkeypatch)
    assert bucket.requests[-1] == "abort_multipart_upload"


@pytest.mark.parametrize("marker", [None, b'["0-1"]'], ids=["removed", "revoked"])
def test_without_a_valid_permit_nothing_is_uploaded(file, monkeypatch, marker):
    bucket = Bucket(marker)
    with pytest.raises(SupersededError, match="given to another worker"):
        upload_to(bucket, file, monkeypatch)
    assert bucket.requests == ["create_multipart_upload", "abort_multipart_upload"]


def test_permits_are_held_while_the_server_fails(proxy, files):
    permits = claim("a")
    proxy.harms.append(Harm("refuse", "HEAD"))
    assert permits.is_held()
    proxy.harms.clear()
    permits.release()
    assert not permits.is_held()


def test_a_server_that_fails_does_not_count_as_a_revoked_permit(proxy, files, file):
    permit = claim("a").issue("0-1")
    proxy.harms.append(Harm("refuse", path="driver-a"))
    with pytest.raises(StorageError, match="reading it failed"):
        permit.require_valid()
    proxy.harms.clear()
    permit.require_valid()
