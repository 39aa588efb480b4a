"""Images of quick-looks: PNG that another decoder reads, and small enough for a report."""

import base64
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest

from calbatch.cluster.display.quick_look_images import (
    FORMATS,
    choose_format,
    draw_png,
    draw_quick_looks,
)
from calbatch.models.statistics.quick_look import QuickLook


def look(shape=(96, 95)):
    means = np.random.default_rng(4).normal(size=shape)
    means[0, 0] = np.nan
    return QuickLook.from_means(means)


def decode(text):
    """Return the grey levels of a PNG without filters, by its specification."""
    image, chunks, at = base64.b64decode(text, validate=True), {}, 8
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(image):
        length, kind = struct.unpack(">I4s", image[at : at + 8])
        data = image[at + 8 : at + 8 + length]
        (crc,) = struct.unpack(">I", image[at + 8 + length : at + 12 + length])
        assert crc == zlib.crc32(kind + data)
        chunks[kind], at = data, at + 12 + length
    width, height, bits, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [0, 0, 0, 0]
    assert chunks[b"tRNS"] == b"\0\0"
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    pixels = np.unpackbits(lines[:, 1:], axis=1).reshape(height, -1, bits)
    weights = 1 << np.arange(bits)[::-1]
    return (pixels * weights).sum(axis=2)[:, :width], bits


@pytest.mark.parametrize("form", FORMATS)
def test_images_are_png_with_the_levels_of_the_quick_look(form):
    quick_look = look()
    text = draw_png(quick_look, form)
    pixels, bits = decode(text)
    assert max(pixels.shape) <= form.size
    assert len(text) <= form.longest()
    if form.size >= 96:
        levels = quick_look.levels()
        wanted = levels if bits == 8 else np.ceil(levels / 17)
        np.testing.assert_allclose(pixels, wanted, atol=0 if bits == 8 else 1)
        np.testing.assert_array_equal(pixels == 0, levels == 0)


def test_the_best_format_that_fits_is_chosen():
    assert choose_format(1) == FORMATS[0]
    assert choose_format(10**9) is None
    for count in (3000, 10_000):
        form = choose_format(count)
        assert form not in (None, FORMATS[0])
        better = FORMATS[FORMATS.index(form) - 1]
        assert count * form.longest() <= 32_000_000 < count * better.longest()


def test_a_damaged_quick_look_is_an_error():
    with pytest.raises(ValueError, match="quick-look"):
        draw_png(replace(look(), packed=b""), FORMATS[0])


def test_a_damaged_quick_look_is_left_out():
    look = QuickLook.from_means(np.arange(12.0).reshape(3, 4))
    damaged = QuickLook(height=3, width=4, low=0.0, high=1.0, packed=b"damaged")
    drawn = list(draw_quick_looks([("/out/a.fits", damaged), ("s3://out/b.fits", look)]))
    assert drawn == [("b.fits", draw_png(look, FORMATS[0]))]
