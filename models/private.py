"""Private folders: folders that only their user can write to.

Ledgers, configurations, certificates and compiled code determine what is run, and where. Other
users of ``/tmp`` or of a shared folder must not be able to prepare or replace them. All such
folders are made, opened and emptied here.
"""

from __future__ import annotations

import errno
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calbatch.models.errors import FileError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotPrivateError(FileError):
    """A folder or file that another user could have prepared or can change."""


def make_private_folder(folder: Path, instead: str = "choose another folder") -> Path:
    """Make a folder that only this user can write to, or check an existing one.

    Parameters
    ----------
    folder : Path
        The folder. Missing parents are made private, too.
    instead : str
        Advice in the error message if the folder is refused.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    NotPrivateError
        If it is a link, belongs to another user, or is writable by other users.
    OSError
        If it cannot be made.
    """
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for each in reversed(missing):
        with suppress(FileExistsError):  # made by another process: it is checked below
            each.mkdir(0o700)
    check_private_folder(folder, instead)
    return folder


def check_private_folder(folder: Path, instead: str = "choose another folder") -> None:
    """Raise an error if a folder is not private; see `make_private_folder`."""
    with open_private_folder(folder, instead):
        pass


@contextmanager
def open_private_folder(folder: Path, instead: str = "choose another folder") -> Iterator[int]:
    """Open a private folder, and yield a descriptor for calls that take ``dir_fd``.

    Raises
    ------
    NotPrivateError, OSError
        See `make_private_folder`.
    """
    try:
        descriptor = os.open(folder, _FOLDER)
    except PermissionError:
        if folder.lstat().st_uid == os.geteuid():
            raise
        reason = f"belongs to {owner_of(folder)}, not to you, and you may not read it"
        raise NotPrivateError(folder, f"{reason}: ask for `chmod -R go+rX`, or {instead}") from None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            raise
        what = "a link" if folder.is_symlink() else "not a folder"
        reason = f"is {what}, where a folder of your own is needed: remove it, or {instead}"
        raise NotPrivateError(folder, reason) from None
    try:
        reason = _fault(descriptor)
        if reason:
            raise NotPrivateError(folder, f"{reason}, or {instead}")
        yield descriptor
    finally:
        os.close(descriptor)


def _fault(descriptor: int) -> str:
    """Return why a folder is not private, and what to do; "" if it is."""
    status = os.fstat(descriptor)
    foreign = status.st_uid != os.geteuid()
    writable = status.st_mode & _OTHERS_WRITE
    if not (foreign or writable):
        return ""
    fresh = _fresh_file(descriptor)
    # Some file systems map all owners or keep no permissions (FAT, some network mounts). There, a
    # new file looks the same, and the folder is accepted.
    if foreign and (fresh is None or fresh.st_uid != status.st_uid):
        owner = _user_name(status.st_uid)
        return f"belongs to {owner}, who may have prepared it, and not to you: remove it"
    if writable and (fresh is None or writable & ~fresh.st_mode):
        mode = stat.S_IMODE(status.st_mode)
        return (
            f"can be written by other users (mode {mode:04o}), who may have put files there: "
            "remove it; or `chmod go-w` it, if you know everything in it"
        )
    return ""


def _fresh_file(descriptor: int) -> os.stat_result | None:
    """Return the status of a new private file in a folder; None if none can be made."""
    name = f".calbatch-{secrets.token_hex(8)}"
    try:
        file = os.open(name, _NEW, 0o600, dir_fd=descriptor)
    except OSError:
        return None
    try:
        return os.fstat(file)
    finally:
        os.close(file)
        with suppress(OSError):
            os.unlink(name, dir_fd=descriptor)


def owner_of(path: Path) -> str:
    """Return the owner of a file or folder, as ``user NAME``.

    Raises
    ------
    OSError
        If the file is missing, or in a folder that cannot be searched.
    """
    return _user_name(path.lstat().st_uid)


def _user_name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create_file(path: Path, text: str = "", mode: int = 0o600) -> None:
    """Create a file exclusively, without following links.

    Raises
    ------
    OSError
        If the name exists, even as a dangling link, or the file cannot be written.
    """
    with os.fdopen(os.open(path, _NEW, mode), "w", encoding="utf-8") as file:
        file.write(text)


def write_private_text(path: Path, text: str) -> None:
    """Write a private file, replacing any file or link of its name.

    Raises
    ------
    OSError
        If it cannot be written; an existing file is then unchanged.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        create_file(part, text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
