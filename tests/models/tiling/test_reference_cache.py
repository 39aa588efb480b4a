"""The reference cache: it returns the right rows, and stays within its limit."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import dask
import numpy as np
import pytest
from astropy.io import fits

from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.readers import ArrayReader, Reader, RowReader
from calbatch.models.jit import for_kernel
from calbatch.models.storage.memory import has_own_pages
from calbatch.models.tiling import reference_cache

ROWS, COLS = 64, 32
BAND = 8
BAND_BYTES = BAND * COLS * 4
BANDS = [(row, row + BAND) for row in range(0, ROWS, BAND)]
ALL = (0, COLS)


@pytest.fixture(autouse=True)
def empty_cache():
    reference_cache.clear()
    yield
    reference_cache.clear()


@pytest.fixture
def array():
    return np.random.default_rng(1).normal(size=(ROWS, COLS)).astype("f4")


@pytest.fixture
def reader(tmp_path, array):
    return write_reference(tmp_path / "reference.fits", array)


def write_reference(path, array) -> Reader:
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(array)]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return RowReader(read_layout(path).hdus[1])


def cache_limit(limit):
    return dask.config.set({reference_cache.SETTING: limit})


def test_the_cache_is_off_by_default(reader, array):
    first, second = (reference_cache.read_shared_rows(reader, (3, 9), ALL) for _ in range(2))
    assert reference_cache.cached_bytes() == 0
    assert first is not second
    np.testing.assert_array_equal(second, array[3:9])


def test_requests_and_hits_are_counted(reader):
    requests, hits = reference_cache.count_requests()
    with cache_limit(2**20):
        for rows in ((0, 4), (0, 4), (4, 8), (0, 4)):
            reference_cache.read_shared_rows(reader, rows, ALL)
    assert reference_cache.count_requests() == (requests + 4, hits + 2)


def test_equal_requests_return_the_same_array(reader, array):
    with cache_limit(2**20):
        reference_cache.read_shared_rows(reader, (3, 9), ALL)
        first, second = (reference_cache.read_shared_rows(reader, (3, 9), ALL) for _ in range(2))
    assert first is second
    assert reference_cache.cached_bytes() == first.nbytes
    np.testing.assert_array_equal(first, array[3:9])


@pytest.mark.parametrize("change", [None, np.negative])
def test_cached_arrays_have_their_own_pages(reader, array, change):
    """They outlast the arrays of tiles, which would leave gaps between them."""
    reader = reader.then(change) if change else reader
    with cache_limit(2**20):
        first, second = (reference_cache.read_shared_rows(reader, (3, 9), ALL) for _ in range(2))
    assert has_own_pages(second)
    assert (first is second) == (change is None)  # it was read there, or copied there
    np.testing.assert_array_equal(second, change(array[3:9]) if change else array[3:9])


def test_an_array_beyond_the_limit_is_read_as_without_a_cache(reader, array):
    with cache_limit(array[:6].nbytes - 1):
        rows = reference_cache.read_shared_rows(reader, (0, 6), ALL)
    assert not has_own_pages(rows)
    assert reference_cache.cached_bytes() == 0
    np.testing.assert_array_equal(rows, array[:6])


@pytest.mark.parametrize("limit", [0, 2**20])
def test_shared_arrays_are_read_only(reader, limit):
    with cache_limit(limit):
        for _ in range(2):
            shared = reference_cache.read_shared_rows(reader, (0, 4), ALL)
            assert not shared.flags.writeable


def test_kernels_take_cached_arrays_without_a_copy(reader):
    with cache_limit(2**20):
        reference_cache.read_shared_rows(reader, (0, 4), ALL)
        shared = reference_cache.read_shared_rows(reader, (0, 4), ALL)
    given = for_kernel(shared)
    assert given.flags.writeable
    assert given.ctypes.data == shared.ctypes.data
    assert not shared.flags.writeable
    message = np.frombuffer(bytes(16), "f4")
    assert for_kernel(message).flags.writeable
    assert not np.shares_memory(for_kernel(message), message)


def test_different_readers_of_a_file_do_not_share_arrays(reader, array):
    with cache_limit(2**20):
        reference_cache.read_shared_rows(reader, (0, 4), (0, 4))
        part = reader.section(8, 16, 4, 8)
        np.testing.assert_array_equal(
            reference_cache.read_shared_rows(part, (0, 4), (0, 4)), array[8:12, 4:8]
        )
        wide = reference_cache.read_shared_rows(reader.astype("f8"), (0, 4), (0, 4))
        assert wide.dtype == np.float64
        for shift in (1.0, 2.0):
            moved = reader.then(partial(np.add, shift))
            found = reference_cache.read_shared_rows(moved, (0, 4), (0, 4))
            np.testing.assert_array_equal(found, array[:4, :4] + np.float32(shift))


@pytest.fixture
def wide(tmp_path):
    """A reference that is wide enough for a few of its columns to be kept, and its array."""
    array = np.arange(4 * 512, dtype="f4").reshape(4, 512)
    return write_reference(tmp_path / "wide.fits", array), array


def test_a_few_columns_are_kept_in_any_case(wide):
    reader, array = wide
    sides = [(0, 4), (508, 512)]
    first, second = (reference_cache.read_shared_columns(reader, (0, 4), sides) for _ in range(2))
    for kept, found, (start, stop) in zip(first, second, sides, strict=True):
        assert not found.flags.writeable
        np.testing.assert_array_equal(kept, array[:, start:stop])
        np.testing.assert_array_equal(found, array[:, start:stop])
    again = reference_cache.read_shared_columns(reader, (0, 4), sides)
    assert all(one is other for one, other in zip(second, again, strict=True))
    assert reference_cache.cached_bytes() == 0


def test_columns_beyond_the_limit_are_not_kept(wide, monkeypatch):
    reader, array = wide
    monkeypatch.setattr(reference_cache, "COLUMN_BYTES", 8192)  # of one array, with its page
    for cols in ((0, 4), (4, 8), (8, 12)):
        found = [reference_cache.read_shared_rows(reader, (0, 4), cols) for _ in range(3)]
        assert (found[1] is found[2]) == (cols == (0, 4))
        np.testing.assert_array_equal(found[2], array[:, slice(*cols)])


def test_arrays_in_memory_are_not_cached(array):
    with cache_limit(2**20):
        values = ArrayReader(array)
        reference_cache.read_shared_rows(values, (0, 4), ALL)
        array[:] = 0
        assert not reference_cache.read_shared_rows(values, (0, 4), ALL).any()
    assert reference_cache.cached_bytes() == 0


def test_a_replaced_file_is_read_again(reader, array, tmp_path):
    path = tmp_path / "reference.fits"
    with cache_limit(2**20):
        reference_cache.read_shared_rows(reader, (0, 4), ALL)
        after = path.stat().st_mtime_ns + 10**9
        changed = write_reference(path, array + 1)
        os.utime(path, ns=(after, after))
        changed = RowReader(read_layout(path).hdus[1])
        np.testing.assert_array_equal(
            reference_cache.read_shared_rows(changed, (0, 4), ALL), array[:4] + 1
        )


@pytest.mark.parametrize("limit", [1, BAND_BYTES, 3 * BAND_BYTES + 5, 100 * BAND_BYTES])
def test_the_cache_stays_within_its_limit(reader, limit):
    with cache_limit(limit):
        for _ in range(20):
            for band in BANDS:
                reference_cache.read_shared_rows(reader, band, ALL)
                assert reference_cache.cached_bytes() <= limit
    assert reference_cache.cached_bytes() == BAND_BYTES * min(len(BANDS), limit // BAND_BYTES)


def test_a_lower_limit_shrinks_the_cache(reader):
    with cache_limit(100 * BAND_BYTES):
        for band in BANDS:
            reference_cache.read_shared_rows(reader, band, ALL)
    with cache_limit(2 * BAND_BYTES):
        reference_cache.read_shared_rows(reader, (0, 1), ALL)
    assert reference_cache.cached_bytes() <= 2 * BAND_BYTES


def test_the_arrays_used_last_stay_if_the_limit_falls(reader):
    with cache_limit(2**20):
        for _ in range(2):
            rows = [reference_cache.read_shared_rows(reader, band, ALL) for band in BANDS]
        with cache_limit(2 * BAND_BYTES):
            reference_cache.drop_excess()
        assert reference_cache.cached_bytes() == 2 * BAND_BYTES
        again = [reference_cache.read_shared_rows(reader, band, ALL) for band in BANDS[-2:]]
    assert all(a is b for a, b in zip(rows[-2:], again, strict=True))


def test_a_cache_that_is_too_small_still_serves_every_exposure(reader):
    """Of rows that are requested in turn, as many are found as fit."""
    with cache_limit(len(BANDS) // 2 * BAND_BYTES):
        for _ in range(5):
            passes = [
                [reference_cache.read_shared_rows(reader, b, ALL) for b in BANDS] for _ in range(2)
            ]
    same = sum(a is b for a, b in zip(*passes, strict=True))
    assert same == len(BANDS) // 2


def test_unused_arrays_make_room(reader, array, tmp_path):
    other = write_reference(tmp_path / "other.fits", array + 1)
    limit = len(BANDS) * BAND_BYTES
    with cache_limit(limit):
        for band in BANDS:
            reference_cache.read_shared_rows(reader, band, ALL)
        for _ in range(2 * reference_cache.PATIENCE):
            rows = [reference_cache.read_shared_rows(other, band, ALL) for band in BANDS]
        again = [reference_cache.read_shared_rows(other, band, ALL) for band in BANDS]
    assert all(a is b for a, b in zip(rows, again, strict=True))


def test_threads_share_the_cache(reader, array):
    bands = [(r % (ROWS - 3), r % (ROWS - 3) + 3) for r in range(600)]

    def is_right(band):
        shared = reference_cache.read_shared_rows(reader, band, ALL)
        return np.array_equal(shared, array[slice(*band)])

    with cache_limit(2**20), ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_right, bands))
    assert reference_cache.cached_bytes() == len(set(bands)) * 3 * COLS * 4
