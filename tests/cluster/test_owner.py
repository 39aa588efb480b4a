"""Owner files."""

import json
import os
import stat
import subprocess
import sys

import psutil
import pytest

from calbatch.cluster.owner import is_owner_dead, is_running, write_owner


@pytest.fixture
def process():
    """Start a process that waits."""
    started = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    yield started
    started.kill()
    started.communicate()


def test_a_file_names_this_process_by_default(tmp_path):
    write_owner(tmp_path / "owner")
    assert json.loads((tmp_path / "owner").read_text())["pid"] == os.getpid()
    assert stat.S_IMODE((tmp_path / "owner").stat().st_mode) == 0o600
    assert not is_owner_dead(tmp_path / "owner")


def test_an_owner_is_dead_once_its_process_has_ended(tmp_path, process):
    write_owner(tmp_path / "owner", process.pid)
    assert not is_owner_dead(tmp_path / "owner")
    process.kill()
    process.wait()
    assert is_owner_dead(tmp_path / "owner")


def test_the_file_of_a_process_that_has_ended_already_can_be_written(tmp_path, process):
    process.kill()
    process.wait()
    write_owner(tmp_path / "owner", process.pid)
    assert is_owner_dead(tmp_path / "owner")


def test_owners_on_other_hosts_are_not_known_to_be_dead(tmp_path):
    owner = {"host": "elsewhere", "pid": 2**22 + 1, "created": 0.0}
    (tmp_path / "owner").write_text(json.dumps(owner))
    assert not is_owner_dead(tmp_path / "owner")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b"null", None])
def test_a_missing_or_damaged_file_proves_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / "owner").write_bytes(content)
    assert not is_owner_dead(tmp_path / "owner")


def test_a_process_is_distinguished_from_a_later_one_with_its_id():
    created = psutil.Process().create_time()
    assert is_running(os.getpid(), created)
    assert not is_running(os.getpid(), created - 100.0)


@pytest.mark.parametrize("pid", [2**22 + 1, 10**30, -1])
def test_an_impossible_process_does_not_run(pid):
    assert not is_running(pid, 0.0)
