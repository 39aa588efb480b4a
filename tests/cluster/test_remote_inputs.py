"""Objects of a bucket as exposures, and buckets as places for products."""

import pytest
from support.s3 import GoBetween, Harm, moto_server, plain_s3, use_endpoint

from calbatch.cluster.errors import RequestError
from calbatch.cluster.planning.inputs import (
    find_exposures,
    refuse_name_clashes,
    require_writable_place,
    total_bytes,
)

# from botocore, on some versions of Python
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RAW = "*_uncal.fits"
NAMES = (
    *("b10_uncal.fits", "b9_uncal.fits", "b9_rate.fits", "._b9_uncal.fits", "sub/c1_uncal.fits"),
    "sub/.calbatch/d1_uncal.fits",
)


@pytest.fixture(scope="module")
def server():
    with moto_server() as endpoint:
        files = plain_s3(endpoint)
        files.mkdir("bucket")
        for name in NAMES:
            files.pipe_file(f"bucket/raw/{name}", b"abc")
        yield endpoint


@pytest.fixture(autouse=True)
def between(server, monkeypatch):
    made = GoBetween(server)
    with made.serving() as endpoint:
        use_endpoint(monkeypatch, endpoint)
        yield made


@pytest.mark.parametrize("folder", ["s3://bucket/raw", "s3://bucket/raw/"])
def test_a_folder_means_its_raw_exposures_in_natural_order(folder):
    found = [str(url) for url in find_exposures([folder], RAW)]
    assert found == [f"s3://bucket/raw/{name}" for name in ("b9_uncal.fits", "b10_uncal.fits")]


def test_subfolders_are_suggested_and_read_on_request():
    found = find_exposures(["s3://bucket/raw"], RAW, recursive=True)
    assert [url.name for url in found] == ["b9_uncal.fits", "b10_uncal.fits", "c1_uncal.fits"]
    with pytest.raises(RequestError) as caught:
        find_exposures(["s3://bucket/"], RAW)
    assert str(caught.value) == (
        "no exposures: s3://bucket/ has no objects *_uncal.fits, but its subfolders do: "
        "use --recursive to include them"
    )


def test_globs_objects_and_files_can_be_mixed(tmp_path):
    (tmp_path / "a_uncal.fits").write_bytes(b"abc")
    requested = [
        str(tmp_path), "s3://bucket/raw/b9_rate.fits", "s3://bucket/raw/b*_uncal.fits",
        "s3://bucket/*/b?_uncal.fits", "s3://bucket/raw/**/c*.fits",
    ]  # fmt: skip
    found = find_exposures(requested, RAW)
    names = ["a_uncal.fits", "b9_rate.fits", "b9_uncal.fits", "b10_uncal.fits", "c1_uncal.fits"]
    assert [place.name for place in found] == names
    assert total_bytes(found) == 3 * len(names)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("s3://bucket/x*.fits", "nothing matches s3://bucket/x*.fits"),
        ("s3://bucket/raw/x.fits", "s3://bucket/raw/x.fits: there is no such object"),
        ("s3://bucket", "s3://bucket has no objects *_uncal.fits"),
        ("s3://nowhere/raw/", "s3://nowhere/raw/: there is no such object"),
        ("s3://me:pass@bucket/raw/", "s3://***@bucket/raw/: must not have a password in it"),
    ],
)
def test_a_request_without_exposures_is_refused(request_, message):
    with pytest.raises(RequestError) as caught:
        find_exposures([request_], RAW)
    assert str(caught.value).startswith(f"no exposures: {message}")
    assert "pass@" not in str(caught.value)


def test_a_failing_server_is_reported(between):
    between.harms = [Harm("refuse", "HEAD"), Harm("refuse", "GET")]
    with pytest.raises(RequestError, match=r"no exposures: s3://bucket/raw/: .* failed: "):
        find_exposures(["s3://bucket/raw/"], RAW)


def test_inputs_with_clashing_names_are_refused(tmp_path):
    (tmp_path / "b9_uncal.fits").write_bytes(b"abc")
    paths = find_exposures([str(tmp_path), "s3://bucket/raw/b9_uncal.fits"], RAW)
    with pytest.raises(RequestError, match=r"s3://bucket/raw/b9_uncal\.fits would both be"):
        refuse_name_clashes(paths)


def test_many_sizes_take_few_requests(between, server):
    files = plain_s3(server)
    for number in range(30):
        files.pipe_file(f"bucket/many/{number}_uncal.fits", b"x" * number)
    found = find_exposures(["s3://bucket/many/"], RAW)
    gone = found[0].with_name("gone_uncal.fits")
    between.requests.clear()
    assert total_bytes([*found, gone]) == sum(range(30))
    assert len(between.requests) == 1
    assert total_bytes([gone, found[5]]) == 5


def test_the_place_for_products_is_tested_by_writing(server):
    before = plain_s3(server).find("bucket")
    assert str(require_writable_place("s3://bucket/out")) == "s3://bucket/out"
    assert plain_s3(server).find("bucket") == before


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("s3://nowhere/out", "there is no such bucket"),
        ("https://127.0.0.1:9/out", "cannot be written: https is read-only"),
        ("s3://me:pass@bucket/out", "must not have a password"),
    ],
)
def test_an_unwritable_place_is_refused(folder, message):
    with pytest.raises(RequestError, match=f"cannot write to .*{message}") as caught:
        require_writable_place(folder)
    assert "pass@" not in str(caught.value)


def test_a_place_without_permission_is_refused(between):
    between.harms = [Harm("forbid", "PUT")]
    with pytest.raises(RequestError, match=r"s3://bucket/out: writing is not permitted"):
        require_writable_place("s3://bucket/out")


def test_a_place_may_be_a_folder(tmp_path):
    assert require_writable_place(tmp_path / "out") == tmp_path / "out"
