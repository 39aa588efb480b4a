"""The one way in which kernels are compiled."""

import atexit
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from calbatch.models.private import NotPrivateError, make_private_folder
from calbatch.models.temporary import make_process_folder

log = logging.getLogger(__name__)

_njit: Any = numba.njit  # its annotations leave out some of its options
_config: Any = numba.config  # and the settings' names altogether

_KEPT = 4
"""Versions of the kernels that stay in the user's cache."""

_VERSION = re.compile(r"calbatch-[0-9a-f]{16}")


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
    with _cached_in(kernel_folder()):
        decorate = _njit(nogil=True, cache=True, error_model="numpy", **options)
        compiled: Callable[..., Any] = decorate(function)
    return compiled


def for_kernel(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array as kernels are compiled for, contiguous and writable.

    numba would compile a kernel anew for arrays that are strided or read-only. The kernel must not
    write into it: other tiles may share its memory. It is copied only where it must be, as when
    it came to a worker in a message.
    """
    array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = array.view()
        try:
            array.flags.writeable = True  # as whoever owns its memory may do
        except ValueError:
            array = array.copy()
    return array


@contextmanager
def _cached_in(folder: Path) -> Iterator[None]:
    """Have numba keep what is decorated meanwhile in a folder; other kernels stay elsewhere."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        _config.CACHE_DIR = before


@cache
def kernel_folder() -> Path:
    """Return the folder of this version's compiled kernels.

    numba looks only at the file that a kernel stands in, so after a change in one that it calls it
    would go on with the old code: every state of the sources has a folder of its own.
    """
    told = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = Path(told) if told else Path(home) / "calbatch" / "kernels"
    folder = base / f"calbatch-{_state()}"
    try:
        new = not folder.exists()
        make_private_folder(folder)  # numba runs what is in it
        if new:
            _prune(base)
        if os.access(folder, os.W_OK):
            os.utime(folder)  # the versions that were used last are kept
            return folder
    except NotPrivateError as error:
        log.warning("kernels are compiled anew for this process alone: %s", error)
    except OSError:
        log.debug("%s: cannot have kernels", folder, exc_info=True)
    return _temporary() / folder.name


def _temporary() -> Path:
    """Make a folder for this process and the workers that it starts: nothing else is writable."""
    folder = make_process_folder("kernels")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


def _state() -> str:
    """Return a digest of the sources that compiled code comes from: kernels, and the DQ flags."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*here.rglob("*.py"), *here.parent.glob("calibrate/**/*.py")]):
        text = path.read_bytes()
        if b"calbatch.models.jit" in text or path.name == "dq.py":
            digest.update(b"%d %s\n" % (path.stat().st_mtime_ns, text))
    return digest.hexdigest()[:16]


def _prune(base: Path) -> None:
    """Remove the kernels of all but the newest versions; the folder may hold others' files."""
    ours = [path for path in base.glob("calbatch-*") if _VERSION.fullmatch(path.name)]
    for folder in sorted(ours, key=_last_used, reverse=True)[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def _last_used(folder: Path) -> float:
    try:
        return folder.lstat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0
