"""A picture of a calibrated exposure beside its truth. Needs matplotlib (the extra ``plot``)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.truth import Truth
from calbatch.models.dq import DO_NOT_USE, SATURATED
from calbatch.models.model import DataModel

Image = NDArray[Any]

CORNER = slice(0, 256)  # stars and reference pixels, and each pixel can be seen
COLOURS = 64  # noise hardly compresses: fewer colours keep the picture small
PULLS = 4.0  # standard deviations that the colours span


def draw(path: Path, raw: DataModel, rate: DataModel, truth: Truth) -> None:
    """Draw a corner of an exposure: raw, calibrated, true, and how far apart these are.

    Parameters
    ----------
    path : Path
        The PNG file.
    raw, rate : DataModel
        The exposure and its rate.
    truth : Truth
        What was simulated.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    OSError
        When the file cannot be written.
    """
    from matplotlib.figure import Figure
    from PIL import Image as Pictures  # matplotlib stands on it

    figure = Figure(figsize=(10.4, 2.85), layout="constrained")
    panels = _panels(raw, rate, truth)
    for axis, (title, image, look) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axis.imshow(image, origin="lower", interpolation="nearest", **look)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    picture = Pictures.open(buffer).convert("RGB")
    picture.quantize(COLOURS, dither=Pictures.Dither.NONE).save(path, "PNG", optimize=True)


def _panels(raw: DataModel, rate: DataModel, truth: Truth) -> list[tuple[str, Image, Any]]:
    """Return title, image and looks of each panel."""
    ramp = _cut(raw.data[0])
    found, wanted = _cut(rate.data), _cut(truth.rate)
    usable = _cut(truth.good) & ((_cut(rate.dq) & (DO_NOT_USE | SATURATED)) == 0)
    pull = np.where(usable, (found - wanted) / _cut(rate.err), np.nan)
    score = f"{np.nanmean(pull):.2f} ± {np.nanstd(pull):.2f}"
    counts = ramp[-1].astype("f4") - ramp[0]
    look = _bright(found)
    return [
        ("raw: last group less first", counts, _bright(counts)),
        ("calibrated rate", found, look),
        ("truth", wanted, look),
        (
            f"(rate - truth) / error: {score}",
            pull,
            {"vmin": -PULLS, "vmax": PULLS, "cmap": "RdBu_r"},
        ),
    ]


def _cut(array: Any) -> Image:
    return np.asarray(array[..., CORNER, CORNER])


def _bright(image: Image) -> dict[str, Any]:
    """Return a look in which both sky and stars are seen."""
    from matplotlib.colors import AsinhNorm

    low, middle, high = np.nanpercentile(image, [1, 70, 99.8])
    norm = AsinhNorm(linear_width=middle - low, vmin=low, vmax=high)
    return {"norm": norm, "cmap": "magma"}
