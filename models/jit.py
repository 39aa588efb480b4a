"""Compilation of kernels.

numba is imported when a kernel is first called. Processes such as the driver of a batch in workers
define kernels, but usually call none, and the import takes longer than that of calbatch.
"""

import gc
import hashlib
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, cached_property, partial, update_wrapper
from importlib import import_module
from multiprocessing.util import Finalize
from pathlib import Path
from types import ModuleType
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt

from calbatch.models.private import NotPrivateError, make_private_folder
from calbatch.models.temporary import make_process_folder

log = logging.getLogger(__name__)

_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_UNCOUNTED = {"_nrt": False}
"""Options of numba's compiler: without entry points for Python and C, and without its runtime,
which allocates arrays and counts references to them."""

_LOCK_SECONDS = 10.0
"""Seconds to wait for another process that stores a kernel."""

_VERSIONS_TO_KEEP = 4
"""Number of versions of the compiled kernels in the user's cache."""

_guard = threading.RLock()
"""Held while numba is imported, and while its object for a kernel is made."""

_Stamp = tuple[int, int]
"""Modification time and size of a file."""

_VERSION = re.compile(r"calbatch-[0-9a-f]{16}")


@cache
def load_numba() -> Any:
    """Return numba, imported on first use with what all kernels need."""
    with _guard:
        collects = gc.isenabled()
        gc.disable()  # imports leave hardly any garbage, and looking for it takes a sixth of them
        try:
            import numba

            _load_array_functions()
        finally:
            if collects:
                gc.enable()
    return numba


def _load_array_functions() -> None:
    """Import numba's array functions, which all kernels need, without `scipy.linalg`.

    They try whether SciPy's linear algebra can be imported, which takes 0.08 s in every process. It
    can, and kernels that use it import it when they are compiled.
    """
    name = "scipy.linalg.cython_blas"
    if name in sys.modules or threading.active_count() > 1:  # which may be importing it
        return
    sys.modules[name] = ModuleType(name)
    try:
        with suppress(ImportError):  # in another version of numba, it may have another name
            import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]


class _Kernel:
    """A function that numba compiles, or loads from its cache, when it is first called.

    Parameters
    ----------
    function : callable
        The function.
    options : dict
        Options of numba's compiler.
    stamp : tuple of int, optional
        Modification time and size of the file from which the function was loaded. Without it,
        numba's cache is not used.
    """

    def __init__(
        self, function: Callable[..., Any], options: dict[str, bool], stamp: _Stamp | None = None
    ) -> None:
        update_wrapper(self, function)
        self._function, self._options, self._stamp = function, options, stamp

    def __call__(self, *values: Any, **named: Any) -> Any:
        """Call the compiled function."""
        return self.dispatcher(*values, **named)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Return the name of a kernel of calbatch, or the function of another one."""
        if self.__module__.startswith("calbatch."):
            return self._function.__qualname__
        return _Kernel, (self._function, self._options)

    @cached_property
    def dispatcher(self) -> Any:
        """The object of numba that compiles the function, with the compiled versions."""
        with _guard:  # threads would compile the function once each
            if "dispatcher" not in self.__dict__:
                is_stored = self._stamp is not None and self._stamp == _read_stamp(self._function)
                made = _compile(self._function, self._options, is_stored=is_stored)
                self.__dict__["dispatcher"] = made
            return self.__dict__["dispatcher"]

    @property
    def _numba_type_(self) -> Any:
        """The type of the function for numba, in other kernels."""
        return self.dispatcher._numba_type_


def _defer(function: Callable[..., Any], **options: bool) -> _Kernel:
    """Return a function that is compiled when it is called.

    What is stored in the cache belongs to the sources as they are now, when they are loaded: they
    may be edited before the first call.
    """
    kernel_folder()
    return _Kernel(function, options, _read_stamp(function))


def _read_stamp(function: Callable[..., Any]) -> _Stamp | None:
    """Return the modification time and size of the file of a function; None without one."""
    try:
        status = os.stat(function.__code__.co_filename)  # noqa: PTH116 - hundreds of kernels
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size


class _Intrinsic:
    """A function for kernels that generates code of LLVM, made when a kernel first uses it.

    Parameters
    ----------
    define : callable
        The function, as numba's ``intrinsic`` expects it.
    """

    def __init__(self, define: Callable[..., Any]) -> None:
        update_wrapper(self, define)
        self._define = define

    def __call__(self, *values: Any) -> Any:
        """Raise an error: only kernels can call this."""
        raise NotImplementedError(f"{self._define.__name__} can be called by kernels only")

    @cached_property
    def _numba_type_(self) -> Any:
        """The type of the function for numba."""
        extending = import_module("numba.extending")
        context = import_module("numba.core.registry").cpu_target.typing_context
        self._made = extending.intrinsic(self._define)  # the type does not keep it
        context.refresh()
        return context.resolve_value_type(self._made)


def intrinsic(define: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function for kernels from one that generates its code; see numba's ``intrinsic``."""
    return _Intrinsic(define)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with numba, without the GIL and with a cache on disk.

    Fast-math is off, because results must not depend on the vector width and NaN marks unusable
    samples. A kernel runs on one thread: tiles and exposures are processed in parallel.
    """
    return _defer(function)


def inner_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that is called only by kernels.

    Without an entry point for Python it compiles in half the time, especially with tuples of arrays
    as arguments.
    """
    return _defer(function, **_INNER)


def view_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel that makes no arrays, only views, and calls only `inner_view_kernel`.

    numba counts references to an array at each call and for each view. The atomic counters cost
    more than the arithmetic of a loop over a few pixels. Without them, the arrays belong to the
    caller throughout.
    """
    return _defer(function, **_UNCOUNTED)


def inner_view_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a `view_kernel` that is called only by kernels; see `inner_kernel`.

    Only a `view_kernel` or another such function may use arrays that it returns.
    """
    return _defer(function, **_INNER, **_UNCOUNTED)


def _compile(function: Callable[..., Any], options: dict[str, bool], *, is_stored: bool) -> Any:
    """Return numba's object for a function, which compiles it for the types of each call."""
    decorate = partial(load_numba().njit, nogil=True, error_model="numpy", **options)
    if not is_stored:
        return decorate()(function)
    with _cache_in(load_numba().config, kernel_folder()):
        compiled: Any = decorate(cache=True)(function)
    compiled._cache = _SharedCache(compiled._cache, kernel_folder())
    return compiled


@contextmanager
def call_at_compilation(function: Callable[[], object]) -> Iterator[None]:
    """Call a function whenever a kernel begins to be compiled within this context, in any thread.

    A kernel that is loaded from the cache is not compiled.
    """
    load_numba()
    event = import_module("numba.core.event")

    class Listener(event.Listener):  # type: ignore[name-defined]
        def on_start(self, _: Any) -> None:
            function()

        def on_end(self, _: Any) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield


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
def _cache_in(config: Any, folder: Path) -> Iterator[None]:
    """Set numba's cache folder for the kernels that are decorated within this context."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


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
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=-100)  # after workers have ended
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
