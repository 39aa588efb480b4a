"""The forward model: from light to raw data.

An integration starts with the reset charge. Light, dark current and cosmic rays are collected frame
by frame; nonlinearity and full well limit the counts; bias, correlated noise and white noise are
added. Frames are averaged into groups and digitised to 16 bits. Effects outside the standard
near-infrared or MIRI calibration chain (persistence, interpixel capacitance, …) are not simulated,
except charge migration.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate import kernels
from calbatch.calibrate.simulate.effects.bursts import Bursts, draw_bursts, join_deposits
from calbatch.calibrate.simulate.effects.drift import Drift, draw_drift, draw_interference
from calbatch.calibrate.simulate.effects.rays import Rays, draw_rays, spread_charge
from calbatch.calibrate.simulate.maps import DetectorMaps
from calbatch.calibrate.simulate.readout_plan import (
    ROWS,
    ReadoutPlan,
    reference_rows,
    science_rows,
)
from calbatch.calibrate.simulate.reference_parts import (
    Setting,
    draw_bad_reference_rows,
    draw_reference_bias,
)
from calbatch.calibrate.simulate.spec import Noise
from calbatch.calibrate.simulate.streams import stream
from calbatch.models.threads import ThreadPool

BAND = 64  # rows, so that the arrays of a band stay in the processor's cache
MIRI_FIRST_DARK = 1.15  # dark current of MIRI's first integration relative to the later ones
RESET_GROUPS = 6  # duration of the reset anomaly
BAD_NOISE = 6.0  # their noise relative to that of others
RESET_DECAY = 1.5  # groups
RSCD_DECAY = 0.4  # groups
MIRI_LATER_RESET = 0.6  # reset anomaly of MIRI's later integrations relative to the first


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """One simulated exposure.

    Attributes
    ----------
    data : ndarray, (integrations, groups, rows, columns)
        Raw data.
    rays : list of Rays
        The cosmic rays of each integration.
    bursts : list of Bursts
        The snowballs and showers of each integration.
    drifts : list of Drift or None
        The drift of each integration.
    zero : ndarray, (integrations, rows, columns)
        Zero frames; without them, it has no integrations.
    migrated : ndarray, (integrations, rows, columns)
        The first group whose counts have gained or lost charge by migration, or the number of
        groups; without migration, it has no integrations.
    """

    data: NDArray[np.uint16]
    rays: list[Rays]
    bursts: list[Bursts]
    drifts: list[Drift | None]
    zero: NDArray[np.uint16]
    migrated: NDArray[np.int16]


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
    readout : ReadoutPlan
        The frame, groups and times of the exposure.
    maps : DetectorMaps
        Properties over the exposure's frame.
    light : ndarray, shape (rows, cols)
        Electrons per second before the flat field.
    noise : Noise
        The kinds of noise and other disturbances.
    purpose : (int, str, int)
        Seed, kind and number of the exposure, which determine its random numbers.

    Returns
    -------
    Ramp
        ``data`` has shape (nints, ngroups, rows, cols), ``zero`` (nints, rows, cols), without
        interleaved reference pixels.
    """
    data = np.empty((readout.nints, readout.ngroups, *readout.frame.shape), dtype=np.uint16)
    zero = np.empty((readout.nints * readout.zero_frame, *readout.frame.shape), dtype=np.uint16)
    migrates = noise.charge_migration > 0
    migrated = np.empty((readout.nints * migrates, *readout.frame.shape), dtype=np.int16)
    height = readout.frame.nrows if migrates else BAND  # charge cannot cross the edges of bands
    bands = [
        slice(start, min(start + height, readout.frame.nrows))
        for start in range(0, readout.frame.nrows, height)
    ]
    rays, bursts, drifts = [], [], []
    with ThreadPool(min(os.cpu_count() or 1, 4)) as pool:
        for integration in range(readout.nints):
            prepared = _prepare(readout, maps, light, noise, (*purpose, integration))
            rays.append(prepared.rays)
            bursts.append(prepared.bursts)
            drifts.append(prepared.drift)
            values = pool.map(prepared.simulate_band, bands)
            for band, found in zip(bands, values, strict=True):
                data[integration, :, band] = found.groups
                if readout.zero_frame:
                    zero[integration, band] = found.zero
                if migrates:
                    migrated[integration, band] = found.migrated
    return Ramp(data=data, rays=rays, bursts=bursts, drifts=drifts, zero=zero, migrated=migrated)


