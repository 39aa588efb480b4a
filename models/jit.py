"""The one way in which kernels are compiled."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import numba

_njit: Any = numba.njit  # its annotations leave out some of its options
_config: Any = numba.config  # and the settings' names altogether


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` with numba, without the GIL and cached on disk.

    Fast-math stays off: results must be the same bit for bit whatever the vector width, and NaN
    marks unusable samples. A kernel runs on one thread: parallelism is over tiles and exposures.
    """
    return _compiled(function)


def inner_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only kernels call.

    Without the entry for Python it compiles in half the time, above all when it takes tuples of
    arrays.
    """
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _compiled(function: Callable[..., Any], **options: bool) -> Callable[..., Any]:
    how = {"nogil": True, "cache": True, "error_model": "numpy", **options}
    try:
        compiled: Callable[..., Any] = _njit(**how)(function)
    except RuntimeError:  # no place for the cache
        _make_place()
        compiled = _njit(**how)(function)
    return compiled


def _make_place() -> None:
    """Keep kernels in a folder of this process's own, for it and the workers that it starts.

    numba keeps them beside their source or in the user's cache; neither can be written here.
    """
    folder = tempfile.mkdtemp(prefix="calbatch-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = _config.CACHE_DIR = folder
