"""Files are fetched once, completely or not at all, despite faults of servers and disks."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest
from support.crds_server import CrdsServer, make_cache
from support.waiting import eventually

from calbatch.crds_client.cache.layout import Cache
from calbatch.crds_client.errors import DownloadError, ReadOnlyCache, ServerError, UnsafeName
from calbatch.crds_client.fetching import Fetcher, FetchReport
from calbatch.crds_client.server.protocol import Patience, Server

QUICK = Patience(timeout=0.5, attempts=4, delay=0.01)
NAME = "jwst_miri_flat_0000.fits"


@pytest.fixture
def serving(tmp_path):
    with CrdsServer(make_cache(tmp_path / "served")) as made:
        yield made


@pytest.fixture
def fetcher(serving, cache):
    return Fetcher(cache, Server(serving.url, patience=QUICK), patience=QUICK)


def assert_only_good_files(cache, serving):
    """Compare all files under final names with the served ones, bit by bit."""
    for path in (*cache.mappings.rglob("*"), *cache.references.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            assert path.read_bytes() == serving.files[path.name].read_bytes()


def test_all_files_are_fetched_once(serving, cache, fetcher):
    events = []
    report = fetcher.fetch(serving.files, lambda *event: events.append(event))
    report.check()
    assert set(report.fetched) == set(report.paths) == set(serving.files)
    assert cache.locate(NAME) == cache.references / "miri" / NAME
    assert_only_good_files(cache, serving)
    assert not list(cache.root.rglob("*.part"))
    assert {name for name, received, size in events if received == size} == set(serving.files)
    again = fetcher.fetch(serving.files)
    assert (again.fetched, set(again.paths)) == ({}, set(serving.files))
    assert set(serving.asked.values()) == {1}


def test_files_are_fetched_in_parallel(serving, cache):
    serving.meet(8)  # sequential requests would never be answered
    Fetcher(cache, Server(serving.url), workers=8).fetch(serving.files).check()
    assert serving.meeting is None


def test_a_truncated_download_is_continued(serving, cache, fetcher):
    serving.faults[NAME] = ["cut", "cut"]
    fetcher.fetch([NAME]).check()
    asked = [what for what, name in serving.requests if name == NAME]
    half = serving.files[NAME].stat().st_size // 2
    assert asked[0] == "whole"
    assert asked[1] == f"bytes={half}-"
    assert len(asked) == 3
    assert_only_good_files(cache, serving)


def test_without_ranges_the_whole_file_is_fetched_again(serving, cache, fetcher):
    serving.ranges = False
    serving.faults[NAME] = ["cut"]
    fetcher.fetch([NAME]).check()
    assert_only_good_files(cache, serving)


@pytest.mark.parametrize("fault", ["wrong", "500", "stall", "slow", "long"])
def test_transient_faults_are_retried(serving, cache, fetcher, fault):
    serving.faults[NAME] = [fault, fault]
    fetcher.fetch([NAME]).check()
    assert_only_good_files(cache, serving)


@pytest.mark.parametrize("fault", ["wrong", "cut", "500", "gone", "long"])
def test_a_file_that_stays_damaged_never_gets_its_name(serving, cache, fetcher, fault):
    serving.faults[NAME] = [fault] * 100
    report = fetcher.fetch(serving.files)
    assert set(report.failed) == {NAME}
    assert set(report.paths) == set(serving.files) - {NAME}
    assert cache.find(NAME) is None
    assert_only_good_files(cache, serving)
    with pytest.raises(DownloadError, match=f"1 file could not be fetched: {NAME}: "):
        report.check()


def test_a_reason_that_all_files_share_is_told_once():
    names = [f"{letter}.fits" for letter in "gfedcba"]
    shared, own = FetchReport(failed=dict.fromkeys(names, "gone")), FetchReport()
    own.failed.update({name: f"no {name}" for name in names})
    with pytest.raises(DownloadError) as found:
        shared.check()
    listed = "a.fits, b.fits, c.fits, d.fits, e.fits and 2 more"
    assert str(found.value) == f"7 files could not be fetched: {listed}: gone"
    with pytest.raises(DownloadError, match=r": a.fits: no a.fits; .*; e.fits: .*; and 2 more$"):
        own.check()


def test_a_missing_file_is_requested_once(serving, fetcher):
    serving.faults[NAME] = ["gone"] * 100
    fetcher.fetch([NAME])
    assert serving.asked[NAME] == 1


def test_a_file_unknown_to_the_server(fetcher):
    report = fetcher.fetch(["jwst_miri_flat_9999.fits"])
    assert report.failed == {"jwst_miri_flat_9999.fits": "not known to the server"}


def test_the_partial_file_of_a_killed_process_is_continued(serving, cache, fetcher):
    content = serving.files[NAME].read_bytes()
    part = cache.new_path(NAME).with_name(f".{NAME}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(content[:1000])
    fetcher.fetch([NAME]).check()
    assert ("bytes=1000-", NAME) in serving.requests
    assert cache.locate(NAME).read_bytes() == content


def test_a_damaged_partial_file_is_discarded(serving, cache, fetcher):
    part = cache.new_path(NAME).with_name(f".{NAME}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    fetcher.fetch([NAME]).check()
    assert_only_good_files(cache, serving)


def test_a_complete_partial_file_is_not_requested_again(serving, cache, fetcher):
    """Its process died between the download and the renaming."""
    part = cache.new_path(NAME).with_name(f".{NAME}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(serving.files[NAME].read_bytes())
    fetcher.fetch([NAME]).check()
    assert NAME not in serving.asked
    assert_only_good_files(cache, serving)


def test_a_partial_file_that_is_too_long_is_fetched_from_the_start(serving, cache, fetcher):
    part = cache.new_path(NAME).with_name(f".{NAME}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(serving.files[NAME].read_bytes() + b"x")
    fetcher.fetch([NAME]).check()
    assert [what for what, name in serving.requests if name == NAME] == ["whole"]
    assert_only_good_files(cache, serving)


def test_a_file_in_the_place_of_a_folder_is_named(cache, fetcher):
    cache.references.parent.mkdir(parents=True)
    cache.references.write_bytes(b"")
    with pytest.raises(ServerError, match=str(cache.references)):
        fetcher.fetch([NAME])


def test_nothing_is_written_through_links_that_leave_the_cache(cache, fetcher, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("precious")
    part = cache.new_path(NAME).with_name(f".{NAME}.part")
    part.parent.mkdir(parents=True)
    part.symlink_to(outside / "mine")
    fetcher.fetch([NAME]).check()
    assert (outside / "mine").read_text() == "precious"
    cache.locate(NAME).unlink()
    shutil.rmtree(part.parent)
    part.parent.symlink_to(outside)
    with pytest.raises(UnsafeName, match="outside the cache"):
        fetcher.fetch([NAME])
    assert [path.name for path in outside.iterdir()] == ["mine"]


def test_fetching_anew_replaces_a_file_only_by_a_verified_one(serving, cache, fetcher):
    fetcher.fetch([NAME]).check()
    cache.locate(NAME).write_bytes(b"spoilt")
    serving.faults[NAME] = ["gone"]
    assert set(fetcher.fetch([NAME], anew=True).failed) == {NAME}
    assert cache.locate(NAME).read_bytes() == b"spoilt"
    fetcher.fetch([NAME], anew=True).check()
    assert_only_good_files(cache, serving)


def test_a_read_only_cache_names_the_missing_files(fetcher, monkeypatch):
    monkeypatch.setenv("CRDS_READONLY_CACHE", "1")
    with pytest.raises(ReadOnlyCache, match=f"lacks {NAME}; .*CALBATCH_CRDS_OVERLAY"):
        fetcher.fetch([NAME])


def test_an_overlay_is_written_before_a_read_only_cache(serving, tmp_path, monkeypatch):
    monkeypatch.setenv("CRDS_READONLY_CACHE", "1")
    shared = make_cache(tmp_path / "shared", references=1)
    before = {path: path.stat().st_mtime_ns for path in shared.root.rglob("*")}
    (tmp_path / "mine").mkdir()
    mine = Cache(tmp_path / "mine", behind=Cache(shared.root))
    Fetcher(mine, Server(serving.url, patience=QUICK)).fetch(serving.files).check()
    assert mine.locate(NAME).is_relative_to(shared.root)
    assert mine.locate("jwst_miri_flat_0005.fits").is_relative_to(mine.root)
    assert {path: path.stat().st_mtime_ns for path in shared.root.rglob("*")} == before


FETCH_ALL = textwrap.dedent(
    """
    import resource, signal, sys
    from calbatch.crds_client.cache.layout import Cache
    from calbatch.crds_client.fetching import Fetcher
    from calbatch.crds_client.server.protocol import Patience, Server
    root, url, limit, *names = sys.argv[1:]
    if int(limit):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    patience = Patience(timeout=5, attempts=4, delay=0.05)
    print("ready", flush=True)
    sys.stdin.readline()
    report = Fetcher(Cache(root), Server(url, patience=patience), patience=patience).fetch(names)
    print(sorted(report.failed.items()))
    sys.exit(bool(report.failed))
    """
)


def start_fetching(cache, serving, names, limit=0):
    """Start a process that waits for a line of input, then fetches."""
    arguments = [sys.executable, "-c", FETCH_ALL, str(cache.root), serving.url, str(limit), *names]
    return subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def let_go(processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


@pytest.fixture
def serving_50(tmp_path):
    with CrdsServer(make_cache(tmp_path / "served", references=50, size=20_000)) as made:
        yield made


def references(serving):
    return sorted(name for name in serving.files if name.endswith(".fits"))


def test_eight_processes_request_each_file_once(serving_50, cache):
    names = references(serving_50)
    processes = [start_fetching(cache, serving_50, names) for _ in range(8)]
    let_go(processes)
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
    assert {serving_50.asked[name] for name in names} == {1}
    assert_only_good_files(cache, serving_50)
    assert all(cache.find(name) for name in names)


def test_killed_processes_leave_no_damaged_files(serving_50, cache):
    serving_50.pause = 0.005
    names, rng = references(serving_50), random.Random(3)
    processes = [start_fetching(cache, serving_50, names) for _ in range(8)]
    let_go(processes)
    asked = 0
    for process in processes[:5]:
        asked += rng.randrange(1, 8)
        eventually(lambda: serving_50.asked.total() >= asked, every=0.001)  # noqa: B023
        process.send_signal(signal.SIGKILL)
        assert_only_good_files(cache, serving_50)
    for process in processes[5:]:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
    for process in processes[:5]:
        process.communicate()
    assert_only_good_files(cache, serving_50)
    assert all(cache.find(name) for name in names)


def test_a_full_disk_is_reported_and_leaves_no_files(serving, cache):
    process = start_fetching(cache, serving, references(serving), limit=30_000)
    let_go([process])
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert os.strerror(27) in out  # EFBIG: the limit stands in for a full disk
    assert not list(cache.root.rglob("*.part"))
    assert not list(cache.references.rglob("jwst_*"))


FILL_AND_FETCH = textwrap.dedent(
    """
    import json, sys
    from pathlib import Path
    from calbatch.crds_client.cache.layout import Cache
    from calbatch.crds_client.fetching import Fetcher, file_sha1
    from calbatch.crds_client.server.protocol import Patience, Server
    root, url, *names = sys.argv[1:]
    patience = Patience(timeout=5, attempts=2, delay=0.05)
    junk = Path(root, "junk")

    def fill(*_):
        # another process writes during the download
        with junk.open("ab", buffering=0) as out:
            try:
                while out.write(bytes(4096)):
                    pass
            except OSError:
                pass

    fetcher = Fetcher(Cache(root), Server(url, patience=patience), patience=patience, workers=2)
    for reason in fetcher.fetch(names, fill).failed.values():
        print(reason)
    def sums():
        there = (path for path in Path(root).rglob("*.fits*") if path.suffix != ".lock")
        return {path.name: file_sha1(path) for path in there}

    print(json.dumps(sums()))
    junk.unlink()
    fetcher.fetch(names).check()
    print(json.dumps(sums()))
    """
)


def test_a_disk_that_fills_up_during_the_download(serving, tmp_path):
    serving.pause = 0.01
    names, disk = references(serving), tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=600k tmpfs {disk} && exec "$@"'
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    try:
        subprocess.run([*private, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be made here: {error}")
    command = [*private, sys.executable, "-c", FILL_AND_FETCH, str(disk), serving.url, *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    *reasons, left, again = done.stdout.splitlines()
    assert reasons
    assert all(reason.endswith(os.strerror(28)) for reason in reasons)
    good = {name: hashlib.sha1(serving.files[name].read_bytes()).hexdigest() for name in names}
    assert json.loads(left).items() <= good.items()  # only complete files have final names
    assert len(json.loads(left)) + len(reasons) == len(names)
    assert json.loads(again) == good


def test_insufficient_space_is_reported_beforehand(serving, fetcher, cache):
    info = serving.rpc_get_server_info()
    catalogue = {NAME: {"size": str(10**18), "sha1sum": hashlib.sha1(b"").hexdigest()}}
    serving.answers["get_server_info"] = {**info, "download_metadata": catalogue}
    with pytest.raises(DownloadError, match=rf"{10**18} bytes have to be fetched"):
        fetcher.fetch([NAME])
    assert serving.asked[NAME] == 0


@pytest.mark.parametrize("how", ["link", "hard link", "pipe", "dangling link"])
@pytest.mark.parametrize("suffix", ["part", "lock"])
def test_links_beside_a_file_are_not_written_to(serving, cache, fetcher, tmp_path, how, suffix):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    place = cache.new_path(NAME).with_name(f".{NAME}.{suffix}")
    place.parent.mkdir(parents=True)
    if how == "hard link":
        place.hardlink_to(victim)
    elif how == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(victim if how == "link" else tmp_path / "made")
    report = fetcher.fetch([NAME])
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "made").exists()
    if suffix == "part":
        assert report.failed == {}
    assert_only_good_files(cache, serving)
