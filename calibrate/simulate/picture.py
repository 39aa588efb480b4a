"""A picture of a calibrated exposure beside its truth."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.truth import Truth
from calbatch.models.dq import DO_NOT_USE, SATURATED
from calbatch.models.model import DataModel
from calbatch.models.plotting.stretch import choose_norm

Image = NDArray[Any]

CORNER = slice(0, 256)  # includes stars and reference pixels, with visible pixels
COLOURS = 64  # few colours keep the file small, because noise hardly compresses
PULLS = 4.0  # standard deviations: range of the colours


def draw(path: Path, raw: DataModel, rate: DataModel, truth: Truth) -> None:
    """Draw a corner of an exposure: raw, calibrated, true, and the deviation of the last two.

    Parameters
    ----------
    path : Path
        The PNG file.
    raw, rate : DataModel
        The raw exposure and its rate.
    truth : Truth
        The truth of the exposure.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    from matplotlib.figure import Figure
    from PIL import Image as Pictures  # a dependency of matplotlib

    figure = Figure(figsize=(10.4, 2.85), layout="constrained")
    panels = _panels(raw, rate, truth)
    for axis, (title, image, style) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axis.imshow(image, origin="lower", interpolation="nearest", **style)
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    picture = Pictures.open(buffer).convert("RGB")
    picture.quantize(COLOURS, dither=Pictures.Dither.NONE).save(path, "PNG", optimize=True)


def _panels(raw: DataModel, rate: DataModel, truth: Truth) -> list[tuple[str, Image, Any]]:
    """Return the title, image and style of each panel."""
    ramp = _cut(raw.data[0])
    measured, true = _cut(rate.data), _cut(truth.rate)
    usable = _cut(truth.good) & ((_cut(rate.dq) & (DO_NOT_USE | SATURATED)) == 0)
    pull = np.where(usable, (measured - true) / _cut(rate.err), np.nan)
    score = f"{np.nanmean(pull):.2f} ± {np.nanstd(pull):.2f}"
    counts = ramp[-1].astype("f4") - ramp[0]
    style = {"norm": choose_norm([measured], "asinh", "percentile"), "cmap": "magma"}
    of_counts = {"norm": choose_norm([counts], "asinh", "percentile"), "cmap": "magma"}
    return [
        ("raw: last group less first", counts, of_counts),
        ("calibrated rate", measured, style),
        ("truth", true, style),
        (
            f"(rate - truth) / error: {score}",
            pull,
            {"vmin": -PULLS, "vmax": PULLS, "cmap": "RdBu_r"},
        ),
    ]


def _cut(array: Any) -> Image:
    return np.asarray(array[..., CORNER, CORNER])
