"""Checks before each submission that the disk has room for products and the ledger is writable."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from calbatch.cluster.driver.recording import Recorder
from calbatch.cluster.ledger import Ledger

ROOM_LEFT = 64 * 2**20
"""Bytes to leave free on the disk of the output folder."""

RETRY_EVERY = 0.2
"""Seconds between attempts to write a ledger that could not be written."""


class Room:
    """Decides whether another exposure can be started, and when to stop waiting for room.

    Parameters
    ----------
    output : Path
        Folder whose disk must have room for products.
    recorder : Recorder
        Records pauses.
    patience : float
        Seconds to wait for room.

    Attributes
    ----------
    end_reason : str
        The reason why the batch must stop; empty while it need not.
    """

    def __init__(self, output: Path, recorder: Recorder, patience: float) -> None:
        self._output, self._recorder, self._patience = output, recorder, patience
        self.end_reason = ""
        self._largest = 0
        self._paused = self._reported_stuck = 0.0

    def expect(self, size: int) -> None:
        """Note the size of an exposure's products; later exposures may need as much."""
        self._largest = max(self._largest, size)

    def is_available(self, *, busy: bool) -> bool:
        """Return whether another exposure can be started.

        Parameters
        ----------
        busy : bool
            True if exposures are running. The batch then does not stop yet for lack of room.
        """
        return self._has_room(busy=busy) and self._is_ledger_writable(busy=busy)

    def _has_room(self, *, busy: bool) -> bool:
        """Return whether the next products fit on the disk; note since when they do not."""
        try:
            free = shutil.disk_usage(self._output).free
        except OSError:  # the exposure will fail with a better message
            return True
        needed = self._largest + ROOM_LEFT
        if free >= needed:
            if self._paused:
                self._recorder.record_event("resumed", "there is room on the disk again")
            self._paused = 0.0
            return True
        now = time.monotonic()
        if not self._paused:
            self._paused = now
            sizes = f"{free / 1e6:.0f} MB left, {needed / 1e6:.0f} MB needed"
            self._recorder.record_event("paused", f"paused: {self._output} has {sizes}")
        if now - self._paused > self._patience and not busy:
            self.end_reason = f"the disk is full: {self._output} has {free / 1e6:.0f} MB left"
        return False

    def _is_ledger_writable(self, *, busy: bool) -> bool:
        """Return whether the ledger can be written; report it once if it cannot.

        Exposures that finish while it cannot be written would be repeated by the next driver.
        """
        ledger = self._recorder.ledger
        if ledger.stuck is None:
            return True
        since = ledger.stuck.since
        if self._reported_stuck != since:
            self._reported_stuck = since
            self._recorder.say(f"paused: {describe_unwritable(ledger)}")
        if time.monotonic() - since > self._patience and not busy:
            self.end_reason = describe_unwritable(ledger)
        return False


def describe_unwritable(ledger: Ledger) -> str:
    """Return the message for a ledger that cannot be written."""
    reason = ledger.stuck.reason if ledger.stuck else "unknown"
    return f"the ledger cannot be written: {ledger.path}: {reason}"


def wait_for_commit(ledger: Ledger, patience: float) -> bool:
    """Retry the commit of a ledger that cannot be written; return whether it has succeeded.

    Parameters
    ----------
    ledger : Ledger
        The open ledger.
    patience : float
        Seconds to wait, counted from the first failure.
    """
    limit = (ledger.stuck.since if ledger.stuck else time.monotonic()) + patience
    while not (committed := ledger.commit()) and time.monotonic() < limit:
        time.sleep(RETRY_EVERY)
    return committed
