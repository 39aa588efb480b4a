"""Bursts: snowballs and showers, which deposit charge in many pixels at once."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.effects.rays import Rays
from calbatch.calibrate.simulate.readout_plan import ReadoutPlan
from calbatch.calibrate.simulate.spec import Noise

RADII = 3.0, 12.0  # pixels, of snowballs
SHOWER_RADII = 6.0, 20.0  # pixels
CORE = 0.4  # radius of a snowball's core, relative to that of the snowball
CORE_CHARGE = 4.0e5  # electrons in each pixel: more than it holds
EDGE_CHARGE = 3.0e3  # electrons in each pixel at the edge of the core
FAINT_CHARGE = 2.0e2  # electrons in each pixel at the edge of the snowball
SHOWER_CHARGE = 40.0, 80.0  # electrons in each pixel: too few for most jumps
FLATTENING = 0.7  # smallest ratio of the axes

BURST_COLUMNS = [
    ("shower", "i2"),
    ("integration", "i4"),
    ("group", "i4"),
    ("frame", "i4"),
    ("row", "f4"),
    ("col", "f4"),
    ("radius", "f4"),
    ("axis_ratio", "f4"),
    ("angle", "f4"),
]


@dataclass(frozen=True)
class Bursts:
    """The bursts of one integration.

    Attributes
    ----------
    table : structured array
        Each burst; see `calbatch.calibrate.simulate.truth.Truth`.
    deposits : Rays
        The charge that they deposit, in order of arrival.
    """

    table: NDArray[np.void]
    deposits: Rays


def draw_bursts(
    rng: np.random.Generator,
    readout: ReadoutPlan,
    noise: Noise,
    light: NDArray[np.bool_],
    integration: int,
) -> Bursts:
    """Draw the bursts of one integration, without charge on pixels that are not sensitive."""
    rows, cols = readout.frame.shape
    exposure = readout.total_frames * readout.frame_time
    exposure *= rows * cols * readout.detector.family.pixel_area
    kinds = [rng.poisson(rate * exposure) for rate in (noise.snowballs, noise.showers)]
    table = np.zeros(sum(kinds), dtype=BURST_COLUMNS)
    table["shower"][kinds[0] :] = 1
    count = len(table)
    table["integration"] = integration
    table["frame"] = rng.integers(0, readout.total_frames, count)
    table["group"] = readout.group_of(table["frame"].astype(np.intp))
    table["row"], table["col"] = rng.uniform(0, rows, count), rng.uniform(0, cols, count)
    radii = np.array([RADII, SHOWER_RADII])[table["shower"]]
    table["radius"] = rng.uniform(radii[:, 0], radii[:, 1])
    table["axis_ratio"] = rng.uniform(FLATTENING, 1, count)
    table["angle"] = rng.uniform(0, np.pi, count)
    table = np.sort(table, order="frame")
    parts = [_deposit(burst, light, rng.uniform(*SHOWER_CHARGE)) for burst in table]
    empty = np.zeros(0, np.intp)
    none = Rays(empty, empty, empty, np.zeros(0))
    return Bursts(table, reduce(join_deposits, parts, none))


def measure_distance(burst: np.void, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return each pixel's distance from a burst's centre, relative to the edge of its ellipse."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    down, right = y - burst["row"], x - burst["col"]
    cos, sin = np.cos(burst["angle"]), np.sin(burst["angle"])
    along, across = right * cos + down * sin, down * cos - right * sin
    return np.hypot(along, across / burst["axis_ratio"]) / burst["radius"]


def _deposit(burst: np.void, light: NDArray[np.bool_], shower_charge: float) -> Rays:
    relative = measure_distance(burst, light.shape)
    row, col = np.nonzero((relative < 1) & light)
    if burst["shower"]:
        electrons = np.full(row.size, shower_charge)
    else:
        outward = (relative[row, col] - CORE) / (1 - CORE)
        electrons = EDGE_CHARGE * (FAINT_CHARGE / EDGE_CHARGE) ** outward
        electrons[outward < 0] = CORE_CHARGE
    return Rays(np.full(row.size, burst["frame"]).astype(np.intp), row, col, electrons)


def join_deposits(rays: Rays, other: Rays) -> Rays:
    """Return the deposits of both in order of arrival."""
    if not other.frame.size:
        return rays
    order = np.argsort(np.concatenate([rays.frame, other.frame]), kind="stable")
    return Rays(
        frame=np.concatenate([rays.frame, other.frame])[order],
        row=np.concatenate([rays.row, other.row])[order],
        col=np.concatenate([rays.col, other.col])[order],
        electrons=np.concatenate([rays.electrons, other.electrons])[order],
    )
