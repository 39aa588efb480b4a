"""Processes that compile kernels, those of one step at a time, by order of another process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from calbatch.calibrate.references import ResolvedReferences
from calbatch.calibrate.step import Step
from calbatch.calibrate.warm import compile_part, needed_types
from calbatch.models import datamodels
from calbatch.models.jit import call_at_compilation
from calbatch.models.storage.location import Location
from calbatch.models.temporary import open_process_folder
from calbatch.models.tiling.portable import pack, unpack

PROGRAM = "from calbatch.calibrate import compilers; compilers.compile_for_another()"
KILL_SECONDS = 5.0
"""Seconds to wait for the end of a process that was killed."""

POLL = 0.2
"""Seconds between looks for another order, or for references that have been fetched."""

_ORDER, _NEEDED, _SETTLED = "order-", "needed", "settled"
_CLAIMED, _DONE = "claimed-", "done-"


class Order(NamedTuple):
    """The work of processes that compile.

    Attributes
    ----------
    kind : str
        The exposure's `calbatch.calibrate.warm.kernel_digest`.
    step : Step
        The configured step or pipeline, without hooks.
    path : Path or Url
        The exposure.
    references : ResolvedReferences or None
        Its references, some of whose files may not exist yet; None if they are not chosen yet.
    parts : sequence of str
        The parts of the kernels; the last ones are compiled first.
    """

    kind: str
    step: Step
    path: Location
    references: ResolvedReferences | None
    parts: Sequence[str]


class Compilers:
    """Processes that compile, and the folder through which they share the parts of the work.

    Parameters
    ----------
    count : int
        Number of processes.
    order : Order
        What they compile first.
    """

    def __init__(self, count: int, order: Order) -> None:
        self._orders = 0
        self._stack = ExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            self._folder = self._stack.enter_context(open_process_folder("compiling"))
            self._stack.callback(self._kill)
            self.send(order)
            for _ in range(count):
                self._processes.append(_start_compiler(self._folder))
        except BaseException:
            self.end()
            raise

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):  # it may wait for a server's disk
                process.wait(KILL_SECONDS)

    def end(self) -> None:
        """End the processes, and remove their folder."""
        self._stack.close()

    def send(self, order: Order) -> None:
        """Replace the order; parts of the same kind that are compiled, or begun, stay so."""
        self._kind, self._parts = order.kind, order.parts
        unfinished = self._folder / "unfinished"
        unfinished.write_bytes(pack(order))
        unfinished.rename(self._folder / f"{_ORDER}{self._orders}")
        self._orders += 1

    def settle(self) -> None:
        """Tell the processes that there will be no other order, and no more files."""
        (self._folder / _SETTLED).touch()

    def are_running(self) -> bool:
        """Return whether any process has not ended."""
        return any(process.poll() is None for process in self._processes)

    def describe(self) -> str:
        """Return how many parts are compiled; "" while nothing has had to be compiled."""
        if not (self._folder / _NEEDED).exists():
            return ""
        done = len(list(self._folder.glob(f"{_DONE}{self._kind}-*")))
        return f"kernels: {done} of {len(self._parts)} parts compiled"


def _start_compiler(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that compiles. Its stdin stays open until this process ends."""
    # modules of the working folder must not be imported, such as a user's own models.py
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)], env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def compile_for_another() -> None:
    """Compile kernels for another process, which started this one and waits, or until it ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder = Path(sys.argv[1])
    with call_at_compilation((folder / _NEEDED).touch):
        _compile_ordered(folder)


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # the lock of a stream would be held when this process ends
    os._exit(1)


class _Work:
    """An order, as a process carries it out.

    Parameters
    ----------
    order : Order
        The order.
    folder : Path
        The folder that the processes share.
    """

    def __init__(self, order: Order, folder: Path) -> None:
        self._order, self._folder = order, folder
        self._exposure = datamodels.open(order.path)
        self._references = order.references or ResolvedReferences("")
        self._types = {
            part: needed_types(order.step, self._exposure, part) for part in reversed(order.parts)
        }

    def claim_part(self) -> str | None:
        """Claim a part that no process has claimed and whose references are there, if any is."""
        for part, types in self._types.items():
            claim = self._name_file(_CLAIMED, part)
            if not claim.exists() and self._has_references(types):
                with suppress(FileExistsError):
                    claim.touch(exist_ok=False)
                    return part
        return None

    def compile(self, part: str) -> None:
        """Compile a part."""
        if compile_part(self._order.step, self._exposure, self._references, part):
            self._name_file(_DONE, part).touch()

    def _name_file(self, prefix: str, part: str) -> Path:
        return self._folder / f"{prefix}{self._order.kind}-{part}"

    def _has_references(self, types: set[str]) -> bool:
        if self._order.references is None:
            return not types
        chosen = self._order.references.chosen
        paths = [chosen[each].path for each in types if each in chosen]
        return all(path is None or path.exists() for path in paths)


def _compile_ordered(folder: Path) -> None:
    """Compile parts of the newest order until it is settled and has no part left."""
    read, work = -1, None
    while True:
        is_settled = (folder / _SETTLED).exists()  # looked at first: the last order comes before it
        newest = len(list(folder.glob(f"{_ORDER}*"))) - 1
        if newest > read:
            order = unpack((folder / f"{_ORDER}{newest}").read_bytes())
            read, work = newest, _Work(order, folder)
        part = work.claim_part() if work is not None else None
        if work is not None and part is not None:
            work.compile(part)
        elif is_settled or newest < 0:  # or the folder is gone
            return
        else:
            time.sleep(POLL)
