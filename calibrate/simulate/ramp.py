"""The forward model: from light to raw data.

An integration starts with the reset charge. Light, dark current and cosmic rays are collected frame
by frame; nonlinearity and full well limit the counts; bias, correlated noise and white noise are
added. Frames are averaged into groups and digitised to 16 bits. Effects outside the standard
near-infrared or MIRI calibration chain (persistence, charge migration, interpixel capacitance, …)
are not simulated.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate import kernels
from calbatch.calibrate.simulate.drift import Drift, draw_drift, draw_interference
from calbatch.calibrate.simulate.maps import DetectorMaps
from calbatch.calibrate.simulate.rays import Rays, draw_rays, spread_charge
from calbatch.calibrate.simulate.readout_plan import ReadoutPlan
from calbatch.calibrate.simulate.spec import Noise
from calbatch.calibrate.simulate.streams import stream

BAND = 64  # rows, so that the arrays of a band stay in the processor's cache
MIRI_FIRST_DARK = 1.15  # dark current of MIRI's first integration relative to the later ones
RESET_GROUPS = 6  # duration of the reset anomaly
RESET_DECAY = 1.5  # groups
RSCD_DECAY = 0.4  # groups
MIRI_LATER_RESET = 0.6  # reset anomaly of MIRI's later integrations relative to the first


@dataclass(frozen=True)
class Ramp:
    """One simulated exposure: raw data, and the cosmic rays of each integration."""

    data: NDArray[np.uint16]
    rays: list[Rays]


def dark_factor(instrument: str, integration: int) -> float:
    """Return an integration's dark current relative to the map's."""
    return MIRI_FIRST_DARK if instrument == "MIRI" and integration == 0 else 1.0


def reset_factor(integration: int, group: int) -> float:
    """Return the reset anomaly of a group relative to the map's; it is zero after some groups."""
    if group >= RESET_GROUPS:
        return 0.0
    later = 1.0 if integration == 0 else MIRI_LATER_RESET
    return float(later * np.exp(-group / RESET_DECAY))


def simulate_ramp(
    readout: ReadoutPlan,
    maps: DetectorMaps,
    light: NDArray[np.float64],
    noise: Noise,
    purpose: tuple[int, str, int],
) -> Ramp:
    """Simulate one exposure.

    Parameters
    ----------
    readout : Readout
    maps : DetectorMaps
        Properties over the exposure's frame.
    light : ndarray, shape (rows, cols)
        Electrons per second before the flat field.
    noise : Noise
    purpose : (int, str, int)
        Seed, kind and number of the exposure, which determine its random numbers.

    Returns
    -------
    Ramp
        ``data`` has shape (nints, ngroups, rows, cols).
    """
    data = np.empty((readout.nints, readout.ngroups, *readout.frame.shape), dtype=np.uint16)
    bands = [
        slice(start, min(start + BAND, readout.frame.nrows))
        for start in range(0, readout.frame.nrows, BAND)
    ]
    rays = []
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
        for integration in range(readout.nints):
            prepared = _prepare(readout, maps, light, noise, (*purpose, integration))
            rays.append(prepared.rays)
            values = pool.map(prepared.simulate_band, bands)
            for band, groups in zip(bands, values, strict=True):
                data[integration, :, band] = groups
    return Ramp(data, rays)


