"""The FITS checksum: a ones'-complement sum of 32-bit words.

Source: FITS standard 4.0, section 4.4.2.7 and appendix J (Seaman, Pence and Rots). Such sums add in
any order, so that the sums of parts written by different processes give the sum of the whole.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.fits.byteorder import byteswap
from calbatch.models.jit import kernel

ALL_ONES = 0xFFFFFFFF

# Characters between the digits and the letters, which the coded form leaves out.
_PUNCTUATION = frozenset(range(0x3A, 0x41)) | frozenset(range(0x5B, 0x61))


@kernel
def _add_words(words: npt.NDArray[np.uint32]) -> Any:
    total = np.uint64(0)
    for i in range(words.size):
        total += np.uint64(byteswap(words[i]))
    return total


def fold(total: int) -> int:
    """Bring a sum back to 32 bits, adding the carries at the low end."""
    while total > ALL_ONES:
        total = (total & ALL_ONES) + (total >> 32)
    return total


def add(*sums: int) -> int:
    """Return the sum of sums; their order does not matter."""
    return fold(sum(sums))


def checksum(
    data: bytes | bytearray | memoryview | npt.NDArray[np.uint8], position: int = 0
) -> int:
    """Return the sum of some bytes of a data unit.

    Parameters
    ----------
    data : bytes or ndarray of uint8
        Bytes as stored in the file; any number of them.
    position : int
        Where the first one lies in its data unit: words begin at multiples of four.

    Returns
    -------
    int
        The 32-bit sum. The sums of a data unit's pieces add to the sum of the whole.
    """
    octets = np.frombuffer(data, np.uint8)
    whole = octets.size - octets.size % 4
    words = octets[:whole].view(np.uint32)
    if not words.flags.aligned:
        words = words.copy()  # or it would be one more version of the kernel
    last = octets[whole:].tobytes().ljust(4, b"\0")
    value = fold(int(_add_words(words)) + int.from_bytes(last, "big"))
    # A piece that begins within a word adds up rotated, since carries run around the end.
    shift = 8 * (position % 4)
    return ((value >> shift) | (value << (32 - shift))) & ALL_ONES


def encode(value: int) -> str:
    """Return the 16 letters and digits that CHECKSUM holds for a 32-bit value.

    Parameters
    ----------
    value : int
        The complement of the HDU's sum, taken with 16 zeros (as characters) in CHECKSUM's place.
    """
    columns = [_encode_byte(octet) for octet in value.to_bytes(4, "big")]
    text = "".join(chr(column[row]) for row in range(4) for column in columns)
    # The value of a card begins at its twelfth byte, one before a word.
    return text[-1] + text[:-1]


def _encode_byte(octet: int) -> list[int]:
    """Split a byte into four letters or digits that add up to it, each counted from "0"."""
    quotient, remainder = divmod(octet, 4)
    digits = [0x30 + quotient] * 4
    digits[0] += remainder
    for low in (0, 2):
        while digits[low] in _PUNCTUATION or digits[low + 1] in _PUNCTUATION:
            digits[low] += 1
            digits[low + 1] -= 1
    return digits


def warm_kernels() -> None:
    """Compile this module's kernels, or load them from numba's cache."""
    checksum(b"1234")  # read-only arrays have a version of their own
    checksum(np.zeros(4, np.uint8))
