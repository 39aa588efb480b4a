"""The batch of `calbatch cancel` and `calbatch resume` without a name.

These commands change a batch, so they never guess: in an output folder, only its own batches count;
elsewhere, the command must apply to exactly one batch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from calbatch.cluster.batch.liveness import batch_state
from calbatch.cluster.errors import RequestError
from calbatch.cluster.exposure.messages import escape_text
from calbatch.cluster.folder import BatchFolder, find_batch, find_registered, state_of
from calbatch.cluster.ledger import BatchRow, DamagedLedgerError, LedgerError, View
from calbatch.cluster.ledger.store import NAME
from calbatch.models.errors import format_count

ACTIVE = ("planned", "running")
"""States of a batch that can be cancelled."""

UNFINISHED = ("failed", "interrupted", "cancelled")
"""States of a batch that can be resumed."""

SHOWN = 10
"""Maximum number of batches to list if the command applies to several."""


def find_to_cancel(batch: str | None) -> BatchFolder:
    """Return the batch to cancel.

    Parameters
    ----------
    batch : str, optional
        See `calbatch.cluster.folder.find_batch`, but an output folder stands for the batch that is
        running there. By default, the batch that is running in the working folder or, if that has
        no batches, the user's only running batch.

    Raises
    ------
    RequestError
        If there is none, or more than one.
    """
    named = None if batch is None else find_batch(batch)
    if batch is not None and named is not None and named.name.startswith(batch):
        return named
    output = Path.cwd() if named is None else named.output
    here = _read_rows(output) if isinstance(output, Path) else []
    active = _select([BatchFolder(output, row.name) for row in here], ACTIVE)
    if active:
        return _require_one(active, "cancel", "running")
    if named is not None:
        return named
    if here:
        raise RequestError(
            f"none of the batches of this folder, {output}, is running; `calbatch list` shows all"
        )
    return _require_one(_select(list(find_registered()), ACTIVE), "cancel", "running")


def find_to_resume(batch: str | None) -> BatchFolder:
    """Return the batch to resume.

    Parameters
    ----------
    batch : str, optional
        See `calbatch.cluster.folder.find_batch`. By default, the latest batch of the working folder
        or, if that has none, the user's only unfinished batch.

    Raises
    ------
    RequestError
        If there is none, or more than one.
    """
    if batch is not None:
        return find_batch(batch)
    here = _read_rows(Path.cwd())
    if here:
        return BatchFolder(Path.cwd(), here[-1].name)
    return _require_one(_select(_find_latest(), UNFINISHED), "resume", "unfinished")


def _find_latest() -> list[BatchFolder]:
    """Return the user's latest batch of each output folder: it has superseded the earlier ones."""
    latest = {str(folder.output): folder for folder in find_registered()}
    return [folder for folder in find_registered() if latest.get(str(folder.output)) == folder]


def _read_rows(output: Path) -> list[BatchRow]:
    """Return the batches of an output folder, oldest first; none if there is no ledger."""
    state = state_of(output)
    try:
        with View(state) as view:
            return view.batches()
    except LedgerError as error:
        if isinstance(error.__cause__, PermissionError) or (state / NAME).exists():
            raise
        return []


def _select(
    candidates: Sequence[BatchFolder], states: Collection[str]
) -> list[tuple[BatchFolder, str]]:
    """Return the candidates in one of the given states, each with its state."""
    found: list[tuple[BatchFolder, str]] = []
    damage: DamagedLedgerError | None = None
    for folder in candidates:
        try:
            with View(folder.state) as view:
                row = view.batch(folder.name)
        except DamagedLedgerError as error:
            damage = error
            continue
        except LedgerError:  # pruned
            continue
        state = batch_state(folder, row)
        if state in states:
            found.append((folder, state))
    if not found and damage is not None:  # its message says how to repair the ledger
        raise damage
    return found


def _require_one(
    found: Sequence[tuple[BatchFolder, str]], command: str, adjective: str
) -> BatchFolder:
    """Return the only batch of a list; the adjective describes its state in messages."""
    if len(found) == 1:
        return found[0][0]
    if not found:
        raise RequestError(
            f"none of your batches is {adjective}; name a batch, or its output folder, as shown by "
            "`calbatch list`"
        )
    lines = [
        f"calbatch {command} {folder.name}  # {state}, {escape_text(str(folder.output))}"
        for folder, state in reversed(found[-SHOWN:])
    ]
    more = len(found) - SHOWN
    lines += [f"and {more} older ones"] if more > 0 else []
    count = format_count(len(found), "batch", "batches")
    raise RequestError("\n  ".join([f"{count} are {adjective}; name one:", *lines]))
