"""Files in a bucket, read by byte ranges, also from a server that fails."""

import gzip
import multiprocessing
import os
import subprocess
import sys
import traceback
import warnings

import fsspec
import numpy as np
import pytest
from astropy.io import fits
from support.s3 import SECRET, GoBetween, Harm, moto_server, plain_s3, use_endpoint

from calbatch.models import datamodels
from calbatch.models.errors import ChangedError, FileError, StorageError
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.fits.readers import RowReader
from calbatch.models.fits.tables import read_table
from calbatch.models.storage import remote_files
from calbatch.models.storage.files import read_stamp

# raised by botocore on some versions of Python
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

URL = "s3://bucket/raw/a.fits"
RAMP = np.random.default_rng(0).integers(0, 60_000, (2, 3, 512, 512), dtype="u2")
TOP, BOTTOM = 100, 164
WANTED = RAMP[..., TOP:BOTTOM, :]
PLANES = 6


@pytest.fixture(scope="module")
def server():
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def files(server):
    """Return access to a bucket that bypasses the proxy."""
    bucket = plain_s3(server)
    bucket.mkdir("bucket")
    return bucket


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("ramps") / "a.fits"
    ramp_file(path, RAMP)
    return path


@pytest.fixture
def proxy(server, files, original, monkeypatch):
    """Return a proxy between this process and the server, whose bucket holds a ramp."""
    files.put_file(str(original), "bucket/raw/a.fits")
    made = GoBetween(server)
    with made.serving() as endpoint:
        use_endpoint(monkeypatch, endpoint)
        yield made


def ramp_file(path, ramp, **cards):
    table = np.array([(1, 2.5)], [("n", "i4"), ("t", "f8")])
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(ramp, name="SCI"), fits.BinTableHDU(table, name="T")]
    hdus[0].header.update(cards)
    fits.HDUList(hdus).writeto(path, overwrite=True, checksum=True)


def reader():
    return RowReader(read_layout(URL).hdus[1])


def tile(source):
    return source.read((TOP, BOTTOM), (0, 512))


# -- reading -----------------------------------------------------------------------------------


def test_a_tile_takes_one_range_per_plane_and_no_other_bytes(proxy):
    source = reader()
    proxy.requests.clear()
    assert np.array_equal(tile(source), WANTED)
    assert sum(r.sent for r in proxy.reads) == WANTED.nbytes
    assert [r.method for r in proxy.requests] == ["GET"] * PLANES + ["HEAD"]


def test_neighbouring_planes_are_read_in_one_request(proxy):
    source = reader()
    proxy.requests.clear()
    found = source.read((10, 512), (7, 9))  # with the ten rows between planes
    assert np.array_equal(found, RAMP[..., 10:, 7:9])
    assert len(proxy.reads) == 1


def test_opening_reads_only_headers(proxy):
    model = datamodels.DataModel(URL)
    assert str(model.path) == URL
    assert len(proxy.requests) <= 5
    assert sum(r.sent for r in proxy.reads) < 100_000
    proxy.requests.clear()
    again = datamodels.DataModel(URL)
    assert again.to_flat_dict() == model.to_flat_dict()
    assert [r.method for r in proxy.requests] == ["HEAD"]


def test_large_reads_hold_few_bytes_at_a_time(proxy, monkeypatch):
    monkeypatch.setattr(remote_files, "PIECE", 100_000)
    monkeypatch.setattr(remote_files, "AT_ONCE", 200_000)
    source = reader()
    assert np.array_equal(source.whole(), RAMP)
    backwards = source.planes((slice(None, None, -1), slice(None, None, -2)))
    assert np.array_equal(tile(backwards), WANTED[::-1, ::-2])


def test_requests_of_a_tile_run_concurrently(proxy):
    """The proxy answers when all requests have arrived, so sequential ones would time out."""
    source = reader()
    tile_start = read_layout(URL).hdus[1].data_offset + TOP * 512 * 2
    proxy.meet(PLANES, lambda start: start >= tile_start)
    assert np.array_equal(tile(source), WANTED)


