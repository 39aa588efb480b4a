"""Private folders: made exclusively, or refused."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from calbatch.models import jit
from calbatch.models.errors import FileError
from calbatch.models.fits.decoded_copies import DecodedCopies
from calbatch.models.private import (
    NotPrivateError,
    create_file,
    make_private_folder,
    write_private_text,
)

OTHER = 12345
"""A user who is not running the tests."""


def mode_of(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def loose_umask():
    """Set a umask that removes no permissions."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def victim(tmp_path):
    """Return a folder with a file that must not be changed."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "data").write_text("precious")
    return folder


def make_link(folder, victim):
    folder.symlink_to(victim)


def make_writable_by_all(folder, victim):
    folder.mkdir()
    folder.chmod(0o777)


def make_writable_by_a_group(folder, victim):
    folder.mkdir()
    folder.chmod(0o770)


def make_file(folder, victim):
    folder.write_text("")


def give_to_another_user(folder, victim):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    folder.mkdir()
    os.chown(folder, OTHER, OTHER)


def give_to_another_user_open_to_all(folder, victim):
    give_to_another_user(folder, victim)
    folder.chmod(0o777)


PREPARED = {
    make_link: "is a link",
    make_writable_by_all: r"mode 0777\)",
    make_writable_by_a_group: r"mode 0770\)",
    make_file: "not a folder",
    give_to_another_user: f"belongs to user {OTHER}",
    give_to_another_user_open_to_all: f"belongs to user {OTHER}",
}


@pytest.fixture(params=PREPARED.items(), ids=[prepare.__name__ for prepare in PREPARED])
def prepared(request, tmp_path, victim):
    """Return a folder prepared by another user, and the reason for which it is refused."""
    prepare, reason = request.param
    folder = tmp_path / "prepared"
    prepare(folder, victim)
    yield folder, reason
    assert [path.name for path in victim.iterdir()] == ["data"]
    assert (victim / "data").read_text() == "precious"


def test_a_prepared_folder_is_refused_with_advice(prepared):
    folder, reason = prepared
    with pytest.raises(NotPrivateError, match=rf"^{folder}: .*{reason}.* or sail away$"):
        make_private_folder(folder, "sail away")
    assert folder.is_file() or list(folder.resolve().glob(".calbatch-*")) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_that_belongs_to_another_and_cannot_be_read_is_refused_with_its_owner():
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o755)
        folder = Path(base) / "theirs"
        folder.mkdir(0o700)
        os.seteuid(OTHER)
        try:
            with pytest.raises(NotPrivateError, match=r"belongs to user root.*read it: .* or sail"):
                make_private_folder(folder, "sail away")
        finally:
            os.seteuid(0)


def test_missing_folders_are_made_for_one_user_under_any_umask(tmp_path, loose_umask):
    folder = make_private_folder(tmp_path / "a" / "b")
    assert [mode_of(path) for path in (folder, folder.parent)] == [0o700, 0o700]
    assert make_private_folder(folder) == folder


def test_a_folder_that_others_may_read_is_accepted(tmp_path):
    folder = tmp_path / "read"
    folder.mkdir()
    folder.chmod(0o2755)
    assert make_private_folder(folder) == folder
    assert mode_of(folder) == 0o2755


def test_no_link_is_written_through(tmp_path, victim, loose_umask):
    link = tmp_path / "link"
    link.symlink_to(victim / "data")
    with pytest.raises(FileExistsError):
        create_file(link, "spoilt")
    write_private_text(link, "new")
    assert (link.read_text(), link.is_symlink(), mode_of(link)) == ("new", False, 0o600)
    assert (victim / "data").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "victim"]


def test_decoded_references_are_not_written_to_a_prepared_folder(prepared, tmp_path):
    folder, reason = prepared
    packed = tmp_path / "x.fits.gz"
    packed.write_bytes(b"\x1f\x8b")
    with pytest.raises(FileError, match=rf"{reason}.*CALBATCH_DECODED_DIR"):
        DecodedCopies(folder, max_bytes=0).plain_file(packed)


def test_kernels_are_not_cached_in_a_prepared_folder(prepared, monkeypatch, caplog):
    folder, _ = prepared
    base = folder.parent / "cache"
    base.mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(base))
    folder.rename(base / f"calbatch-{jit._state()}")
    made = jit.kernel_folder.__wrapped__()
    assert made.parent.parent != base.parent
    assert mode_of(made.parent) == 0o700
    assert "for this process alone" in caplog.text
    (base / made.name).rename(folder)


def test_only_old_kernels_are_removed_from_a_shared_folder(tmp_path, monkeypatch):
    others = {f"calbatch-{name}" for name in ("decoded-0", "mine", "0" * 17)}
    versions = {f"calbatch-{number:016x}" for number in range(6)}
    for age, name in enumerate(sorted(others | versions)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    new = jit.kernel_folder.__wrapped__().name
    left = {path.name for path in tmp_path.iterdir()}
    assert left >= {new} | others
    assert len(left & versions) == jit._VERSIONS_TO_KEEP - 1
