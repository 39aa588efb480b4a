"""The light that falls on a detector: background and stars."""

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.readout_plan import Frame
from calbatch.calibrate.simulate.spec import Sky
from calbatch.calibrate.simulate.streams import stream

MOFFAT_POWER = 3.0
MARGIN = 8.0  # pixels around the frame with further stars
DITHER = 3.0  # pixels, standard deviation between exposures


def render_sky(sky: Sky, frame: Frame, seed: int, exposure: int) -> NDArray[np.float64]:
    """Return the light on each pixel in electrons per second, before the flat field.

    All exposures of a seed and frame show the same stars, shifted by each exposure's dither.

    Parameters
    ----------
    sky : Sky
    frame : Frame
    seed, exposure : int

    Returns
    -------
    ndarray, shape (rows, cols)
    """
    rng = stream(seed, "stars", frame.row, frame.col, *frame.shape)
    size = np.array(frame.shape) + 2 * MARGIN
    places = rng.random((sky.stars, 2)) * size - MARGIN
    places += stream(seed, "dither", exposure).normal(0, DITHER, 2)
    fluxes = sky.faintest * (sky.brightest / sky.faintest) ** rng.random(sky.stars)
    image = np.full(frame.shape, sky.background, dtype=np.float64)
    for (row, col), flux in zip(places, fluxes, strict=True):
        _add_star(image, row, col, flux, sky.fwhm)
    return image


def _add_star(image: NDArray[np.float64], row: float, col: float, flux: float, fwhm: float) -> None:
    """Add a Moffat profile to the image, down to 0.01 electrons per second."""
    scale = fwhm / (2 * np.sqrt(2 ** (1 / MOFFAT_POWER) - 1))
    peak = flux * (MOFFAT_POWER - 1) / (np.pi * scale**2)
    reach = int(np.clip(scale * (peak / 0.01) ** (0.5 / MOFFAT_POWER), 3, 60))
    top, left = max(int(row) - reach, 0), max(int(col) - reach, 0)
    bottom, right = int(row) + reach + 1, int(col) + reach + 1
    stamp = image[top : max(bottom, 0), left : max(right, 0)]
    rows = np.arange(top, top + stamp.shape[0])[:, np.newaxis] - row
    cols = np.arange(left, left + stamp.shape[1]) - col
    stamp += peak * (1 + (rows**2 + cols**2) / scale**2) ** -MOFFAT_POWER