@pytest.mark.parametrize("kind", ["gzipped", "compressed", "scaled"])
def test_encoded_images_are_decoded(proxy, files, tmp_path, kind):
    path = tmp_path / "a.fits"
    if kind == "compressed":
        image = fits.CompImageHDU(RAMP[0].astype("i2"), name="SCI", compression_type="RICE_1")
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    elif kind == "scaled":
        image = fits.ImageHDU(RAMP[0].astype("f4"), name="SCI")
        image.scale("int16", bscale=2.0, bzero=30_000)
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    else:
        path.write_bytes(gzip.compress(gzipped_ramp(tmp_path), 1))
    files.put_file(str(path), f"bucket/{kind}.fits")
    local, remote = (
        RowReader(read_layout(place).hdus[1]) for place in (path, f"s3://bucket/{kind}.fits")
    )
    assert tile(remote).tobytes() == tile(local).tobytes()


def gzipped_ramp(folder):
    ramp_file(folder / "plain.fits", RAMP)
    return (folder / "plain.fits").read_bytes()


def test_tables_and_checksums(proxy, original):
    layout = read_layout(URL)
    assert read_table(layout.find("T")).tolist() == [(1, 2.5)]
    assert verify_checksums(layout) == 3
    assert layout.digest == read_layout(original).digest


def storage_time(files):
    """Return the second in which the ramp was stored, by the server's clock."""
    return int(files.info("bucket/raw/a.fits")["LastModified"].timestamp())


def test_stamps_distinguish_versions(proxy, files, tmp_path, original):
    first = read_stamp(URL)
    assert (first.path, first.size) == (URL, original.stat().st_size)
    assert first.mtime_ns // 10**9 == storage_time(files)
    assert read_stamp(URL) == first
    ramp_file(tmp_path / "a.fits", RAMP + 1)
    files.put_file(str(tmp_path / "a.fits"), "bucket/raw/a.fits")
    second = read_stamp(URL)
    assert second.size == first.size
    assert second.version != first.version
    assert second.mtime_ns != first.mtime_ns  # even within a second


def test_a_web_server_is_read_by_ranges(proxy, files):
    files.chmod("bucket/raw/a.fits", "public-read")
    layout = read_layout(f"{os.environ['AWS_ENDPOINT_URL']}/bucket/raw/a.fits")
    assert layout.mtime_ns // 10**9 == storage_time(files)
    source = RowReader(layout.hdus[1])
    proxy.requests.clear()
    assert np.array_equal(tile(source), WANTED)
    assert sum(r.sent for r in proxy.reads) == WANTED.nbytes


