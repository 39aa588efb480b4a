"""Pickling of users' code for processes that cannot import it.

A pickle refers to installed code by name, and the receiver imports it. A module in a user's working
folder cannot be imported there, so its functions and classes are pickled by value. The result is
sent as bytes and unpickled on first use: if dask fails to unpickle a message itself, it closes the
connection.
"""

from __future__ import annotations

import sys
import sysconfig
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
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
_REGISTRY_LOCK = threading.Lock()


def pack(value: Any) -> bytes:
    """Return a pickle of a value that includes its code from modules that are not installed."""
    try:
        with _own_modules_by_value():
            return bytes(cloudpickle.dumps(value))
    except Exception:  # those modules cannot be pickled; the receiver may be able to import them
        return bytes(cloudpickle.dumps(value))


@lru_cache(maxsize=32)
def unpack(payload: bytes) -> Any:
    """Return the value of a pickle, the same object for equal bytes: its kernels compile once.

    Raises
    ------
    ModelError
        If this process cannot import a module that the value needs.
    """
    try:
        return cloudpickle.loads(payload)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"its code cannot be loaded where it is to run: {type(error).__name__}: {reason}; "
            "install the modules that it imports there"
        ) from error


@contextmanager
def _own_modules_by_value() -> Iterator[None]:
    """Register the user's own modules to be pickled by value."""
    with _REGISTRY_LOCK:
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
        return False  # cloudpickle always pickles a script's definitions by value
    path = Path(file)
    if path.suffix != ".py" or _INSTALLED & set(path.parts):
        return False
    if path.is_relative_to(_STANDARD_LIBRARY):  # such as sysconfig's data, whose name varies
        return False
    return package not in _installed_packages()


@cache
def _installed_packages() -> frozenset[str]:
    """Return the names of installed packages, including editable installs."""
    return frozenset(packages_distributions())


class PortableFunction:
    """A user's function, unpickled on its first call rather than on arrival.

    Parameters
    ----------
    function : callable
        The function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function: Callable[..., Any] | None = function
        self._payload = b""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        if self._function is None:
            self._function = unpack(self._payload)
        return self._function(*arguments, **named)

    def __getstate__(self) -> bytes:
        self._payload = self._payload or pack(self._function)
        return self._payload

    def __setstate__(self, payload: bytes) -> None:
        self._function, self._payload = None, payload


def make_portable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that other processes can call, whether or not they can import it."""
    plain = function.func if isinstance(function, partial) else function
    module = getattr(plain, "__module__", None) or ""
    return function if module.startswith("calbatch.") else PortableFunction(function)
