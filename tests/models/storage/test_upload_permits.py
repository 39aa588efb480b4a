"""Permits to make objects: taken back, nothing is made any more, whatever has begun."""

import fsspec
import pytest
from support.s3 import GoBetween, Harm, moto_server, plain_s3, use_endpoint

from calbatch.models.errors import SupersededError
from calbatch.models.storage.location import Url
from calbatch.models.storage.upload_permits import Permits
from calbatch.models.storage.uploading import upload

# botocore's own, on some Pythons
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
    found = plain_s3(server)
    yield found
    for name in found.find("bucket"):
        found.rm_file(name)
    assert uploads(found) == []


@pytest.fixture(scope="module")
def between(server):
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


def claimed(generation, output=OUT):
    permits = Permits(output, generation)
    permits.claim()
    return permits


def test_with_a_permit_an_object_is_made(between, files, file):
    permits = claimed("a")
    facts = upload(file, URL, permits.issue("0-1"))
    assert files.cat_file("bucket/out/a.fits") == file.read_bytes()
    assert facts.size == file.stat().st_size
    permits.release()
    assert files.find("bucket") == ["bucket/out/a.fits"]


@pytest.mark.parametrize("late", [False, True], ids=["before", "between-look-and-end"])
def test_a_place_that_was_taken_over_is_not_written_to(between, files, file, late):
    earlier, made = claimed("a"), []

    def take_over():
        between.before_complete = None
        made.append(claimed("b"))
        files.pipe_file("bucket/out/a.fits", b"theirs")

    if late:  # the upload has been begun, the permit was looked at, all parts are there
        between.before_complete = take_over
    else:
        take_over()
    with pytest.raises(SupersededError, match="given to another worker"):
        upload(file, URL, earlier.issue("0-1"))
    assert files.cat_file("bucket/out/a.fits") == b"theirs"
    assert not earlier.is_held()
    assert made[0].is_held()
    made[0].release()
    assert files.find("bucket") == ["bucket/out/a.fits"]


@pytest.mark.parametrize("late", [False, True], ids=["before", "between-look-and-end"])
def test_a_try_that_is_given_up_makes_nothing_and_others_do(between, files, file, late):
    permits = claimed("a")
    given_up, other = permits.issue("0-1"), permits.issue("1-1")

    def give_up():
        between.before_complete = None
        permits.revoke(given_up)

    if late:
        between.before_complete = give_up
    else:
        give_up()
    with pytest.raises(SupersededError, match="given to another worker"):
        upload(file, URL, given_up)
    if late:  # its upload is ended, too, and it begins another
        between.before_complete = give_up
    upload(file, URL, other)
    assert files.cat_file("bucket/out/a.fits") == file.read_bytes()


def test_large_files_go_in_parts(between, files, tmp_path):
    path = tmp_path / "large.fits"
    path.write_bytes(bytes(range(256)) * (17 << 12))
    facts = upload(path, URL, claimed("a").issue("0-1"))
    assert facts.version.endswith("-3")
    assert files.cat_file("bucket/out/a.fits") == path.read_bytes()


def test_uploads_of_others_are_left_alone(between, files):
    names = ["out/table.csv", "out/deeper/a.fits", "output/a.fits"]
    ours = files.call_s3("create_multipart_upload", Bucket="bucket", Key="out/b.fits")
    others = [files.call_s3("create_multipart_upload", Bucket="bucket", Key=n) for n in names]
    claimed("a")
    assert sorted(u["Key"] for u in uploads(files)) == sorted(names)
    assert ours["UploadId"] not in {u["UploadId"] for u in uploads(files)}
    for made in others:
        where = {key: made[key] for key in ("Bucket", "Key", "UploadId")}
        files.call_s3("abort_multipart_upload", **where)


def test_what_a_store_forbids_is_told(between, files, file):
    between.harms.append(Harm("forbid", path="uploads"))
    permits = claimed("a")
    assert "may still complete an upload" in permits.remark
    between.harms.clear()
    permits = claimed("b")
    assert permits.remark == ""


def test_stores_without_uploads_in_parts_look_at_the_marker(file):
    output = Url("memory://out")
    earlier = claimed("a", output)
    later = claimed("b", output)
    with pytest.raises(SupersededError):
        upload(file, output / "a.fits", earlier.issue("0-1"))
    upload(file, output / "a.fits", later.issue("0-1"))
    later.release()
    memory = fsspec.filesystem("memory")
    assert memory.find("/out") == ["/out/a.fits"]
    memory.rm("/out", recursive=True)
