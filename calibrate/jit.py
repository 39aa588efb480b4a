"""The one decorator that compiles kernels."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` with numba, without the GIL and cached on disk.

    Fast-math stays off: results must be the same bit for bit whatever the vector width, and NaN
    marks unusable samples. A kernel runs on one thread: parallelism is over tiles and exposures.
    """
    return numba.njit(nogil=True, cache=True, error_model="numpy")(function)


def inner_kernel(function: F) -> F:
    """Compile a function that only kernels call.

    Without the entry for Python it compiles in half the time, above all when it takes tuples of
    arrays.
    """
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function)
