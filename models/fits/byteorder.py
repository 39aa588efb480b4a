"""FITS byte order: big-endian words, and unsigned integers stored with their sign bit flipped.

The kernels work in place on small scratch buffers that stay in the processor's cache. Copying
through such a buffer costs almost nothing.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from calbatch.models.jit import intrinsic, kernel

if TYPE_CHECKING:
    from numba.core.types import Type
    from numba.core.typing.templates import Signature

SCRATCH_BYTES = 1 << 18
"""Size of the buffers between files and arrays, chosen to stay in the processor's cache."""

# Copies from and to the system's file cache take four times as long if one side begins up to 31
# bytes after the other modulo 4096. Large NumPy arrays do, because glibc places them 16 bytes into
# a page. Data units begin at multiples of 64 (2880 is 45 times 64), so aligned buffers never do.
_ALIGNMENT = 64

_UNSIGNED: dict[int, npt.DTypeLike] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def _swap_bytes(_context: Any, word: "Type") -> "tuple[Signature, Callable[..., Any]]":
    """Swap the bytes of an unsigned integer: one instruction, which LLVM vectorizes."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return builder.bswap(values[0])

    return word(word), generate


byteswap: Callable[..., Any] = intrinsic(_swap_bytes)
"""In kernels: return an unsigned integer with its bytes reversed."""


@kernel
def _swap_and_flip(words: npt.NDArray[Any], flip: Any) -> None:
    for i in range(words.size):
        words[i] = byteswap(words[i]) ^ flip


@kernel
def _flip_bytes(words: npt.NDArray[Any], flip: Any) -> None:
    for i in range(words.size):
        words[i] = words[i] ^ flip


def _is_offset(dtype: np.dtype[Any]) -> bool:
    """Return whether FITS has no code for a type and stores it with an offset (BZERO)."""
    return dtype == np.int8 or (dtype.kind == "u" and dtype.itemsize > 1)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return an uninitialized array at an address into which files are read fast."""
    size = math.prod(shape) * dtype.itemsize
    octets = np.empty(size + _ALIGNMENT, np.uint8)
    start = -octets.ctypes.data % _ALIGNMENT
    return octets[start : start + size].view(dtype).reshape(shape)


def bzero_of(dtype: np.dtype[Any]) -> int:
    """Return the BZERO of a stored type, such as 2**15 for uint16 and -128 for int8; 0 for none."""
    if not _is_offset(dtype):
        return 0
    return -128 if dtype == np.int8 else 1 << (8 * dtype.itemsize - 1)


def to_native(buffer: npt.NDArray[Any]) -> None:
    """Convert stored bytes to native values, in place.

    Parameters
    ----------
    buffer : ndarray, one-dimensional, contiguous
        The stored bytes, viewed as the native type. In types that FITS lacks (unsigned 16, 32 and
        64 bits, signed 8 bits), the sign bit is flipped, which is equivalent to adding BZERO.
    """
    _swap(buffer, 1 << (8 * buffer.dtype.itemsize - 1))


def to_fits(buffer: npt.NDArray[Any]) -> None:
    """Convert native values to stored bytes, in place; the inverse of `to_native`."""
    _swap(buffer, 0x80)  # the sign bit's place once the bytes are swapped


def _swap(buffer: npt.NDArray[Any], sign_bit: int) -> None:
    words = buffer.view(_UNSIGNED[buffer.dtype.itemsize])
    flip = words.dtype.type(sign_bit if _is_offset(buffer.dtype) else 0)
    if words.itemsize > 1:
        _swap_and_flip(words, flip)
    elif flip:
        _flip_bytes(words, flip)


def warm_kernels() -> None:
    """Compile this module's kernels, or load them from numba's cache."""
    for dtype in (np.int8, np.uint16, np.uint32, np.uint64):
        to_native(np.zeros(4, dtype))
