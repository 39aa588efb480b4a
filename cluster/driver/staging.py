"""Folders in which products are made, and out of which they are renamed: the fence of a batch.

``<state>/staging/<generation>/<try>/`` is on the file system of the products. Only a driver makes
these folders: a generation when it starts, and in it one folder for each try. A worker makes its
files there, and gives them their names by a rename.

Whoever takes a folder of products up removes the generations of all earlier drivers before it does
anything else, and a driver removes a try's folder before the exposure is tried again. From then on
the rename of a worker that was left behind fails in the kernel, since neither the file nor its
folder is there, and no file can be made there any more. Nothing is checked first, so there is no
moment between a check and a rename.
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
from calbatch.models.storage.permits import Permit, Permits

NAME = "staging"
RETIRED = "retired-"

PATIENCE = 10.0
"""Seconds in which a folder must be empty, though workers may still be making files in it."""

LOOK_EVERY = 5.0
"""Seconds between looks at whether another driver has taken a place for objects over."""

HIDDEN = ".nfs"
"""How names begin that network file systems give to removed files which a process holds open."""


class Fence(Protocol):
    """What keeps a driver's workers from publishing what it has given up.

    Attributes
    ----------
    remark : str
        What is worth telling the user about it; empty for nothing.
    """

    remark: str

    def of(self, number: int, serial: int) -> Path | Permit:
        """Return what a try at an exposure needs in order to publish products."""

    def make(self, place: Path | Permit, /) -> None:
        """Make that.

        Raises
        ------
        FencedError
            When another driver has taken over.
        """

    def remove(self, place: Path | Permit, /, *, ended: bool) -> None:
        """Remove it; ``ended`` says that the try's worker has ended it and publishes no more."""

    def close(self) -> None:
        """Remove all that was made."""


def taken_over(folder: BatchFolder) -> Fence:
    """Fence off the earlier drivers of a folder of products, or of a place for objects.

    Raises
    ------
    RequestError
        When that cannot be.
    """
    if isinstance(folder.output, Url):
        return ObjectStaging(folder.output)
    return Staging(folder.state)


class Staging:
    """The folders of one driver.

    Parameters
    ----------
    state : Path
        The folder of the ledger, which this driver holds.

    Raises
    ------
    RequestError
        When what an earlier driver left cannot be removed, or no folder can be made.
    """

    def __init__(self, state: Path) -> None:
        self.remark = ""
        self._state = state
        self.folder = state / NAME / secrets.token_hex(8)
        try:
            fence(state)
        except OSError as error:
            raise RequestError(
                f"{state}: the unfinished products of an earlier batch cannot be removed from "
                f"there ({error.filename}: {error.strerror or error}), and its workers could still "
                "publish them; remove that folder, and try again"
            ) from error
        try:
            self.folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise RequestError(f"cannot make {self.folder}: {error.strerror or error}") from error

    def of(self, number: int, serial: int) -> Path:
        """Return the folder of a try at an exposure."""
        return self.folder / f"{number}-{serial}"

    def make(self, folder: Path | Permit) -> None:
        """Make the folder of a try.

        Raises
        ------
        FencedError
            When another driver has taken over.
        OSError
            When it cannot be made, such as on a disk that is full.
        """
        assert isinstance(folder, Path)
        try:
            folder.mkdir(mode=0o700)
        except FileNotFoundError as error:
            raise FencedError(
                f"{self.folder} is gone: another driver has taken over this folder of products"
            ) from error

    def remove(self, folder: Path | Permit, *, ended: bool = False) -> None:
        """Remove the folder of a try, so that nothing in it can become a product any more.

        Raises
        ------
        OSError
            When it cannot be removed.
        """
        assert isinstance(folder, Path)
        try:
            folder.rmdir()  # nothing is left in it as a rule
        except FileNotFoundError:
            return
        except OSError:
            retire(folder, self._state)

    def close(self) -> None:
        """Remove all folders of this driver."""
        with suppress(OSError):
            retire(self.folder, self._state)
        with suppress(OSError):  # another driver's are in it
            self.folder.parent.rmdir()


class ObjectStaging:
    """Permits to make objects, of one driver; see `calbatch.models.storage.permits`.

    Parameters
    ----------
    output : Url
        Where objects are made.

    Raises
    ------
    RequestError
        When the store does not let this driver take over.
    """

    def __init__(self, output: Url) -> None:
        self._permits = Permits(output, secrets.token_hex(8))
        self._looked = time.monotonic()
        try:
            self._permits.claim()
        except FileError as error:
            raise RequestError(
                f"workers of earlier batches cannot be kept from writing to {output}: {error}"
            ) from error
        self.remark = self._permits.remark

    def of(self, number: int, serial: int) -> Permit:
        """Return the permit of a try at an exposure."""
        return self._permits.permit(f"{number}-{serial}")

    def make(self, permit: Path | Permit) -> None:
        """See now and then that no other driver has taken over.

        Raises
        ------
        FencedError
            When one has.
        """
        if time.monotonic() - self._looked > LOOK_EVERY:
            self._looked = time.monotonic()
            if not self._permits.hold():
                raise FencedError(
                    f"{self._permits.marker} is gone: another driver has taken over this place"
                )

    def remove(self, permit: Path | Permit, *, ended: bool = False) -> None:
        """Take a permit back, unless its worker has ended."""
        if not ended and isinstance(permit, Permit):
            self._permits.refuse(permit)

    def close(self) -> None:
        """Take all permits back."""
        with suppress(FileError):  # the next driver does it
            self._permits.release()


def fence(state: Path) -> None:
    """Remove the staging folders of all earlier drivers.

    Raises
    ------
    OSError
        When one cannot be removed.
    """
    retire(state / NAME, state)
    for left in state.glob(f"{RETIRED}*"):  # of one that was killed while it did this
        _remove(left)


def retire(folder: Path, state: Path) -> None:
    """Take a folder out of reach at once, and remove it.

    A rename that is under way may have found the folder before it was moved. It still needs the
    file: that is why the files have to go, too, before this returns.

    Raises
    ------
    OSError
        When it cannot be removed.
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
        except FileNotFoundError:  # a worker has just renamed or removed a file
            if not os.path.lexists(folder):
                return
        except OSError:
            left = list(_files(folder))
            if left and all(path.name.startswith(HIDDEN) for path in left):
                return  # goes with the process that has it open; nobody knows it by its name
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
