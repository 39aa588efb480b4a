"""The pages of files that the system keeps in memory."""

import ctypes
import mmap
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

PAGE = mmap.PAGESIZE


def count_cached_pages(path: Path, start: int = 0, stop: int | None = None) -> int:
    """Return how many pages of a file, or of a range of it, are in the system's cache."""
    with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE)) as pages:
        count = -(-len(pages) // PAGE)
        states = (ctypes.c_ubyte * count)()
        first = ctypes.c_char.from_buffer(pages)
        try:
            failed = ctypes.CDLL(None, use_errno=True).mincore(
                ctypes.byref(first), ctypes.c_size_t(len(pages)), states
            )
        finally:
            del first  # or the mapping could not be closed
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    chosen = slice(start // PAGE, None if stop is None else stop // PAGE)
    return int((np.frombuffer(states, np.uint8)[chosen] & 1).sum())


def require_releasable_pages(folder: Path) -> None:
    """Skip a test if files in a folder are always in memory, or cannot be asked about."""
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("this system takes no advice about the pages of files")
    probe = folder / "probe"
    try:
        with probe.open("wb", buffering=0) as file:
            file.write(bytes(1 << 20))
            os.fsync(file.fileno())
            before = count_cached_pages(probe)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            after = count_cached_pages(probe)
    except (OSError, AttributeError) as error:
        pytest.skip(f"this system does not say which pages of files are in memory: {error}")
    finally:
        probe.unlink()
    if before < (1 << 20) // PAGE or after:
        pytest.skip("the file system of temporary files does not use the system's cache")
