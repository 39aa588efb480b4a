"""Cosmic rays: their times, pixels and charges."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.readout_plan import ReadoutPlan
from calbatch.calibrate.simulate.spec import Noise

MEDIAN_CHARGE = 1500.0  # electrons
CHARGE_SPREAD = 1.1  # standard deviation of its natural logarithm
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))


@dataclass(frozen=True)
class Rays:
    """The cosmic rays of one integration in order of arrival, as one-dimensional arrays.

    Attributes
    ----------
    frame : ndarray
        First frame read after the hit, counted from 0 at the reset, including dropped frames.
    row, col : ndarray
        Pixel in the image, counted from 0.
    electrons : ndarray
        Charge deposited in that pixel.
    """

    frame: NDArray[np.intp]
    row: NDArray[np.intp]
    col: NDArray[np.intp]
    electrons: NDArray[np.float64]

    def select(self, mask: NDArray[np.bool_]) -> "Rays":
        """Return the rays where a mask is true."""
        return Rays(self.frame[mask], self.row[mask], self.col[mask], self.electrons[mask])


def draw_rays(
    rng: np.random.Generator, readout: ReadoutPlan, noise: Noise, light: NDArray[np.bool_]
) -> Rays:
    """Draw the rays of one integration, without those on pixels that are not sensitive to light."""
    rows, cols = readout.frame.shape
    seconds = readout.total_frames * readout.frame_time
    area = rows * cols * readout.detector.family.pixel_area
    count = rng.poisson(noise.cosmic_rays * area * seconds)
    rays = Rays(
        frame=np.sort(rng.integers(0, readout.total_frames, count)),
        row=rng.integers(0, rows, count),
        col=rng.integers(0, cols, count),
        electrons=rng.lognormal(np.log(MEDIAN_CHARGE), CHARGE_SPREAD, count),
    )
    return rays.select(light[rays.row, rays.col])


def spread_charge(rays: Rays, fraction: float, light: NDArray[np.bool_]) -> Rays:
    """Return all deposits of charge: the rays, and the additional charge of their neighbours."""
    if fraction == 0:
        return rays
    rows, cols = light.shape
    parts = [rays]
    for down, right in NEIGHBOURS:
        neighbours = Rays(rays.frame, rays.row + down, rays.col + right, rays.electrons * fraction)
        inside = (
            (neighbours.row >= 0)
            & (neighbours.row < rows)
            & (neighbours.col >= 0)
            & (neighbours.col < cols)
        )
        neighbours = neighbours.select(inside)
        parts.append(neighbours.select(light[neighbours.row, neighbours.col]))
    order = np.argsort(np.concatenate([part.frame for part in parts]), kind="stable")
    columns = (
        np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("frame", "row", "col", "electrons")
    )
    return Rays(*columns)
