"""Cache of decoded images that cannot be read row by row.

Tile-compressed, gzipped and scaled images are decoded as a whole by astropy. Each process caches
the latest ones, up to a limit of bytes, so that an image is not decoded again for each tile.
"""

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.models.fits.astropy_hdu import open_astropy_hdu
from calbatch.models.storage.memory import require_memory
from calbatch.models.storage.stamps import Stamp

LIMIT = 512 << 20
"""Maximum number of bytes in the cache, which may be exceeded by the newest image alone."""


@dataclass
class _CachedImage:
    lock: threading.Lock = field(default_factory=threading.Lock)
    array: npt.NDArray[Any] | None = None


_entries: OrderedDict[tuple[Stamp, int], _CachedImage] = OrderedDict()
_entries_lock = threading.Lock()


def decode_image(stamp: Stamp, index: int) -> npt.NDArray[Any]:
    """Return the whole image of an HDU, native and read-only, from the cache if possible.

    Parameters
    ----------
    stamp : Stamp
        The file, which must not have changed.
    index : int
        The HDU's index in the file.

    Raises
    ------
    FileError
        If the file has changed, or astropy cannot decode the image.
    """
    with _entries_lock:
        entry = _entries.setdefault((stamp, index), _CachedImage())
        _entries.move_to_end((stamp, index))
    with entry.lock:  # other threads wait for the image instead of decoding it, too
        if entry.array is None:
            entry.array = _decode(stamp, index)
            _forget_oldest()
        return entry.array


def _forget_oldest() -> None:
    with _entries_lock:
        total = sum(entry.array.nbytes for entry in _entries.values() if entry.array is not None)
        while total > LIMIT and len(_entries) > 1:
            _, oldest = _entries.popitem(last=False)
            total -= 0 if oldest.array is None else oldest.array.nbytes


def _size(hdu: Any) -> int:
    return math.prod(hdu.shape) * max(4, abs(hdu.header.get("BITPIX", 8)) // 8)


def _decode(stamp: Stamp, index: int) -> npt.NDArray[Any]:
    with open_astropy_hdu(stamp, index, f"HDU {index}") as hdu:
        require_memory(stamp.path, _size(hdu), f"decoding HDU {index} as a whole")
        data = hdu.data
        array = np.ascontiguousarray(data, data.dtype.newbyteorder("="))
    array.flags.writeable = False
    return array
