"""Files that cannot be written or published, and their remains."""

import errno
import os
import resource
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from support.written_files import PRIMARY, finish_file, image_part, two_fields

from calbatch.models.errors import FileError, ModelError, StorageError
from calbatch.models.fits.layout import read_layout, verify_checksums
from calbatch.models.fits.readers import RowReader
from calbatch.models.fits.writer import write_fits


def test_folders_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.fits").mkdir()
    messages = {
        "absent/a.fits": "its folder does not exist",
        "file/a.fits": "its folder is not a folder",
        "folder.fits": "it is a folder",
        "x" * 300: "the name is too long",
    }
    for name, message in messages.items():
        writer, *_ = two_fields(tmp_path / name)
        with pytest.raises(FileError, match=message) as caught:
            writer.prepare()
        assert str(caught.value).startswith(f"{tmp_path / name}: cannot be written: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    writer, *_ = two_fields(tmp_path / "a.fits")
    with pytest.raises(FileError, match="no permission to write in its folder"):
        writer.prepare()


def test_a_missing_or_truncated_temporary_file_is_detected(tmp_path):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    writer.prepare()
    receipts = [writer.write_rows("data", (0, 5), data), writer.write_rows("dq", (0, 5), dq)]
    os.truncate(writer.temporary, 100)
    with pytest.raises(StorageError, match=r"a\.fits: its unfinished .*\.part was cut short"):
        writer.finish(receipts)
    writer.abort()
    for action in (lambda: writer.finish(receipts), lambda: writer.write_rows("dq", (0, 5), dq)):
        with pytest.raises(StorageError, match=r"a\.fits: its unfinished .*\.part is gone"):
            action()
    assert not list(tmp_path.iterdir())


def complete_file(path):
    """Return the writer of a complete file that has not been published."""
    writer, data, dq = two_fields(path)
    writer.prepare()
    writer.complete([writer.write_rows("data", (0, 5), data), writer.write_rows("dq", (0, 5), dq)])
    return writer


def test_a_file_is_not_published_before_it_is_complete(tmp_path):
    writer, *_ = two_fields(tmp_path / "a.fits")
    writer.prepare()
    with pytest.raises(ModelError, match=r"a\.fits: is not complete"):
        writer.publish()


def test_the_obstacle_to_publishing_a_complete_file_is_named(tmp_path):
    for name, obstacle, error, message in (
        (
            "gone",
            lambda writer: writer.temporary.unlink(),
            StorageError,
            r"its unfinished .* is gone",
        ),
        ("folder", lambda writer: writer.path.mkdir(), FileError, "it is a folder"),
    ):
        writer = complete_file(tmp_path / f"{name}.fits")
        obstacle(writer)
        with pytest.raises(error, match=rf"{name}\.fits: .*{message}"):
            writer.publish()


@contextmanager
def files_no_larger_than(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room_is_found_before_any_work(tmp_path):
    writer, *_ = two_fields(tmp_path / "a.fits")
    with files_no_larger_than(9000), pytest.raises(StorageError, match=os.strerror(errno.EFBIG)):
        writer.prepare()
    writer.abort()
    assert not list(tmp_path.iterdir())


def test_no_room_while_rows_are_written(tmp_path):
    writer, data, dq = two_fields(tmp_path / "a.fits")
    writer.prepare()
    with files_no_larger_than(9000), pytest.raises(StorageError, match=r"a\.fits: writing"):
        finish_file(writer, data, dq)
    writer.abort()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def tiny_disk(tmp_path):
    """Mount a file system of one megabyte, and yield its folder."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if made.returncode:
        pytest.skip(f"a file system may not be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_nothing(tiny_disk):
    array = np.zeros((600, 600), "f4")
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)):
        write_fits(tiny_disk / "a.fits", [PRIMARY, image_part("sci", array)], {"sci": array})
    assert not list(tiny_disk.iterdir())
    small = array[:300, :300]
    write_fits(tiny_disk / "b.fits", [PRIMARY, image_part("sci", small)], {"sci": small})
    assert verify_checksums(read_layout(tiny_disk / "b.fits")) == 2


def test_a_file_system_that_cannot_reserve_space(tmp_path, monkeypatch):
    def fail_as_unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", fail_as_unsupported)
    writer, data, dq = two_fields(tmp_path / "a.fits")
    finish_file(writer, data, dq)
    np.testing.assert_array_equal(RowReader(read_layout(writer.path).find("DQ")).whole(), dq)
