"""The one way in which kernels are compiled."""

from collections.abc import Callable
from typing import Any

import numba

_njit: Any = numba.njit  # its annotations leave out some of its options


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
    compiled: Callable[..., Any] = _njit(nogil=True, cache=True, error_model="numpy", **options)(
        function
    )
    return compiled
