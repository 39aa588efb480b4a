"""Models to plot, and the contents of figures."""

import io

import numpy as np
from matplotlib.image import AxesImage

from calbatch.models.datamodels import ImageModel, RampModel

HOSTILE = "a $\\frac{x$ <script>_^ \x1b[31m\n" + "y" * 10_000
"""A text with formulas, HTML, control characters and too many characters."""

SKY = {
    "wcsaxes": 2, "crpix1": 20.0, "crpix2": 15.0, "crval1": 80.0, "crval2": -69.0,
    "cdelt1": 1e-5, "cdelt2": 1e-5, "ctype1": "RA---TAN", "ctype2": "DEC--TAN",
    "cunit1": "deg", "cunit2": "deg", "pc1_1": -1.0, "pc1_2": 0.0, "pc2_1": 0.0, "pc2_2": 1.0,
}  # fmt: skip
"""World coordinates of an image, below ``meta.wcsinfo``."""


def make_image(shape=(30, 40), **fields):
    """Return an image of noise around 10 DN/s."""
    pixels = np.random.default_rng(0).normal(10, 1, shape).astype("f4")
    model = ImageModel(pixels, **fields)
    model.meta.bunit_data = "DN/s"
    return model


def make_ramp(shape=(2, 6, 8, 9)):
    """Return ramps of 100 DN per group of 10 s, with noise."""
    noise = np.random.default_rng(0).normal(0, 5, shape)
    model = RampModel((100 * np.arange(shape[1])[:, None, None] + noise).astype("f4"))
    model.meta.bunit_data = "DN"
    model.meta.exposure.group_time = 10.0
    return model


def render(figure):
    """Return a figure as PNG: all of its texts and images are drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    return buffer.getvalue()


def shown_values(axes):
    """Return the values of the image in axes; values that are not finite are masked."""
    return next(c for c in axes.get_children() if isinstance(c, AxesImage)).get_array()


def shown_flags(axes):
    """Return the pixels, as a set of (x, y), that are drawn with each flag."""
    found = {}
    for line in axes.get_lines():
        found[line.get_label()] = set(zip(*map(list, line.get_data()), strict=True))
    for image in axes.get_images()[1:]:
        rows, columns = np.nonzero(~np.ma.getmaskarray(image.get_array()))
        found[image.get_label()] = set(zip(columns.tolist(), rows.tolist(), strict=True))
    return found


def legend_texts(axes):
    """Return the texts of the legend in axes."""
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]
