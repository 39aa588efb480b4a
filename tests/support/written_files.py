"""Files to be written: their HDUs, arrays and writers."""

import numpy as np

from calbatch.models.fits.writer import FitsWriter, OutputImage

PRIMARY = OutputImage(name="", extname="PRIMARY")


def random_array(shape, dtype, seed=0):
    """Return an array of random bits."""
    bits = np.random.default_rng(seed).bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    found = np.frombuffer(bits, dtype if dtype != "?" else "u1").reshape(shape)
    return found if dtype != "?" else found > 99


def image_part(name, array, *cards):
    """Return an image HDU to be written."""
    return OutputImage(
        name=name, extname=name.upper(), dtype=array.dtype, shape=array.shape, cards=cards
    )


def two_fields(path, **options):
    """Return the writer of a file with two images, and their arrays."""
    data, dq = random_array((2, 5, 4), "f4"), random_array((5, 4), "u4")
    cards = [("COUNT", 0, "number of jumps"), ("NOTE", "x" * 150, "")]
    parts = [
        OutputImage(name="", extname="PRIMARY", cards=cards),
        image_part("data", data),
        image_part("dq", dq),
    ]
    return FitsWriter(path, parts, **options), data, dq


def finish_file(writer, data, dq, updates=None):
    """Write both images of `two_fields`, and publish the file."""
    writer.prepare()
    receipts = [writer.write_rows("data", (0, 5), data), writer.write_rows("dq", (0, 5), dq)]
    return writer.finish(receipts, updates)
