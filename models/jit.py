"""Compilation of kernels."""

import atexit
import hashlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import filelock
import numba
import numpy as np
import numpy.typing as npt

from calbatch.models.private import NotPrivateError, make_private_folder
from calbatch.models.temporary import make_process_folder

log = logging.getLogger(__name__)

_njit: Any = numba.njit  # its annotations lack some of its options
_config: Any = numba.config  # its annotations lack all settings

_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_UNCOUNTED = {"_nrt": False}
"""Options of numba's compiler: without entry points for Python and C, and without its runtime,
which allocates arrays and counts references to them."""

_LOCK_SECONDS = 10.0
"""Seconds to wait for another process that stores a kernel."""

_VERSIONS_TO_KEEP = 4
"""Number of versions of the compiled kernels in the user's cache."""

_VERSION = re.compile(r"calbatch-[0-9a-f]{16}")


def _load_array_functions() -> None:
    """Import numba's array functions, which all kernels need, without `scipy.linalg`.

    They try whether SciPy's linear algebra can be imported, which takes 0.08 s in every process. It
    can, and kernels that use it import it when they are compiled.
    """
    name = "scipy.linalg.cython_blas"
    if name in sys.modules:
        return
    sys.modules[name] = ModuleType(name)
    try:
        with suppress(ImportError):  # in another version of numba, it may have another name
            import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]


_load_array_functions()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with numba, without the GIL and with a cache on disk.

    Fast-math is off, because results must not depend on the vector width and NaN marks unusable
    samples. A kernel runs on one thread: tiles and exposures are processed in parallel.
    """
    return _compile(function)


def inner_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that is called only by kernels.

    Without an entry point for Python it compiles in half the time, especially with tuples of arrays
    as arguments.
    """
    return _compile(function, **_INNER)


def view_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel that makes no arrays, only views, and calls only `inner_view_kernel`.

    numba counts references to an array at each call and for each view. The atomic counters cost
    more than the arithmetic of a loop over a few pixels. Without them, the arrays belong to the
    caller throughout.
    """
    return _compile(function, **_UNCOUNTED)


def inner_view_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a `view_kernel` that is called only by kernels; see `inner_kernel`.

    Only a `view_kernel` or another such function may use arrays that it returns.
    """
    return _compile(function, **_INNER, **_UNCOUNTED)


def _compile(function: Callable[..., Any], **options: bool) -> Callable[..., Any]:
    with _cache_in(kernel_folder()):
        decorate = _njit(nogil=True, cache=True, error_model="numpy", **options)
        compiled: Any = decorate(function)
    compiled._cache = _SharedCache(compiled._cache, kernel_folder())
    return cast(Callable[..., Any], compiled)


class _SharedCache:
    """numba's cache of a kernel, safe for several processes that compile it at the same time.

    numba numbers the files of a kernel's versions without a lock. Of two versions that are stored
    at once, for different types, one could later be loaded in place of the other.

    Parameters
    ----------
    cache : object
        numba's cache.
    folder : Path
        The folder of compiled kernels, which has the lock.
    """

    def __init__(self, cache: Any, folder: Path) -> None:
        self._cache, self._lock = cache, folder / ".lock"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Return the compiled version for these types; None if there is none."""
        found = self._cache.load_overload(signature, target)
        types = getattr(signature, "args", signature)
        return found if found is not None and found.signature.args == types else None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Store a compiled version."""
        with ExitStack() as stack:
            with suppress(OSError, NotImplementedError, filelock.Timeout):  # it can be done without
                stack.enter_context(filelock.FileLock(self._lock, timeout=_LOCK_SECONDS))
            self._cache.save_overload(signature, compiled)


def for_kernel(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that is contiguous and writable, as kernels are compiled for such arrays.

    numba would compile a kernel again for strided or read-only arrays. Kernels must not write to
    the result, because other tiles may share its memory, unless the array is the caller's own. It
    is copied only if necessary, for example if a worker received it in a message.
    """
    array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = array.view()
        try:
            array.flags.writeable = True  # allowed to the owner of its memory
        except ValueError:
            array = array.copy()
    return array


@contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Set numba's cache folder for the kernels that are decorated within this context."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        _config.CACHE_DIR = before


@cache
def kernel_folder() -> Path:
    """Return the folder of this version's compiled kernels.

    numba recompiles a kernel only if its own file has changed, and would miss changes of kernels
    that it calls. Therefore, each state of the sources has its own folder.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = Path(chosen) if chosen else Path(home) / "calbatch" / "kernels"
    folder = base / f"calbatch-{_state()}"
    try:
        new = not folder.exists()
        make_private_folder(folder)  # numba runs the code in it
        if new:
            _prune(base)
        if os.access(folder, os.W_OK):
            os.utime(folder)  # the most recently used versions are kept
            return folder
    except NotPrivateError as error:
        log.warning("kernels are compiled again for this process alone: %s", error)
    except OSError:
        log.debug("%s: cannot store compiled kernels", folder, exc_info=True)
    return _temporary() / folder.name


def _temporary() -> Path:
    """Make a temporary folder that this process shares with its workers."""
    folder = make_process_folder("kernels")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


def _state() -> str:
    """Return a digest of all modules with kernels, and of the DQ flags compiled into them."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*here.rglob("*.py"), *here.parent.glob("calibrate/**/*.py")]):
        text = path.read_bytes()
        if b"calbatch.models.jit" in text or path.name == "dq.py":
            digest.update(b"%d %s\n" % (path.stat().st_mtime_ns, text))
    return digest.hexdigest()[:16]


def _prune(base: Path) -> None:
    """Remove all but the most recently used versions; other files in the folder stay."""
    ours = [path for path in base.glob("calbatch-*") if _VERSION.fullmatch(path.name)]
    for folder in sorted(ours, key=_last_used, reverse=True)[_VERSIONS_TO_KEEP:]:
        shutil.rmtree(folder, ignore_errors=True)


def _last_used(folder: Path) -> float:
    try:
        return folder.lstat().st_mtime
    except OSError:  # removed by another process
        return 0.0
