"""The FITS checksum: a ones'-complement sum of 32-bit words.

Source: FITS standard 4.0, section 4.4.2.7 and appendix J (Seaman, Pence and Rots). The sums of
parts, written by different processes, can be added in any order.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.fits.byteorder import byteswap
from calbatch.models.jit import kernel

ALL_ONES = 0xFFFFFFFF
WORD = 4
"""Size of the words that are added, in bytes."""

# Characters between digits and letters, which the encoded form does not use.
_PUNCTUATION = frozenset(range(0x3A, 0x41)) | frozenset(range(0x5B, 0x61))


@kernel
def _add_words(words: npt.NDArray[np.uint32]) -> Any:
    total = np.uint64(0)
    for i in range(words.size):
        total += np.uint64(byteswap(words[i]))
    return total


def fold(total: int) -> int:
    """Reduce a sum to 32 bits, adding the carries at the low end."""
    while total > ALL_ONES:
        total = (total & ALL_ONES) + (total >> 32)
    return total


def add(*sums: int) -> int:
    """Return the sum of checksums, in any order."""
    return fold(sum(sums))


def checksum(
    data: bytes | bytearray | memoryview | npt.NDArray[np.uint8], position: int = 0
) -> int:
    """Return the sum of some bytes of a data unit.

    Parameters
    ----------
    data : bytes or ndarray of uint8
        Stored bytes, any number of them.
    position : int
        Position of the first byte in its data unit, in which words begin at multiples of four.

    Returns
    -------
    int
        The 32-bit sum. The sums of a data unit's parts add up to the sum of the whole.
    """
    octets = np.frombuffer(data, np.uint8)
    whole = octets.size - octets.size % WORD
    words = octets[:whole].view(np.uint32)
    if not words.flags.aligned:
        words = words.copy()  # avoids another version of the kernel
    last = octets[whole:].tobytes().ljust(WORD, b"\0")
    value = fold(int(_add_words(words)) + int.from_bytes(last, "big"))
    # The sum of a part that begins within a word is rotated, because carries wrap around.
    shift = 8 * (position % WORD)
    return ((value >> shift) | (value << (32 - shift))) & ALL_ONES


def encode(value: int) -> str:
    """Return a 32-bit value as the 16 letters and digits of a CHECKSUM card.

    Parameters
    ----------
    value : int
        The complement of the HDU's sum with the value of CHECKSUM set to 16 characters "0".
    """
    columns = [_encode_byte(octet) for octet in value.to_bytes(WORD, "big")]
    text = "".join(chr(column[row]) for row in range(4) for column in columns)
    # The value of a card begins at its twelfth byte, one byte before a word.
    return text[-1] + text[:-1]


def _encode_byte(octet: int) -> list[int]:
    """Split a byte into four letters or digits whose offsets from "0" add up to it."""
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
    checksum(b"1234")  # read-only arrays have their own version
    checksum(np.zeros(4, np.uint8))
