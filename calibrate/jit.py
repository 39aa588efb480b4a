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
