"""Temporary folders of processes: the folders of killed processes are removed."""

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from calbatch.models.temporary import (
    is_process_folder,
    make_process_folder,
    open_process_folder,
    remove_abandoned,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from calbatch.models.temporary import make_process_folder
print(make_process_folder("work", Path(sys.argv[1])), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def abandoned(tmp_path):
    """Return the folder of a process that was killed, with files in it."""
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    subprocess.run(command, stdout=subprocess.PIPE, check=False)
    [folder] = tmp_path.iterdir()
    (folder / "dask-scratch-space" / "worker-1").mkdir(parents=True)
    return folder


def test_the_folder_of_a_killed_process_is_removed(abandoned, tmp_path):
    own = make_process_folder("work", tmp_path)
    assert list(tmp_path.iterdir()) == [own]


def test_a_folder_for_a_part_of_the_work_is_removed_after_it(tmp_path):
    with suppress(KeyError), open_process_folder("work", tmp_path) as folder:
        remove_abandoned("work", tmp_path)
        assert list(tmp_path.iterdir()) == [folder]
        (folder / "a").touch()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_such_a_folder_is_recognized(tmp_path):
    assert is_process_folder(make_process_folder("work", tmp_path), "work")
    assert not is_process_folder(make_process_folder("work", tmp_path), "kernels")
    assert not is_process_folder(tmp_path, "work")


def test_an_interrupted_removal_is_completed(abandoned, tmp_path):
    (abandoned / "lock").unlink()  # a second signal may come in the middle of it
    remove_abandoned("work", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_old_folder_without_its_final_name_is_removed(abandoned, tmp_path):
    hidden = abandoned.rename(tmp_path / f".{abandoned.name}")
    (hidden / "lock").unlink()
    remove_abandoned("work", tmp_path)
    assert hidden.is_dir()
    os.utime(hidden, (0, 0))
    remove_abandoned("work", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_kept(tmp_path):
    own = make_process_folder("work", tmp_path)
    os.utime(own, (0, 0))
    remove_abandoned("work", tmp_path)
    assert own.is_dir()


def test_folders_of_another_kind_or_user_are_kept(abandoned, tmp_path):
    if os.getuid() == 0:
        os.chown(abandoned, 12345, 12345)
        remove_abandoned("work", tmp_path)
        assert abandoned.is_dir()
    remove_abandoned("sockets", tmp_path)
    assert abandoned.is_dir()
