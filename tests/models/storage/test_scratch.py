"""The scratch folder, and the unfinished files that dead processes leave in it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from calbatch.models.storage.scratch import clear_scratch, scratch_folder

SUFFIX = "0" * 32


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CALBATCH_SCRATCH_DIR", str(tmp_path))
    clear_scratch.cache_clear()
    yield tmp_path
    clear_scratch.cache_clear()


@pytest.fixture(scope="module")
def dead():
    """Return the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_the_default_is_the_systems_temporary_folder(monkeypatch):
    monkeypatch.delenv("CALBATCH_SCRATCH_DIR", raising=False)
    assert scratch_folder() == Path(tempfile.gettempdir()).absolute()


def test_a_relative_folder_becomes_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALBATCH_SCRATCH_DIR", "scratch")
    assert scratch_folder() == tmp_path / "scratch"


def test_files_of_dead_processes_of_this_host_are_removed(folder, dead):
    removed = folder / f".a.fits.host-{dead}-{SUFFIX}.part"
    kept = [
        f".a.fits.host-{os.getpid()}-{SUFFIX}.part",  # alive
        f".a.fits.other-{dead}-{SUFFIX}.part",  # on another host
        f".a.fits.host-{dead}-{SUFFIX[:-1]}.part",  # not made by calbatch
        f"a.fits.host-{dead}-{SUFFIX}.part",
        f".a.fits.host-{dead}-{SUFFIX}.fits",
    ]
    for name in [removed.name, *kept]:
        (folder / name).touch()
    clear_scratch("host")
    assert sorted(path.name for path in folder.iterdir()) == sorted(kept)


def test_files_of_other_users_are_kept(folder, dead, monkeypatch):
    (folder / f".a.fits.host-{dead}-{SUFFIX}.part").touch()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    clear_scratch("host")
    assert list(folder.iterdir())


def test_processes_of_other_users_are_alive(folder, monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    (folder / f".a.fits.host-1-{SUFFIX}.part").touch()
    monkeypatch.setattr(os, "kill", refuse)
    clear_scratch("host")
    assert list(folder.iterdir())