@dataclass
class _Band:
    """A band of rows of one integration: its groups, zero frame, and `Ramp.migrated`."""

    groups: NDArray[np.uint16]
    zero: NDArray[np.uint16]
    migrated: NDArray[np.int16]


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
    bursts: Bursts
    deposits: Rays
    drift: Drift | None
    purpose: tuple[int, str, int, int]

    @property
    def _drift_of_pixels(self) -> Drift:
        drift = cast("Drift", self.drift)
        if not self.readout.is_interleaved:
            return drift
        return drift.only_rows(science_rows(self.readout.detector.fastaxis))

    def simulate_band(self, band: slice) -> _Band:
        """Return a band of rows; without a zero frame, that is zero."""
        rng = stream(*self.purpose, "band", band.start)
        maps = self.maps.band(band)
        scale = maps.read_noise / np.float32(np.sqrt(self.readout.nframes))
        white = np.zeros_like(scale)
        ngroups, noise_of_first = self.readout.ngroups, np.zeros_like(scale)
        found = _Band(
            groups=np.empty((ngroups, *scale.shape), dtype=np.uint16),
            zero=np.zeros(scale.shape, np.uint16),
            migrated=np.full(scale.shape, ngroups, np.int16),
        )
        reads = self._read_groups(rng, maps, band, found)
        if self.readout.zero_frame:
            if self.noise.read:
                own = stream(*self.purpose, "zero frame", band.start)
                own.standard_normal(out=noise_of_first, dtype=np.float32)
            counts = self._add_offsets(next(reads), maps, band, 0)
            kernels.digitise(counts, noise_of_first, maps.read_noise, found.zero)
        for group, counts in enumerate(reads):
            if self.noise.read:
                rng.standard_normal(out=white, dtype=np.float32)
            if group == 0 and self.readout.zero_frame:
                _share_first_read(white, noise_of_first, self.readout.nframes)
            offset = self._add_offsets(counts, maps, band, group)
            kernels.digitise(offset, white, scale, found.groups[group])
        return found

    def _add_offsets(
        self, counts: NDArray[np.float32], maps: DetectorMaps, band: slice, group: int
    ) -> NDArray[np.float32]:
        """Add bias, reset anomaly and correlated noise to a group's counts; return them."""
        counts += maps.bias
        counts += maps.reset * np.float32(reset_factor(self.purpose[-1], group))
        if self.readout.detector.instrument == "MIRI":
            self._add_miri_effects(counts, maps, group, band)
        if self.drift is not None:
            kernels.add_profiles(counts, *self._drift_of_pixels.profiles(group, band))
        return counts

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
        self, rng: np.random.Generator, maps: DetectorMaps, band: slice, found: _Band
    ) -> Iterator[NDArray[np.float32]]:
        """Yield each group's counts above the bias, without read noise.

        If there is a zero frame, its counts precede them.
        """
        signal = maps.pedestal.copy()
        if self.noise.ktc:
            reset = rng.standard_normal(signal.shape, dtype=np.float32)
            signal += np.float32(self.noise.ktc) * reset * ~maps.reference
        nframes, groupgap = self.readout.nframes, self.readout.groupgap
        for group in range(self.readout.ngroups):
            counts = np.zeros_like(signal)
            start = group * (nframes + groupgap)
            if group and groupgap:
                moved = self._collect(rng, signal, maps, band, range(start - groupgap, start))
                found.migrated[moved] = np.minimum(found.migrated[moved], group)
            for frame in range(start, start + nframes):
                moved = self._collect(rng, signal, maps, band, range(frame, frame + 1))
                found.migrated[moved] = np.minimum(found.migrated[moved], group)
                kernels.add_counts(counts, signal, maps.full_well, maps.coefficients)
                if frame == 0 and self.readout.zero_frame:
                    yield counts.copy()
            yield counts / np.float32(nframes)

    def _collect(
        self,
        rng: np.random.Generator,
        signal: NDArray[np.float32],
        maps: DetectorMaps,
        band: slice,
        frames: range,
    ) -> NDArray[np.bool_]:
        """Add the charge that arrives in some frames to the signal (DN).

        Return the mask of pixels that have gained or lost charge by migration.
        """
        before = signal.copy() if self.noise.charge_migration > 0 else signal
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
        if self.noise.charge_migration > 0:
            return _migrate(signal, (signal - before) * maps.gain, self.noise, maps)
        return np.zeros(signal.shape, np.bool_)


