"""Upload permits: after they are revoked, no upload completes, even one that has begun."""

import fsspec
import pytest
from support.s3 import GoBetween, Harm, moto_server, plain_s3, use_endpoint

from calbatch.models.errors import SupersededError
from calbatch.models.storage.location import Url
from calbatch.models.storage.upload_permits import Permits
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
