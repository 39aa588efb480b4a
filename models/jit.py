"""The one decorator that compiles kernels."""

from collections.abc import Callable
from typing import Any

import numba


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` with numba, without the GIL and cached on disk.

    Fast-math stays off: results must be the same bit for bit whatever the vector width, and NaN
    marks unusable samples. A kernel runs on one thread: parallelism is over tiles and exposures.
    """
    return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
