"""Verification, repair and pruning."""

import copy
import os
import pickle
import subprocess
import sys
import textwrap

import pytest
from support.crds_server import CONTEXT, CrdsServer, make_cache

from calbatch.crds_client import Client
from calbatch.crds_client.fetching import file_lock
from calbatch.crds_client.upkeep import cached_files, config_infos, prune, usage, verify


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("CRDS_CLIENT_RETRY_DELAY_SECONDS", "0")
    (tmp_path / "cache").mkdir()
    with CrdsServer(make_cache(tmp_path / "served")) as serving:
        made = Client(tmp_path / "cache", CONTEXT, server_url=serving.url)
        made.fetch(serving.files).check()
        made.hold.release()  # of the setup
        yield made


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def infos_of(client):
    return config_infos(client.cache, [path.name for path in cached_files(client.cache)])


def test_a_good_cache_has_no_faults(client):
    assert verify(client.cache, infos_of(client)) == []
    assert usage(client.cache).files == len(list(cached_files(client.cache))) == 12


@pytest.mark.parametrize("spoil", [truncate, flip])
@pytest.mark.parametrize("name", ["jwst_miri_flat_0003.fits", "jwst_miri_flat_0001.rmap"])
def test_faults_are_found_and_repaired(client, spoil, name):
    spoil(client.cache.locate(name))
    faults = verify(client.cache, infos_of(client))
    assert [fault.name for fault in faults] == [name]
    assert "bytes" in faults[0].problem or "sha1" in faults[0].problem
    client.fetch([fault.name for fault in faults], anew=True).check()
    assert verify(client.cache, infos_of(client)) == []


def test_without_checksums_rules_are_verified_by_their_own(client):
    flip(client.cache.locate("jwst_miri_flat_0001.rmap"))
    problems = {fault.name: fault.problem for fault in verify(client.cache, {})}
    assert problems["jwst_miri_flat_0001.rmap"]
    assert "jwst_miri_flat_0002.rmap" not in problems
    assert "not known" in problems["jwst_miri_flat_0003.fits"]


def test_only_the_requested_files_are_verified(client):
    for number in (1, 3):
        truncate(client.cache.locate(f"jwst_miri_flat_000{number}.fits"))
    faults = verify(client.cache, infos_of(client), names={"jwst_miri_flat_0003.fits"})
    assert [fault.name for fault in faults] == ["jwst_miri_flat_0003.fits"]


def test_pruning_removes_the_least_recently_used_and_keeps_needed_files(client):
    references = sorted(client.cache.references.rglob("*.fits"))
    for age, path in enumerate(references):  # the first is the most recently used
        os.utime(path, (1e9 - age, 1e9 - age))
    room = usage(client.cache).bytes - 1
    removed = prune(client.cache, room, keep={references[-1].name})
    assert removed == [references[-2]]
    assert usage(client.cache).bytes <= room
    removed = prune(client.cache, 0, keep={references[-1].name})
    assert [path for path in references if path.exists()] == [references[-1]]
    assert len(list(client.cache.mappings.glob("*map"))) == 6


def test_fetching_keeps_to_the_limit_on_size(client):
    held_before = usage(client.cache).bytes
    name = "jwst_miri_flat_0003.fits"
    client.cache.locate(name).unlink()
    client.max_bytes = held_before - 60_000  # room for all but two
    client.fetch([name]).check()
    assert client.cache.find(name)
    assert usage(client.cache).bytes <= client.max_bytes


def test_a_file_that_is_being_fetched_is_not_pruned(client):
    with file_lock(client.cache, "jwst_miri_flat_0003.fits", waiting=True):
        prune(client.cache, 0)
    left = [path.name for path in client.cache.references.rglob("*.fits")]
    assert left == ["jwst_miri_flat_0003.fits"]


NEEDS = textwrap.dedent(
    """
    import sys
    from calbatch.crds_client import Client
    root, context, url, *names = sys.argv[1:]
    client = Client(root, context, server_url=url)
    assert not client.fetch(names).failed
    print("ready", flush=True)
    sys.stdin.read()
    """
)


def start_needing(client, *names):
    """Start a process that has requested cached files and runs until it is terminated."""
    process = subprocess.Popen(
        [sys.executable, "-c", NEEDS, client.cache.root, client.context, client.server_url, *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def names_left(client):
    return {path.name for path in client.cache.references.rglob("*.fits")}


def test_files_of_a_running_process_are_not_pruned(client):
    first = start_needing(client, "jwst_miri_flat_0001.fits", "jwst_miri_flat_0002.fits")
    second = start_needing(client, "jwst_miri_flat_0002.fits", "jwst_miri_flat_0003.fits")
    client.fetch(["jwst_miri_flat_0004.fits"]).check()
    needed = {f"jwst_miri_flat_000{number}.fits" for number in (1, 2, 3, 4)}
    prune(client.cache, 0)
    assert names_left(client) == needed
    first.kill()
    first.communicate()
    prune(client.cache, 0, own=client.hold.id)
    assert names_left(client) == {"jwst_miri_flat_0002.fits", "jwst_miri_flat_0003.fits"}
    second.communicate("")
    prune(client.cache, 0)
    assert names_left(client) == set()
    records = [path.suffix for path in (client.cache.config / ".in-use").iterdir()]
    assert sorted(records) == ["", ".lock", ".names"]  # of this process


def test_a_copy_of_a_client_holds_no_files(client):
    name = "jwst_miri_flat_0001.fits"
    client.fetch([name]).check()
    for other in (copy.deepcopy(client.hold), pickle.loads(pickle.dumps(client.hold))):
        other.add(["jwst_miri_flat_0002.fits"])
        prune(client.cache, 0)
        assert names_left(client) == {name, "jwst_miri_flat_0002.fits"}
        other.release()
    prune(client.cache, 0)
    assert names_left(client) == {name}


def test_nothing_is_recorded_in_a_cache_that_is_only_read(client, monkeypatch):
    before = sorted(client.cache.root.rglob("*"))
    name = "jwst_miri_flat_0001.fits"
    Client(client.cache.root, client.context, mode="local").fetch([name]).check()
    Client(client.cache.root, client.context).fetch([name]).check()
    monkeypatch.setenv("CRDS_READONLY_CACHE", "1")
    online = Client(client.cache.root, client.context, server_url=client.server_url)
    online.fetch([name]).check()
    assert sorted(client.cache.root.rglob("*")) == before
