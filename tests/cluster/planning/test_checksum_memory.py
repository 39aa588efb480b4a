"""Checksums of references that are remembered from one batch to the next."""

import hashlib
import json
import os

import pytest
from support.waiting import eventually

from calbatch.cluster.planning import checksum_memory
from calbatch.cluster.planning.checksum_memory import ChecksumMemory, FileState
from calbatch.cluster.planning.identity import ReferenceChecksums

BEFORE = b"before"
AFTER = b"after!"  # of the same size


def sha1(content):
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Let files that the test has just written count as old."""
    monkeypatch.setattr(checksum_memory, "_SETTLED", -(10**9))


@pytest.fixture
def reference(tmp_path):
    path = tmp_path / "gain.fits"
    path.write_bytes(BEFORE)
    return path


@pytest.fixture
def memory(tmp_path):
    return ChecksumMemory(tmp_path / "state" / "checksums")


def run_batch(memory, path):
    """Return a file's checksum and the new records, as a batch with an empty ledger makes them."""
    recorded = []
    sums = ReferenceChecksums(lambda *_: None, lambda *row: recorded.append(row), memory)
    try:
        return sums.wait_for({"gain": str(path)}).body["gain"][1], recorded
    finally:
        sums.close()


def again(memory):
    """Return the memory as another process finds it."""
    return ChecksumMemory(memory.file.parent)


def test_another_batch_does_not_read_the_file(memory, reference, monkeypatch):
    first = run_batch(memory, reference)
    monkeypatch.setattr(hashlib, "file_digest", None)  # any use of it would fail
    assert run_batch(again(memory), reference) == first
    assert first[0] == sha1(BEFORE)
    assert [row[3] for row in first[1]] == [sha1(BEFORE)]


def rewrite(path):
    path.write_bytes(AFTER)


def rewrite_with_old_time(path):
    status = path.stat()
    path.write_bytes(AFTER)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace(path):
    status = path.stat()
    new = path.with_suffix(".new")
    new.write_bytes(AFTER)
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.replace(path)


@pytest.mark.parametrize("change", [rewrite, rewrite_with_old_time, replace])
def test_a_changed_file_is_read_again(memory, reference, change, tmp_path):
    run_batch(memory, reference)
    probe = tmp_path / "probe"

    def has_time_advanced():  # the times of files advance in steps
        probe.write_bytes(b"")
        return probe.stat().st_ctime_ns > reference.stat().st_ctime_ns

    eventually(has_time_advanced)
    change(reference)
    assert run_batch(again(memory), reference)[0] == sha1(AFTER)
    assert run_batch(again(memory), reference)[0] == sha1(AFTER)


def test_a_file_that_has_just_changed_is_not_remembered(memory, reference, monkeypatch):
    monkeypatch.setattr(checksum_memory, "_SETTLED", 10**12)
    run_batch(memory, reference)
    assert not memory.file.exists()


def test_a_file_that_settles_while_it_is_read_is_not_remembered(memory, reference, monkeypatch):
    monkeypatch.setattr(checksum_memory, "_SETTLED", 10**12)
    digest = hashlib.file_digest

    def digest_slowly(*arguments):
        monkeypatch.setattr(checksum_memory, "_SETTLED", -(10**9))
        return digest(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", digest_slowly)
    run_batch(memory, reference)
    assert not memory.file.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: text.replace(sha1(BEFORE), sha1(AFTER)),
        lambda text: text.replace("sums", "SUMS"),
        lambda text: "[" * 100_000,
        lambda text: "5",
        lambda text: json.dumps({"digest": checksum_memory._digest([]), "sums": []}),
        lambda text: "\xff\xfe",
    ],
)
def test_a_damaged_memory_is_ignored_and_replaced(memory, reference, damage):
    run_batch(memory, reference)
    intact = memory.file.read_text()
    memory.file.write_text(damage(intact), encoding="latin-1")
    assert run_batch(again(memory), reference)[0] == sha1(BEFORE)
    assert memory.file.read_text() == intact


def test_a_memory_that_others_may_have_written_is_not_used(memory, reference):
    run_batch(memory, reference)
    memory.file.parent.chmod(0o777)
    status = FileState.of(reference.stat())
    assert again(memory).find(str(reference), status) is None
    memory.file.parent.chmod(0o700)
    assert again(memory).find(str(reference), status) == sha1(BEFORE)


def test_a_memory_that_cannot_be_written_is_no_error(tmp_path, reference):
    (tmp_path / "file").write_bytes(b"")
    assert run_batch(ChecksumMemory(tmp_path / "file"), reference)[0] == sha1(BEFORE)


def test_the_file_is_private(memory, reference):
    run_batch(memory, reference)
    assert memory.file.stat().st_mode & 0o777 == 0o600
    assert memory.file.parent.stat().st_mode & 0o777 == 0o700


def test_the_checksums_used_last_are_kept(memory, tmp_path, monkeypatch):
    monkeypatch.setattr(checksum_memory, "MAX_FILES", 2)
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode())
    for path in (*paths[:2], paths[0], paths[2]):
        run_batch(again(memory), path)
    kept = json.loads(memory.file.read_text())["sums"]
    assert set(kept) == {str(paths[0]), str(paths[2])}


def test_the_file_is_left_alone_if_nothing_is_new(memory, reference):
    run_batch(memory, reference)
    later = again(memory)
    assert later.find(str(reference), FileState.of(reference.stat())) == sha1(BEFORE)
    memory.file.write_text("of another process")
    later.save()
    assert memory.file.read_text() == "of another process"