@dataclass(frozen=True)
class _Integration:
    """The properties shared by the bands of one integration.

    ``expected`` is in electrons per frame; ``purpose`` ends with the number of the integration.
    """

    readout: ReadoutPlan
    maps: DetectorMaps
    noise: Noise
    expected: NDArray[np.float64]
    rays: Rays
    deposits: Rays
    drift: Drift | None
    purpose: tuple[int, str, int, int]

    def simulate_band(self, band: slice) -> NDArray[np.uint16]:
        """Return a band of rows of every group, shape (ngroups, rows, cols)."""
        rng = stream(*self.purpose, "band", band.start)
        maps = self.maps.band(band)
        scale = maps.read_noise / np.float32(np.sqrt(self.readout.nframes))
        white = np.zeros_like(scale)
        groups = np.empty((self.readout.ngroups, *scale.shape), dtype=np.uint16)
        for group, counts in enumerate(self._read_groups(rng, maps, band)):
            counts += maps.bias
            counts += maps.reset * np.float32(reset_factor(self.purpose[-1], group))
            if self.readout.detector.instrument == "MIRI":
                self._add_miri_effects(counts, maps, group, band)
            if self.drift is not None:
                kernels.add_profiles(counts, *self.drift.profiles(group, band))
            if self.noise.read:
                rng.standard_normal(out=white, dtype=np.float32)
            kernels.digitise(counts, white, scale, groups[group])
        return groups

    def _add_miri_effects(
        self, counts: NDArray[np.float32], maps: DetectorMaps, group: int, band: slice
    ) -> None:
        """Add interference, and the decay of the charge of the integration before."""
        integration = self.purpose[-1]
        if self.noise.interference:
            start = stream(*self.purpose[:3], "interference").random()
            signal = draw_interference(self.readout, integration, group, band, start)
            counts += np.float32(self.noise.interference) * signal
        if self.noise.rscd and integration:
            charge = self.expected[band] * self.readout.total_frames / maps.gain
            level = self.noise.rscd * np.exp(-group / RSCD_DECAY)
            counts -= (level * charge).astype(np.float32)

    def _read_groups(
        self, rng: np.random.Generator, maps: DetectorMaps, band: slice
    ) -> Iterator[NDArray[np.float32]]:
        """Yield each group's counts above the bias, without read noise."""
        signal = maps.pedestal.copy()
        if self.noise.ktc:
            reset = rng.standard_normal(signal.shape, dtype=np.float32)
            signal += np.float32(self.noise.ktc) * reset * ~maps.reference
        nframes, groupgap = self.readout.nframes, self.readout.groupgap
        for group in range(self.readout.ngroups):
            counts = np.zeros_like(signal)
            start = group * (nframes + groupgap)
            if group and groupgap:
                self._collect(rng, signal, maps, band, range(start - groupgap, start))
            for frame in range(start, start + nframes):
                self._collect(rng, signal, maps, band, range(frame, frame + 1))
                kernels.add_counts(counts, signal, maps.full_well, maps.coefficients)
            yield counts / np.float32(nframes)

    def _collect(
        self,
        rng: np.random.Generator,
        signal: NDArray[np.float32],
        maps: DetectorMaps,
        band: slice,
        frames: range,
    ) -> None:
        """Add the charge that arrives in some frames to the signal (DN)."""
        expected = self.expected[band] * len(frames)
        if self.noise.poisson:
            uniform = rng.random(expected.shape)
            kernels.add_dim_counts(signal, expected, uniform, kernels.RECIPROCALS, maps.gain)
            bright = np.nonzero(expected > kernels.DIM)
            signal[bright] += rng.poisson(expected[bright]) / maps.gain[bright]
        else:
            signal += (expected / maps.gain).astype(np.float32)
        first, last = np.searchsorted(self.deposits.frame, (frames.start, frames.stop))
        rows = self.deposits.row[first:last] - band.start
        inside = (rows >= 0) & (rows < len(signal))
        place = rows[inside], self.deposits.col[first:last][inside]
        np.add.at(signal, place, self.deposits.electrons[first:last][inside] / maps.gain[place])


def _prepare(
    readout: ReadoutPlan,
    maps: DetectorMaps,
    light: NDArray[np.float64],
    noise: Noise,
    purpose: tuple[int, str, int, int],
) -> _Integration:
    """Draw the random properties shared by the bands of an integration."""
    rng = stream(*purpose, "integration")
    sensitive = ~maps.reference
    rays = draw_rays(rng, readout, noise, sensitive)
    dark = maps.dark_rate * dark_factor(readout.detector.instrument, purpose[-1])
    return _Integration(
        readout=readout,
        maps=maps,
        noise=noise,
        expected=np.where(sensitive, light * maps.flat + dark, 0.0) * readout.frame_time,
        rays=rays,
        deposits=spread_charge(rays, noise.cosmic_ray_spread, sensitive),
        drift=draw_drift(rng, readout) if noise.correlated else None,
        purpose=purpose,
    )
