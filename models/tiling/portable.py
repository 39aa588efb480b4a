"""Users' own code, on its way to processes that cannot import it.

What is installed is named in a pickle, and imported where it arrives. A module of a user's working
folder is not there to be imported, so what it defines is sent as it is. All of it arrives as bytes
that are opened when they are needed: dask, which opens messages, breaks a connection where it
cannot.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache, partial
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from calbatch.models.errors import ModelError

_INSTALLED = {"site-packages", "dist-packages"}
_REGISTERING = threading.Lock()


def packed(value: Any) -> bytes:
    """Return a pickle of a value, with what it needs of modules that are not installed."""
    try:
        with _sent_along():
            return bytes(cloudpickle.dumps(value))
    except Exception:  # something in those modules cannot be sent: they may be there to be imported
        return bytes(cloudpickle.dumps(value))


@lru_cache(maxsize=32)
def loaded(payload: bytes) -> Any:
    """Return what was packed: one object for equal bytes, so that its kernels are compiled once.

    Raises
    ------
    ModelError
        When this process cannot import what it needs.
    """
    try:
        return cloudpickle.loads(payload)
    except Exception as error:
        told = " ".join(str(error).split())
        raise ModelError(
            f"its code cannot be loaded where it is to run: {type(error).__name__}: {told}; "
            "install there what it imports"
        ) from error


@contextmanager
def _sent_along() -> Iterator[None]:
    """Have modules of the user's own pickled by value."""
    with _REGISTERING:
        before = cloudpickle.list_registry_pickle_by_value()
        own = [m for m in list(sys.modules.values()) if _is_own(m) and m.__name__ not in before]
        for module in own:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in own:
                cloudpickle.unregister_pickle_by_value(module)


def _is_own(module: ModuleType | None) -> bool:
    name, file = getattr(module, "__name__", None), getattr(module, "__file__", None)
    if (
        not isinstance(name, str)
        or not isinstance(file, str)
        or sys.modules.get(name) is not module
    ):
        return False
    return _is_own_file(name.partition(".")[0], file)


@cache
def _is_own_file(package: str, file: str) -> bool:
    if package in ("calbatch", "__main__") or package in sys.stdlib_module_names:
        return False  # what a script defines is always sent along
    path = Path(file)
    if path.suffix != ".py" or _INSTALLED & set(path.parts):
        return False
    return package not in _distributed()


@cache
def _distributed() -> frozenset[str]:
    """Return the packages that are installed, those from a folder of their sources included."""
    return frozenset(packages_distributions())


class Portable:
    """A function of somebody else's: opened when it is called, not when it arrives.

    Parameters
    ----------
    function : callable
        Any.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function: Callable[..., Any] | None = function
        self._payload = b""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        if self._function is None:
            self._function = loaded(self._payload)
        return self._function(*arguments, **named)

    def __getstate__(self) -> bytes:
        self._payload = self._payload or packed(self._function)
        return self._payload

    def __setstate__(self, payload: bytes) -> None:
        self._function, self._payload = None, payload


def portable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that other processes can call, whether or not they can import it."""
    named = function.func if isinstance(function, partial) else function
    module = getattr(named, "__module__", None) or ""
    return function if module.startswith("calbatch.") else Portable(function)
