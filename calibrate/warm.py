"""Compiling the kernels once, before workers start: together they would each compile them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

MODULES = ("calbatch.models.rows", "calbatch.models.writer")
"""Modules with a function ``warm_kernels``."""


def compile_kernels(tell: Callable[[str], None]) -> None:
    """Compile what is not in numba's cache yet, or load it; say so when it will take time."""
    for name in MODULES:
        import_module(name).warm_kernels()