def _migrate(
    signal: NDArray[np.float32],
    arrived: NDArray[np.float32],
    noise: Noise,
    maps: DetectorMaps,
) -> NDArray[np.bool_]:
    """Move a part of the arrived charge (electrons) from bright pixels to their four neighbours.

    Return the mask of pixels that have gained or lost charge. Charge that leaves the frame is lost;
    reference pixels collect none.
    """
    bright = signal > noise.charge_migration_level
    quarter = np.where(bright, arrived * np.float32(noise.charge_migration / 4), np.float32(0))
    padded = np.pad(quarter, 1)
    gained = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    gained[maps.reference] = 0
    signal += (gained - 4 * quarter) / maps.gain
    return (quarter != 0) | (gained != 0)


def _share_first_read(
    white: NDArray[np.float32], noise_of_first: NDArray[np.float32], nframes: int
) -> None:
    """Make the noise of the first read a part of the noise of the average of ``nframes`` reads."""
    white *= np.float32(np.sqrt(1 - 1 / nframes))
    white += noise_of_first * np.float32(np.sqrt(1 / nframes))


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
    bursts = draw_bursts(
        stream(*purpose, "bursts"), readout, noise, sensitive, integration=purpose[-1]
    )
    spread = spread_charge(rays, noise.cosmic_ray_spread, sensitive)
    dark = maps.dark_rate * dark_factor(readout.detector.instrument, purpose[-1])
    return _Integration(
        readout=readout,
        maps=maps,
        noise=noise,
        expected=np.where(sensitive, light * maps.flat + dark, 0.0) * readout.frame_time,
        rays=rays,
        bursts=bursts,
        deposits=join_deposits(spread, bursts.deposits),
        drift=draw_drift(rng, readout) if noise.correlated else None,
        purpose=purpose,
    )


def interleave_ramp(
    setting: Setting, ramp: Ramp, purpose: tuple[int, str, int]
) -> NDArray[np.uint16]:
    """Return the data of an exposure with its interleaved reference pixels and reference output.

    These have bias, drift and read noise, but no light.
    """
    readout = setting.readout
    nints, ngroups, _, columns = ramp.data.shape
    data = np.empty((nints, ngroups, ROWS, columns), np.uint16)
    rows = science_rows(readout.detector.fastaxis)
    data[:, :, rows] = ramp.data
    others = np.flatnonzero(reference_rows(readout.detector.fastaxis))
    bias = draw_reference_bias(setting)[others]
    scale = np.full((others.size, 1), np.median(setting.maps.read_noise) / np.sqrt(readout.nframes))
    scale[np.isin(others, draw_bad_reference_rows(setting))] *= BAD_NOISE
    for integration, drift in enumerate(ramp.drifts):
        rng = stream(*purpose, integration, "references")
        for group in range(ngroups):
            counts = bias.copy()
            if drift is not None:
                counts += drift.by_row[group][:, others].T @ drift.by_col[group]
            if setting.spec.noise.read:
                counts += scale * rng.standard_normal(counts.shape, dtype=np.float32)
            data[integration, group, others] = np.clip(np.rint(counts), 0, 65535)
    return data
