"""The truth of a simulated exposure, as a FITS file."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from calbatch.calibrate.simulate.effects.bursts import BURST_COLUMNS
from calbatch.calibrate.simulate.effects.rays import Rays
from calbatch.calibrate.simulate.instruments import Detector
from calbatch.calibrate.simulate.maps import DetectorMaps, Image, Mask
from calbatch.calibrate.simulate.ramp import Ramp
from calbatch.calibrate.simulate.readout_plan import ReadoutPlan
from calbatch.calibrate.simulate.stripe_pattern import DETECTOR_ROWS, StripePattern, take_rows
from calbatch.calibrate.simulate.write import Extension, write_fits

RAY_COLUMNS = [
    ("integration", "i4"),
    ("group", "i4"),
    ("frame", "i4"),
    ("row", "i4"),
    ("col", "i4"),
    ("electrons", "f4"),
    ("dn", "f4"),
]


@dataclass(frozen=True)
class Truth:
    """The results that a perfect calibration would have.

    Attributes
    ----------
    rate : ndarray, shape (rows, cols)
        Collected light in DN per second, which a rate image estimates.
    flux : ndarray, shape (rows, cols)
        Light before the flat field, electrons per second.
    sigma : ndarray, shape (rows, cols)
        Standard deviation of the difference of two successive groups without cosmic rays, DN.
    good : ndarray of bool, shape (rows, cols)
        Pixels that are sensitive to light, and neither hot nor dead nor bad in a reference.
    rays : structured array
        Every cosmic ray: ``integration``, ``group`` (the first that includes its charge) and
        ``frame`` (within the integration), ``row``, ``col``, all counted from 0; ``electrons`` and
        linear ``dn`` deposited in that pixel.
    migrated : ndarray, shape (integrations, rows, cols), optional
        The first group whose counts have gained or lost charge by migration, or the number of
        groups; None without charge migration.
    bursts : structured array
        Every snowball and shower: ``shower`` (1) or snowball (0), ``integration``, ``group`` and
        ``frame`` as for rays, centre ``row`` and ``col``, ``radius`` along the major axis (pixels),
        ``axis_ratio``, and ``angle`` of the major axis from the rows' direction.
    """

    rate: Image
    flux: Image
    sigma: Image
    good: Mask
    rays: NDArray[np.void]
    migrated: NDArray[np.int16] | None = None
    bursts: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, dtype=BURST_COLUMNS))


def make_truth(
    readout: ReadoutPlan,
    maps: DetectorMaps,
    light: NDArray[np.float64],
    bad: Mask,
    ramp: Ramp,
) -> Truth:
    """Return the truth of an exposure; ``bad`` is the mask of bad pixels in references."""
    collected = np.where(maps.reference, 0.0, light * maps.flat)
    return Truth(
        rate=(collected / maps.gain).astype(np.float32),
        flux=light.astype(np.float32),
        sigma=_difference_noise(readout, maps, collected),
        good=~(maps.reference | maps.dead | maps.hot | bad),
        rays=_ray_table(readout, maps, ramp.rays),
        bursts=np.concatenate([bursts.table for bursts in ramp.bursts]),
        migrated=ramp.migrated if len(ramp.migrated) else None,
    )


def take_stripes(truth: Truth, stripes: StripePattern, detector: Detector) -> Truth:
    """Return a truth whose images have the rows of the calibrated frame.

    Pixels that are never read are not good. Rays, bursts and migrated charge are left out, since
    they may lie in rows that are read several times, or not at all.

    Parameters
    ----------
    truth : Truth
        The truth of a frame that has all rows of the detector.
    stripes : StripePattern
        The rows that are read.
    detector : Detector
        The detector, which has the axes of readout.
    """
    read = np.zeros_like(truth.good)
    science = stripes.rows()[:, stripes.reads1 if stripes.positions else 0 :]
    places = np.unique(science)
    lines = places if detector.slowaxis > 0 else DETECTOR_ROWS - 1 - places
    read[(slice(None), lines) if abs(detector.slowaxis) == 1 else lines] = True
    truth = replace(truth, good=truth.good & read)
    images = {
        name: take_rows(getattr(truth, name), stripes.calibrated_rows(), detector)
        for name in ("rate", "flux", "sigma", "good")
    }
    return replace(truth, **images, rays=truth.rays[:0], bursts=truth.bursts[:0], migrated=None)


def write_truth(path: Path, truth: Truth) -> None:
    """Write the truth of an exposure to a file."""
    extensions = [
        Extension("RATE", truth.rate, [("BUNIT", "DN/s", "light as collected")]),
        Extension("FLUX", truth.flux, [("BUNIT", "electron/s", "light before the flat field")]),
        Extension("SIGMA", truth.sigma, [("BUNIT", "DN", "of successive groups' difference")]),
        Extension("GOOD", truth.good.astype(np.uint8)),
        Extension("RAYS", truth.rays),
        Extension("BURSTS", truth.bursts),
    ]
    if truth.migrated is not None:
        extensions.append(Extension("MIGRATED", truth.migrated))
    write_fits(path, [("TELESCOP", "JWST", "Telescope simulated")], extensions)


def read_truth(path: Path) -> Truth:
    """Read the truth of an exposure from a file."""
    with fits.open(path, memmap=False) as hdus:
        rays = _read_table(hdus["RAYS"].data, RAY_COLUMNS)
        bursts = _read_table(hdus["BURSTS"].data, BURST_COLUMNS)
        rate, flux, sigma = (hdus[name].data.astype("f4") for name in ("RATE", "FLUX", "SIGMA"))
        moved = hdus["MIGRATED"].data.astype("i2") if "MIGRATED" in hdus else None
        good = hdus["GOOD"].data.astype(bool)
        return Truth(
            rate=rate,
            flux=flux,
            sigma=sigma,
            good=good,
            rays=rays,
            bursts=bursts,
            migrated=moved,
        )


def _read_table(table: NDArray[Any], columns: list[tuple[str, str]]) -> NDArray[np.void]:
    result = np.zeros(len(table), dtype=columns)
    for name, _ in columns:
        result[name] = table[name]
    return result


def _difference_noise(
    readout: ReadoutPlan, maps: DetectorMaps, collected: NDArray[np.float64]
) -> Image:
    """Return the noise of the difference of two groups, from reading and counting."""
    electrons = (collected + maps.dark_rate) * readout.group_time
    variance = 2 * maps.read_noise**2 / readout.nframes + electrons / maps.gain**2
    return np.sqrt(variance).astype(np.float32)


def _ray_table(readout: ReadoutPlan, maps: DetectorMaps, rays: list[Rays]) -> NDArray[np.void]:
    """Return the rays of all integrations as one table, in order of arrival."""
    tables = []
    for integration, hits in enumerate(rays):
        table = np.zeros(len(hits.row), dtype=RAY_COLUMNS)
        table["integration"] = integration
        table["group"] = readout.group_of(hits.frame)
        table["frame"], table["row"], table["col"] = hits.frame, hits.row, hits.col
        table["electrons"] = hits.electrons
        table["dn"] = hits.electrons / maps.gain[hits.row, hits.col]
        tables.append(table)
    return np.concatenate(tables)
