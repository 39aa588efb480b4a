"""The files of a batch: its folder beside the ledger, and a note in the user's registry."""

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
"""Name of the folder, in an output folder, that holds the ledger and the batches' folders."""

_NAME = re.compile(r"\d{8}-\d{6}-[a-z0-9]{4}")
_OTHER_REGISTRY = "set CALBATCH_STATE_DIR to another folder"
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def make_batch_name() -> str:
    """Return a new name for a batch: the current time and four random letters."""
    tail = "".join(secrets.choice(_LETTERS) for _ in range(4))
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{tail}"


@dataclass(frozen=True)
class BatchFolder:
    """The files of one batch.

    Attributes
    ----------
    output : Path or Url
        The output folder.
    name : str
        The batch's name.
    """

    output: Location
    name: str

    @property
    def state(self) -> Path:
        """The folder that contains the ledger."""
        return state_of(self.output)

    @property
    def unfinished(self) -> Path:
        """The local folder whose disk receives products: a scratch folder for URLs."""
        return scratch_folder() if isinstance(self.output, Url) else self.output

    @property
    def path(self) -> Path:
        """The batch's own folder."""
        return self.state / self.name

    @property
    def config(self) -> Path:
        """The ``.cfg`` with all parameters of the batch."""
        return self.path / "batch.cfg"

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.path / "manifest.json"

    @property
    def control(self) -> Path:
        """The file through which its driver is stopped; see `calbatch.cluster.driver.control`."""
        return self.path / "control"

    @property
    def pid(self) -> Path:
        """The file that names its driver's process; see `calbatch.cluster.owner`."""
        return self.path / "driver.json"

    @property
    def job(self) -> Path:
        """The file that names the Slurm job of its driver."""
        return self.path / "job"

    @property
    def log(self) -> Path:
        """The output of a detached driver."""
        return self.path / "driver.log"

    @property
    def logs(self) -> Path:
        """The folder of the log files of running attempts."""
        return self.path / "logs"

    def secure(self) -> None:
        """Create the folder of the ledger, private to this user, or check that it is private.

        Ledger and configuration decide which code runs and which scheduler it is sent to. They are
        trusted only if no other user can have written them.

        Raises
        ------
        LedgerError
            If a folder cannot be created, or another user could have prepared it.
        """
        if isinstance(self.output, Url):
            for folder in (registry(), self.state.parent):
                ensure_private_folder(folder, _OTHER_REGISTRY)
        ensure_private_folder(self.state)

    def make(self) -> None:
        """Create the batch's folders, private to this user, and register the batch."""
        self.secure()
        for folder in (self.path, self.logs):
            ensure_private_folder(folder)
        with suppress(OSError):  # without a registry, the batch is found by its output folder
            make_private_folder(registry(), _OTHER_REGISTRY)
            text = json.dumps({"output": str(self.output)})
            create_file(registry() / f"{self.name}.json", text)


def state_of(output: Location) -> Path:
    """Return the folder of the ledger: in the output folder, or in the registry for a URL."""
    if isinstance(output, Url):
        digest = hashlib.sha256(str(output).rstrip("/").encode()).hexdigest()[:16]
        return registry() / "elsewhere" / digest
    return output / STATE


def registry() -> Path:
    """Return the folder that records where this user's batches are.

    It is ``CALBATCH_STATE_DIR`` if set, or else ``calbatch`` in the XDG state directory.
    """
    folder = os.environ.get("CALBATCH_STATE_DIR")
    if folder:
        return Path(folder).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "calbatch"


def find_registered() -> Iterator[BatchFolder]:
    """Yield this user's batches whose folders can be reached, oldest first.

    Raises
    ------
    RequestError
        If another user could have written to the registry.
    """
    try:
        check_private_folder(registry(), _OTHER_REGISTRY)
    except NotPrivateError as error:
        raise RequestError(str(error)) from error
    except OSError:  # missing or unreadable
        return
    for note in sorted(registry().glob("*.json"), key=_age_key):
        try:
            output = location(json.loads(note.read_text(encoding="utf-8"))["output"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError, FileError):
            continue
        if _NAME.fullmatch(note.stem) and _is_readable_folder(state_of(output)):
            yield BatchFolder(output, note.stem)


def _is_readable_folder(path: Path) -> bool:
    with suppress(OSError):  # no permission, a file system that is gone, or a name too long
        return path.is_dir()
    return False


def _age_key(note: Path) -> tuple[int, str]:
    """Return a sort key for notes: the time at which they were written."""
    with suppress(OSError):  # it may have just been removed
        return note.stat().st_mtime_ns, note.stem
    return 0, note.stem


def forget_batch(folder: BatchFolder) -> None:
    """Remove a batch from the registry."""
    (registry() / f"{folder.name}.json").unlink(missing_ok=True)


def remove_batch(folder: BatchFolder) -> None:
    """Remove a batch's folder, and the batch from the registry."""
    shutil.rmtree(folder.path, ignore_errors=True)
    forget_batch(folder)


def find_batch(batch: str | None) -> BatchFolder:
    """Return the batch that a name or folder refers to.

    Parameters
    ----------
    batch : str, optional
        The batch's name, a unique prefix of it, or an output folder, which stands for its latest
        batch. By default, the user's latest batch.

    Raises
    ------
    RequestError
        If no batch or more than one matches.
    """
    batches = list(find_registered())
    if batch is None:
        if not batches:
            raise RequestError(
                "you have no batches yet; `calbatch run` or `calbatch submit` starts one"
            )
        return batches[-1]
    if not batch:  # a prefix of all names
        raise RequestError("the name of the batch is empty; `calbatch list` shows all batches")
    matches = [k for k in batches if k.name.startswith(batch)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(f.name for f in matches[:5])
        raise RequestError(f"{batch}: the names of {len(matches)} batches start with this: {names}")
    output = parse_place(batch)
    try:
        with View(state_of(output)) as view:
            names_here = [row.name for row in view.batches()]
        if names_here:
            return BatchFolder(output, names_here[-1])
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
        f"{batch}: neither one of your batches (`calbatch list` shows them) nor an output folder "
        "of a batch"
    )
