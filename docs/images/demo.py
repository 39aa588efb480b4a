"""Draw the README's picture from what ``calbatch demo`` left in a folder.

Usage: python docs/images/demo.py calbatch-demo docs/images/demo.png  (needs matplotlib)
"""

import io
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import AsinhNorm
from PIL import Image

from calbatch.calibrate.simulate import read_truth
from calbatch.models import datamodels

CORNER = slice(0, 256)  # stars and reference pixels, and each pixel can be seen
COLOURS = 96  # noise hardly compresses: fewer colours keep the picture small


def found(folder, pattern):
    """Return the first file of a kind."""
    return min(folder.rglob(pattern))


def cut(array):
    """Return the corner of an image that is shown."""
    return np.asarray(array[..., CORNER, CORNER], "f4")


def panels(folder):
    """Return title, image and looks of each panel."""
    raw = datamodels.open(found(folder, "*_uncal.fits"))
    rate = datamodels.open(found(folder, "*_rate.fits"))
    truth = read_truth(found(folder, "*_truth.fits"))
    ramp = cut(raw.data[0])
    usable = truth.good[CORNER, CORNER] & (np.asarray(rate.dq[CORNER, CORNER]) & 3 == 0)
    pull = np.where(usable, (cut(rate.data) - cut(truth.rate)) / cut(rate.err), np.nan)
    score = f"{np.nanmean(pull):.2f} ± {np.nanstd(pull):.2f}"
    return [
        ("raw: last group less first", ramp[-1] - ramp[0], bright(ramp[-1] - ramp[0])),
        ("calibrated rate", cut(rate.data), bright(cut(rate.data))),
        (f"(rate - truth) / error: {score}", pull, {"vmin": -4, "vmax": 4, "cmap": "RdBu_r"}),
    ]


def bright(image):
    """Return a look in which both sky and stars are seen."""
    low, middle, high = np.nanpercentile(image, [1, 70, 99.8])
    norm = AsinhNorm(linear_width=middle - low, vmin=low, vmax=high)
    return {"norm": norm, "cmap": "magma"}


def main():
    """Draw the picture."""
    mpl.use("Agg")
    drawn = panels(Path(sys.argv[1]))
    figure, axes = plt.subplots(1, len(drawn), figsize=(8.1, 2.9), layout="constrained")
    for axis, (title, image, look) in zip(axes, drawn, strict=True):
        axis.imshow(image, origin="lower", interpolation="nearest", **look)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    picture = Image.open(buffer).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(sys.argv[2], optimize=True)


if __name__ == "__main__":
    main()
