"""The cache of decoded images."""

import threading
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from calbatch.models.errors import FileError
from calbatch.models.fits import image_cache
from calbatch.models.fits.image_cache import decode_image
from calbatch.models.fits.layout import read_layout
from calbatch.models.fits.readers import RowReader


@pytest.fixture(autouse=True)
def _empty(monkeypatch):
    """Empty the cache for each test."""
    monkeypatch.setattr(image_cache, "_entries", type(image_cache._entries)())


def test_an_image_is_native_and_read_only(tmp_path):
    path = tmp_path / "a.fits"
    pixels = np.arange(12, dtype="i2").reshape(3, 4)
    fits.CompImageHDU(pixels).writeto(path)
    stamp = read_layout(path).stamp
    image = decode_image(stamp, 1)
    assert image.dtype == np.dtype("i2")
    assert not image.flags.writeable
    assert decode_image(stamp, 1) is image
    np.testing.assert_array_equal(image, pixels)


def test_an_image_larger_than_memory_is_refused(tmp_path, monkeypatch):
    def refuse(path, size, what):
        raise FileError(path, f"{what} is too much: {size}")

    monkeypatch.setattr(image_cache, "require_memory", refuse)
    path = tmp_path / "a.fits"
    fits.CompImageHDU(np.zeros((3, 4), "f8")).writeto(path)
    with pytest.raises(FileError, match="decoding HDU 1 as a whole is too much: 96"):
        decode_image(read_layout(path).stamp, 1)


def test_the_cache_keeps_the_latest_images_within_its_limit(tmp_path, monkeypatch):
    calls = []
    decode = image_cache._decode
    monkeypatch.setattr(image_cache, "_decode", lambda *a: calls.append(a[0].path) or decode(*a))
    monkeypatch.setattr(image_cache, "LIMIT", 2 * 30 * 40 * 4)
    found = []
    for name in "abc":
        path = tmp_path / f"{name}.fits"
        fits.CompImageHDU(np.zeros((30, 40), "i4")).writeto(path)
        found.append(RowReader(read_layout(path).hdus[1]))
    a, b, c = found
    for reader in (a, a, b, a, c, a, b):  # c replaces b, which was used before a
        reader.read((0, 1), (0, 1))
    assert [Path(path).stem for path in calls] == ["a", "b", "c", "b"]


def test_concurrent_threads_decode_an_image_once(tmp_path, monkeypatch):
    calls = []
    decode = image_cache._decode
    monkeypatch.setattr(image_cache, "_decode", lambda *a: calls.append(a) or decode(*a))
    path = tmp_path / "a.fits"
    fits.CompImageHDU(np.arange(120_000, dtype="i4").reshape(300, 400)).writeto(path)
    reader = RowReader(read_layout(path).hdus[1])
    threads = [threading.Thread(target=reader.read, args=((0, 9), (0, 9))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
