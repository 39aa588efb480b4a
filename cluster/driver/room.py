"""Whether there is room for more: on the disk of the products, and for the ledger."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from calbatch.cluster.driver.recording import Recorder
from calbatch.cluster.ledger import Ledger

ROOM_LEFT = 64 * 2**20
"""Bytes of the output's disk that are left free."""

RETRY_EVERY = 0.2
"""Seconds between tries to write a ledger that could not be written."""


class Room:
    """Tells whether another exposure can be begun, and when waiting has taken too long.

    Parameters
    ----------
    output : Path
        Where products go.
    recorder : Recorder
        Keeps what happens.
    patience : float
        Seconds to wait for room.

    Attributes
    ----------
    ended : str
        Why the batch has to end; empty while it has not.
    """

    def __init__(self, output: Path, recorder: Recorder, patience: float) -> None:
        self._output, self._recorder, self._patience = output, recorder, patience
        self.ended = ""
        self._largest = 0
        self._paused = self._told_stuck = 0.0

    def expect(self, size: int) -> None:
        """Take note of the size of an exposure's products: others will need as much."""
        self._largest = max(self._largest, size)

    def there(self, *, busy: bool) -> bool:
        """Return whether another exposure can be begun.

        Parameters
        ----------
        busy : bool
            Whether any are under way, whose end is waited for in any case.
        """
        return self._disk_has_room(busy=busy) and self._ledger_takes_it(busy=busy)

    def _disk_has_room(self, *, busy: bool) -> bool:
        """Return whether the next product fits; where not, wait for what is under way."""
        try:
            free = shutil.disk_usage(self._output).free
        except OSError:  # the exposure will tell
            return True
        needed = self._largest + ROOM_LEFT
        if free >= needed:
            if self._paused:
                self._recorder.event("resumed", "there is room on the disk again")
            self._paused = 0.0
            return True
        now = time.monotonic()
        if not self._paused:
            self._paused = now
            left, wanted = f"{free / 1e6:.0f} MB left", f"{needed / 1e6:.0f} wanted"
            self._recorder.event("paused", f"paused: {self._output} has {left}, {wanted}")
        if now - self._paused > self._patience and not busy:
            self.ended = f"the disk is full: {self._output} has {free / 1e6:.0f} MB left"
        return False

    def _ledger_takes_it(self, *, busy: bool) -> bool:
        """Return whether the ledger can be written; where not, wait for what is under way.

        Exposures that are done meanwhile would be done again by the next driver.
        """
        ledger = self._recorder.ledger
        if ledger.stuck is None:
            return True
        since = ledger.stuck.since
        if self._told_stuck != since:
            self._told_stuck = since
            self._recorder.say(f"paused: {unwritable(ledger)}")
        if time.monotonic() - since > self._patience and not busy:
            self.ended = unwritable(ledger)
        return False


def unwritable(ledger: Ledger) -> str:
    """Return why a ledger cannot be written, in words."""
    why = ledger.stuck.why if ledger.stuck else "unknown"
    return f"the ledger cannot be written: {ledger.path}: {why}"


def committed_in_time(ledger: Ledger, patience: float) -> bool:
    """Wait for a ledger that cannot be written; return whether all is committed in the end.

    Parameters
    ----------
    ledger : Ledger
        Open.
    patience : float
        Seconds to wait, counted from when it could first not be written.
    """
    limit = (ledger.stuck.since if ledger.stuck else time.monotonic()) + patience
    while not (committed := ledger.commit()) and time.monotonic() < limit:
        time.sleep(RETRY_EVERY)
    return committed
