"""HTML in a notebook that is updated in place, with nothing but IPython's display."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from uuid import uuid4

EVERY = 1.0
"""Seconds between updates, at least."""

COST = 0.01
"""Share of a core that updates may take: if one takes long, the next comes later."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The contents of a display at one moment.

    Attributes
    ----------
    html : str
        Its HTML.
    text : str
        The same as text, for programs that show no HTML.
    is_final : bool
        True if it is the last one.
    """

    html: str
    text: str
    is_final: bool = False


Publisher = Callable[[Snapshot, str, bool], None]
"""Function that shows a snapshot under a name, in a new place or, if True, where it was."""


class LiveDisplay:
    """A display that follows something until its final state.

    Parameters
    ----------
    read : callable
        Returns the current snapshot. It is called in a thread.
    publish : Publisher
        Shows it.
    """

    def __init__(self, read: Callable[[], Snapshot], publish: Publisher) -> None:
        self._read, self._publish = read, publish
        self._name = f"calbatch-{uuid4().hex}"
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def show(self, *, follow: bool = True) -> None:
        """Show the current state in a new place; it and all earlier places are then updated.

        Parameters
        ----------
        follow : bool
            False to show the current state alone.
        """
        snapshot = self._read()
        self._publish(snapshot, self._name, False)
        is_followed = self._thread is not None and self._thread.is_alive()
        if follow and not snapshot.is_final and not is_followed:
            self._thread = threading.Thread(target=self._follow, args=(snapshot,), daemon=True)
            self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the final state has been shown."""
        if self._thread is not None:
            self._thread.join(timeout)

    def close(self) -> None:
        """Show the current state as the last one."""
        self._closing.set()
        self.join()
        self._publish(self._read(), self._name, True)

    def _follow(self, last: Snapshot) -> None:
        pause = EVERY
        while not last.is_final and not self._closing.wait(pause):
            began = time.thread_time()
            snapshot = self._read()
            if snapshot != last:
                self._publish(snapshot, self._name, True)
            last, pause = snapshot, choose_pause(time.thread_time() - began)


def choose_pause(cost: float) -> float:
    """Return the seconds until the next update, after one that took some seconds of CPU."""
    return max(EVERY, cost / COST)


@contextmanager
def follow_in_notebook(read: Callable[[], Snapshot]) -> Iterator[None]:
    """Show snapshots in a notebook, updated in place, until the end of the block."""
    display = LiveDisplay(read, show_in_notebook)
    display.show()
    try:
        yield
    finally:
        display.close()


def show_in_notebook(snapshot: Snapshot, name: str, update: bool) -> None:
    """Show a snapshot through IPython; see `Publisher`."""
    display: Any = import_module("IPython.display").display
    contents = {"text/html": snapshot.html, "text/plain": snapshot.text}
    display(contents, raw=True, display_id=name, update=update)


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, whose displays can be updated."""
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
