"""Cliff: CPU time against pixels and samples, for exposures of any shape.

time = a + b x pixels + c x samples is fitted, where a sample is one pixel of one group. The plot is
``benchmarks/cliff.png``; with ``--quick``, it is in the folder of the inputs.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from setting import HERE, Setting
from shapes import FULL_FRAME, Shape, calibrate_shape
from tables import Table

SHAPES: tuple[Shape, ...] = (
    (1, 2, 64, 64),
    (1, 100, 64, 64),
    (100, 10, 64, 64),
    (1000, 5, 64, 64),
    (1, 10, 256, 256),
    (40, 8, 256, 2048),
    (500, 10, 32, 2048),
    (1, 2, 512, 512),
    (1, 100, 512, 512),
    (10, 10, 512, 512),
    (1000, 5, 128, 128),
    (1, 2, 2048, 2048),
    FULL_FRAME,
    (10, 10, 2048, 2048),
    (1, 100, 2048, 2048),
)
"""Integrations, groups, rows, columns."""
QUICK: tuple[Shape, ...] = ((1, 2, 64, 64), (1, 20, 64, 64), (20, 5, 64, 64), (1, 10, 128, 128))
ALLOWED = 2.0
"""Allowed ratio of a measured time to the fitted one, or its inverse."""

Array = npt.NDArray[np.float64]


def measure(setting: Setting) -> list[Table]:
    """Return the tables of this section."""
    shapes = QUICK if setting.quick else SHAPES
    costs = [calibrate_shape(setting, shape) for shape in shapes]
    seconds = np.array([cost["seconds"] for cost in costs])
    terms = list_terms(shapes)
    coefficients = fit_times(terms, seconds)
    fitted = terms @ coefficients
    columns = ["integrations x groups x rows x columns", "CPU s", "fitted s", "measured / fitted",
               "memory / stated"]  # fmt: skip
    table = Table("CPU time per exposure: a + b x pixels + c x samples, one process", columns)
    for shape, cost, time, fit in zip(shapes, costs, seconds, fitted, strict=True):
        more = (cost["peak"] - cost["baseline"]) / cost["budget"]
        name = " x ".join(map(str, shape))
        table.rows.append([name, float(time), float(fit), float(time / fit), more])
    a, b, c = coefficients
    table.notes = [
        f"a = {a:.3g} s, b = {b:.3g} s per pixel, c = {c:.3g} s per sample, which have the least",
        f"sum of squared relative deviations. Measured / fitted must be within {1 / ALLOWED:g} and "
        f"{ALLOWED:g}.",
    ]
    plot_times(setting, terms, seconds, fitted)
    return [table]


def list_terms(shapes: tuple[Shape, ...]) -> Array:
    """Return one, the pixels and the samples of each shape, as columns."""
    return np.array([(1.0, rows * columns, math.prod(shape)) for shape in shapes
                     for rows, columns in [shape[2:]]])  # fmt: skip


def fit_times(terms: Array, seconds: Array) -> Array:
    """Return a, b and c, none negative, with the smallest sum of squared relative deviations."""
    scale = terms.max(axis=0)
    found, _ = nnls(terms / scale / seconds[:, None], np.ones(len(seconds)))
    return found / scale


def plot_times(setting: Setting, terms: Array, seconds: Array, fitted: Array) -> None:
    """Plot measured against fitted times, with the limits."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4.5), layout="constrained")
    ends = np.array([fitted.min() / ALLOWED, fitted.max() * ALLOWED])
    axes.loglog(ends, ends, "k-", linewidth=0.8)
    for factor in (ALLOWED, 1 / ALLOWED):
        axes.loglog(ends, ends * factor, "k:", linewidth=0.8)
    points = axes.scatter(fitted, seconds, c=np.log10(terms[:, 2]), zorder=3)
    figure.colorbar(points, label="log10 samples")
    axes.set(xlabel="a + b pixels + c samples (s)", ylabel="measured (s CPU)")
    figure.savefig((setting.cache if setting.quick else HERE) / "cliff.png", dpi=120)
    plt.close(figure)
