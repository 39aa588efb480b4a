"""Compiling the kernels once, before workers start: together they would each compile them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

from numba.core import event

MESSAGE = "compiling kernels: once on this machine, it can take a minute"


class _Told(event.Listener):
    """Says once that a kernel is being compiled, as its compilation begins."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell, self.done = tell, False

    def on_start(self, event: event.Event) -> None:
        """Say it, unless it has been said."""
        if not self.done:
            self.done = True
            self.tell(MESSAGE)

    def on_end(self, event: event.Event) -> None:
        """Say nothing."""


def compile_kernels(tell: Callable[[str], None]) -> None:
    """Compile the kernels of all imported steps, or load them from numba's cache.

    Parameters
    ----------
    tell : callable
        Given a message where there is something to compile, so that nobody wonders what takes the
        time.
    """
    with event.install_listener("numba:compile", _Told(tell)):
        for module in kernel_modules():
            module.warm_kernels()


def kernel_modules() -> list[ModuleType]:
    """Return the imported modules that have kernels: those with a function ``warm_kernels``."""
    found = {
        module.warm_kernels: module
        for name, module in sorted(sys.modules.items())
        if name.startswith("calbatch.") and hasattr(module, "warm_kernels")
    }
    return list(found.values())
