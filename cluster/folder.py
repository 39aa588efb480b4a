"""Where a batch keeps what is about it: beside its products, and a note where users find it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from calbatch.cluster.errors import RequestError
from calbatch.cluster.ledger import DamagedLedgerError, LedgerError, View
from calbatch.cluster.ledger.sqlite_errors import ensure_private_folder
from calbatch.cluster.planning.inputs import parse_place
from calbatch.models.errors import FileError
from calbatch.models.private import (
    NotPrivateError,
    check_private_folder,
    create_file,
    make_private_folder,
    owner_of,
)
from calbatch.models.storage.location import Location, Url, location
from calbatch.models.storage.scratch import scratch_folder

STATE = ".calbatch"
"""The folder, in a folder of products, of what is about its batches."""

_NAME = re.compile(r"\d{8}-\d{6}-[a-z0-9]{4}")
_OTHER_REGISTRY = "name another in CALBATCH_STATE_DIR"
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def make_batch_name() -> str:
    """Return a name for a batch: when it was made, and four letters."""
    tail = "".join(secrets.choice(_LETTERS) for _ in range(4))
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{tail}"


@dataclass(frozen=True)
class BatchFolder:
    """The files of one batch.

    Attributes
    ----------
    output : Path or Url
        Where its products go.
    name : str
        The batch's.
    """

    output: Location
    name: str

    @property
    def state(self) -> Path:
        """The folder of the ledger."""
        return state_of(self.output)

    @property
    def unfinished(self) -> Path:
        """The folder on this machine in which products are made."""
        return scratch_folder() if isinstance(self.output, Url) else self.output

    @property
    def path(self) -> Path:
        """The batch's own folder."""
        return self.state / self.name

    @property
    def config(self) -> Path:
        """The ``.cfg`` with which to repeat it."""
        return self.path / "batch.cfg"

    @property
    def manifest(self) -> Path:
        """What was done, for programs."""
        return self.path / "manifest.json"

    @property
    def control(self) -> Path:
        """By which its driver is asked to end."""
        return self.path / "control"

    @property
    def pid(self) -> Path:
        """Which process drives it."""
        return self.path / "driver.json"

    @property
    def job(self) -> Path:
        """Which job of Slurm's drives it."""
        return self.path / "job"

    @property
    def log(self) -> Path:
        """What a detached driver says."""
        return self.path / "driver.log"

    @property
    def logs(self) -> Path:
        """Where workers keep what they say until an exposure is done."""
        return self.path / "logs"

    def secure(self) -> None:
        """Make the folder of the ledger, for this user alone, or refuse one that others made.

        Ledger and configuration decide what is run, and to which scheduler it goes: before any of
        that is believed, it must be certain who wrote it.

        Raises
        ------
        LedgerError
            When another user could have prepared a folder, or it cannot be made.
        """
        if isinstance(self.output, Url):
            for folder in (registry(), self.state.parent):
                ensure_private_folder(folder, _OTHER_REGISTRY)
        ensure_private_folder(self.state)

    def make(self) -> None:
        """Make the folders, for this user alone, and note where they are."""
        self.secure()
        for folder in (self.path, self.logs):
            ensure_private_folder(folder)
        with suppress(OSError):  # without a home, the output folder is the batch's name
            make_private_folder(registry(), _OTHER_REGISTRY)
            text = json.dumps({"output": str(self.output)})
            create_file(registry() / f"{self.name}.json", text)


def state_of(output: Location) -> Path:
    """Return the folder of the ledger of an output: in it, or on this machine for a URL."""
    if isinstance(output, Url):
        digest = hashlib.sha256(str(output).rstrip("/").encode()).hexdigest()[:16]
        return registry() / "elsewhere" / digest
    return output / STATE


def registry() -> Path:
    """Return the folder of notes on where this user's batches are.

    ``CALBATCH_STATE_DIR`` names it; by default it is where the desktop standard keeps state.
    """
    chosen = os.environ.get("CALBATCH_STATE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "calbatch"


def find_registered() -> Iterator[BatchFolder]:
    """Yield this user's batches that are still there, the oldest first.

    Raises
    ------
    RequestError
        When somebody else could have written the notes on where they are.
    """
    try:
        check_private_folder(registry(), _OTHER_REGISTRY)
    except NotPrivateError as error:
        raise RequestError(str(error)) from error
    except OSError:  # there is none yet, or none that can be read
        return
    for note in sorted(registry().glob("*.json"), key=_age_key):
        try:
            output = location(json.loads(note.read_text(encoding="utf-8"))["output"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError, FileError):
            continue
        if _NAME.fullmatch(note.stem) and state_of(output).is_dir():
            yield BatchFolder(output, note.stem)


def _age_key(note: Path) -> tuple[int, str]:
    """Return a key by which notes are in the order in which they were written."""
    with suppress(OSError):  # removed meanwhile
        return note.stat().st_mtime_ns, note.stem
    return 0, note.stem


def forget_batch(folder: BatchFolder) -> None:
    """Remove the note on a batch."""
    (registry() / f"{folder.name}.json").unlink(missing_ok=True)


def remove_batch(folder: BatchFolder) -> None:
    """Remove a batch's own folder and the note on it."""
    shutil.rmtree(folder.path, ignore_errors=True)
    forget_batch(folder)


def find_batch(batch: str | None) -> BatchFolder:
    """Return the batch that a user means.

    Parameters
    ----------
    batch : str, optional
        Its name, the beginning of it, or a folder of products, whose last batch is meant; by
        default the user's last batch.

    Raises
    ------
    RequestError
        When there is no such batch, or several.
    """
    known = list(find_registered())
    if batch is None:
        if not known:
            raise RequestError(
                "there are no batches of yours; `calbatch run` or `submit` makes one"
            )
        return known[-1]
    if not batch:  # all names begin with it
        raise RequestError("an empty name is no batch's; `calbatch list` lists them")
    found = [k for k in known if k.name.startswith(batch)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f.name for f in found[:5])
        raise RequestError(f"{batch}: {len(found)} batches begin like that: {names}")
    output = parse_place(batch)
    try:
        with View(state_of(output)) as view:
            here = [row.name for row in view.batches()]
        if here:
            return BatchFolder(output, here[-1])
    except DamagedLedgerError:
        raise
    except LedgerError as error:
        if isinstance(error.__cause__, PermissionError):
            state = state_of(output)
            raise RequestError(
                f"{error}: {state} belongs to {owner_of(state)}, who can let you read it with "
                f"`chmod -R go+rX {state}`"
            ) from error
    raise RequestError(
        f"{batch}: is neither a batch of yours, which `calbatch list` lists, nor a folder of "
        "products"
    )