def test_a_forked_process_can_read(proxy):
    """It must not use the connections and threads of its parent."""
    source = reader()
    expected = tile(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about threads, which this test needs
        forked = multiprocessing.get_context("fork").Pool(1)
    with forked as pool:
        assert np.array_equal(pool.apply_async(tile, (source,)).get(30), expected)


# -- failures ----------------------------------------------------------------------------------


def test_a_stalled_answer_ends_within_the_limit(proxy, monkeypatch):
    source = reader()
    monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", "0.6")
    proxy.harms = [Harm("stall")]  # for ever: without a limit, this test would hang
    with pytest.raises(StorageError, match=r"s3://bucket/raw/a\.fits: reading .*no answer within"):
        tile(source)
    monkeypatch.delenv("CALBATCH_REMOTE_TIMEOUT")
    proxy.harms = []
    assert np.array_equal(tile(source), WANTED)


def test_a_slow_answer_ends_within_the_limit(proxy, monkeypatch):
    """Each byte arrives in time, but all of them would take an hour."""
    source = reader().section(TOP, 4, 0, 512)
    monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", "0.3")
    proxy.harms = [Harm("drip")]
    with pytest.raises(StorageError, match="no answer within"):
        source.whole()


@pytest.mark.parametrize("kind", ["cut", "refuse"])
def test_a_failed_request_is_retried(proxy, kind):
    source = reader()
    proxy.requests.clear()
    proxy.harms = [Harm(kind, times=1)]
    assert np.array_equal(tile(source), WANTED)
    assert len(proxy.reads) == PLANES + 1


def test_a_stalled_request_is_retried(proxy, monkeypatch):
    source = reader()
    proxy.requests.clear()
    proxy.harms = [Harm("stall", times=1)]
    monkeypatch.setenv("CALBATCH_REMOTE_TIMEOUT", "2")
    assert np.array_equal(tile(source), WANTED)
    assert len(proxy.reads) > PLANES


def test_a_connection_that_is_always_cut_is_reported(proxy):
    source = reader()
    proxy.requests.clear()
    proxy.harms = [Harm("cut", ranges_from=1_000_000)]
    with pytest.raises(StorageError, match=r"s3://bucket/raw/a\.fits: reading 65536 bytes at byte"):
        tile(source)
    assert len(proxy.reads) < 3 * PLANES  # completed requests are not repeated


def test_a_server_that_is_too_busy_is_reported(proxy):
    proxy.harms = [Harm("refuse", "HEAD")]
    with pytest.raises(StorageError, match=r"a\.fits: looking it up failed: "):
        read_layout(URL)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://me:pass-word@127.0.0.1:9"])
def test_a_server_that_is_gone_is_reported(proxy, monkeypatch, endpoint):
    use_endpoint(monkeypatch, endpoint)
    with pytest.raises(StorageError, match="looking it up failed: ") as caught:
        read_stamp(URL)
    assert "pass-word" not in "".join(traceback.format_exception(caught.value))


def test_an_object_replaced_before_reading_is_rejected(proxy, files, tmp_path):
    source = reader()
    ramp_file(tmp_path / "a.fits", RAMP + 1)
    files.put_file(str(tmp_path / "a.fits"), "bucket/raw/a.fits")
    with pytest.raises(ChangedError, match=r"s3://bucket/raw/a\.fits: was replaced or changed"):
        tile(source)


@pytest.mark.parametrize("shape", [RAMP.shape, (1, 1, 64, 64)], ids=["same size", "shorter"])
def test_an_object_replaced_during_reading_is_rejected(proxy, files, tmp_path, shape):
    source = reader()
    ramp_file(tmp_path / "a.fits", np.zeros(shape, "u2"))

    def replace_once(start):
        if start > 2_000_000:
            proxy.before_get = None
            files.put_file(str(tmp_path / "a.fits"), "bucket/raw/a.fits")

    proxy.before_get = replace_once
    with pytest.raises(ChangedError):
        tile(source)


def test_an_object_removed_before_reading_is_reported(proxy, files):
    source = reader()
    files.rm_file("bucket/raw/a.fits")
    with pytest.raises(FileError, match="there is no such object") as caught:
        tile(source)
    assert not isinstance(caught.value, StorageError)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/raw/b.fits", "there is no such object"),
        ("s3://no-bucket/raw/b.fits", "there is no such object"),
        ("s3://bucket/raw", "is a folder, not an object"),
        ("s3://bucket", "is a folder, not an object"),
        ("s3://bucket/empty.fits", "is empty (0 bytes)"),
        ("s3://in^valid/a.fits", "looking it up failed, invalid request: "),
        ("nonsense://bucket/a.fits", "cannot be reached: "),
    ],
)
def test_urls_without_a_file_are_rejected(proxy, files, url, message):
    files.pipe_file("bucket/empty.fits", b"")
    with pytest.raises(FileError) as caught:
        datamodels.open(url)
    assert str(caught.value).startswith(f"{url}: {message}")
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, StorageError)


def test_a_truncated_object_is_rejected(proxy, files, original):
    files.pipe_file("bucket/raw/a.fits", original.read_bytes()[:1_000_000])
    with pytest.raises(FileError, match=r"s3://bucket/raw/a\.fits: truncated: .* bytes of data"):
        read_layout(URL)


def test_missing_credentials_are_reported(proxy, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(FileError, match="needs credentials, and none were found"):
        read_stamp(URL)


def test_rejected_credentials_are_not_repeated(proxy):
    proxy.harms = [Harm("forbid", "HEAD")]
    with pytest.raises(FileError, match="not permitted") as caught:
        read_stamp(URL)
    assert not isinstance(caught.value, StorageError)
    assert SECRET not in str(caught.value)


def test_s3fs_is_imported_only_for_urls_and_reported_if_missing():
    code = (
        "import sys; from calbatch.models import datamodels, errors\n"
        "assert not {'s3fs', 'botocore', 'aiohttp'} & set(sys.modules)\n"
        "sys.modules['s3fs'] = None\n"
        "try: datamodels.open('s3://bucket/a.fits')\n"
        "except errors.FileError as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "s3://bucket/a.fits: needs s3fs: pip install 'calbatch[s3]'\n"
