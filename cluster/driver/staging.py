"""Staging folders, in which products are written and out of which they are published.

``<state>/staging/<generation>/<attempt>/`` is on the file system of the products. Only drivers make
these folders: one generation per driver, and in it one folder per attempt. A worker writes its
files there and publishes them by renaming them.

A driver that takes over an output folder first removes the generations of all earlier drivers.
Likewise, it removes an attempt's folder before the exposure is retried. From then on, a rename by
an orphaned worker fails in the kernel, because neither the file nor its folder exists, and no file
can be created there. There is no check before the rename, so there is no race between the two.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from calbatch.cluster.errors import FencedError, RequestError
from calbatch.cluster.folder import BatchFolder
from calbatch.models.errors import FileError
from calbatch.models.storage.location import Url
from calbatch.models.storage.upload_permits import Permit, Permits

NAME = "staging"
RETIRED = "retired-"

PATIENCE = 10.0
"""Seconds to retry the removal of a folder in which workers may still be creating files."""

LOOK_EVERY = 5.0
"""Seconds between checks of whether another driver has taken over an object store."""

HIDDEN = ".nfs"
"""Prefix of the names that NFS gives to removed files that a process still holds open."""


class Fence(Protocol):
    """Keeps abandoned attempts from publishing products.

    Attributes
    ----------
    remark : str
        A limitation that the user should know about; empty if there is none.
    """

    remark: str

    def place_for(self, number: int, serial: int) -> Path | Permit:
        """Return the staging folder or permit of an attempt, without making it."""

    def make(self, place: Path | Permit, /) -> None:
        """Make a staging folder or permit.

        Raises
        ------
        FencedError
            If another driver has taken over.
        """

    def remove(self, place: Path | Permit, /, *, ended: bool) -> None:
        """Remove a staging folder or permit.

        With ``ended``, the worker has finished the attempt and publishes nothing more.
        """

    def close(self) -> None:
        """Remove all staging folders or permits of this driver."""


def take_over(folder: BatchFolder) -> Fence:
    """Fence off earlier drivers of an output folder or object store, and return a new fence.

    Raises
    ------
    RequestError
        If earlier drivers cannot be fenced off.
    """
    if isinstance(folder.output, Url):
        return ObjectStaging(folder.output)
    return Staging(folder.state)


class Staging:
    """The staging folders of one driver.

    Parameters
    ----------
    state : Path
        The folder of the ledger, which this driver has locked.

    Raises
    ------
    RequestError
        If an earlier driver's folders cannot be removed, or none can be made.
    """

    def __init__(self, state: Path) -> None:
        self.remark = ""
        self._state = state
        self.folder = state / NAME / secrets.token_hex(8)
        try:
            fence_earlier_drivers(state)
        except OSError as error:
            raise RequestError(
                f"{state}: cannot remove the unfinished products of an earlier batch "
                f"({error.filename}: {error.strerror or error}), which its workers could still "
                "publish; remove that folder and try again"
            ) from error
        try:
            self.folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise RequestError(f"cannot make {self.folder}: {error.strerror or error}") from error

    def place_for(self, number: int, serial: int) -> Path:
        """Return the staging folder of an attempt."""
        return self.folder / f"{number}-{serial}"

    def make(self, folder: Path | Permit) -> None:
        """Make the staging folder of an attempt.

        Raises
        ------
        FencedError
            If another driver has taken over.
        OSError
            If it cannot be made, for instance because the disk is full.
        """
        assert isinstance(folder, Path)
        try:
            folder.mkdir(mode=0o700)
        except FileNotFoundError as error:
            raise FencedError(
                f"{self.folder} is gone: another driver has taken over the output folder"
            ) from error

    def remove(self, folder: Path | Permit, *, ended: bool = False) -> None:
        """Remove the staging folder of an attempt, so that nothing in it can be published.

        Raises
        ------
        OSError
            If it cannot be removed.
        """
        assert isinstance(folder, Path)
        try:
            folder.rmdir()  # usually empty
        except FileNotFoundError:
            return
        except OSError:
            retire_folder(folder, self._state)

    def close(self) -> None:
        """Remove all folders of this driver."""
        with suppress(OSError):
            retire_folder(self.folder, self._state)
        with suppress(OSError):  # not empty if another driver has taken over
            self.folder.parent.rmdir()


class ObjectStaging:
    """The upload permits of one driver; see `calbatch.models.storage.upload_permits`.

    Parameters
    ----------
    output : Url
        The destination of the products.

    Raises
    ------
    RequestError
        If the object store does not let this driver take over.
    """

    def __init__(self, output: Url) -> None:
        self._permits = Permits(output, secrets.token_hex(8))
        self._looked = time.monotonic()
        try:
            self._permits.claim()
        except FileError as error:
            raise RequestError(
                f"cannot keep workers of earlier batches from writing to {output}: {error}"
            ) from error
        self.remark = self._permits.remark

    def place_for(self, number: int, serial: int) -> Permit:
        """Return the permit of an attempt."""
        return self._permits.issue(f"{number}-{serial}")

    def make(self, permit: Path | Permit) -> None:
        """Check from time to time that no other driver has taken over.

        Raises
        ------
        FencedError
            If another driver has taken over.
        """
        if time.monotonic() - self._looked > LOOK_EVERY:
            self._looked = time.monotonic()
            if not self._permits.is_held():
                raise FencedError(
                    f"{self._permits.marker} is gone: another driver has taken over the output"
                )

    def remove(self, permit: Path | Permit, *, ended: bool = False) -> None:
        """Withdraw a permit, unless its worker has ended the attempt."""
        if not ended and isinstance(permit, Permit):
            self._permits.revoke(permit)

    def close(self) -> None:
        """Withdraw all permits."""
        with suppress(FileError):  # the next driver withdraws them
            self._permits.release()


def fence_earlier_drivers(state: Path) -> None:
    """Remove the staging folders of all earlier drivers.

    Raises
    ------
    OSError
        If one cannot be removed.
    """
    retire_folder(state / NAME, state)
    for leftover in state.glob(
        f"{RETIRED}*"
    ):  # left by a driver that was killed while retiring them
        _remove(leftover)


def retire_folder(folder: Path, state: Path) -> None:
    """Rename a folder so that workers can no longer reach it, then remove it.

    A concurrent rename by a worker may have resolved the folder before it was moved. It still needs
    the file, so the files are removed before this returns.

    Raises
    ------
    OSError
        If it cannot be removed.
    """
    away = state / f"{RETIRED}{secrets.token_hex(8)}"
    try:
        folder.rename(away)
    except FileNotFoundError:
        return
    _remove(away)


def _remove(folder: Path) -> None:
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            _remove_once(folder)
        except FileNotFoundError:  # a worker has just renamed or removed a file in it
            if not os.path.lexists(folder):
                return
        except OSError:
            remaining = list(_files(folder))
            if remaining and all(path.name.startswith(HIDDEN) for path in remaining):
                return  # removed with the process that has it open; its name is not guessable
            if time.monotonic() > limit:
                raise
            time.sleep(0.02)
        else:
            return


def _remove_once(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
