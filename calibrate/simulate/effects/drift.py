"""Correlated noise, which reference pixels share: 1/f noise, row drift, and drifting amplifiers.

It also has MIRI's electromagnetic interference, and the content of the reference for it.

Every component is a product of a profile along the slow axis and one along the fast axis, so the
noise image of a group is one small matrix product. 1/f noise is drawn once per line and
interpolated linearly; faster variations belong to the white read noise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.readout_plan import (
    EDGE,
    ROWS,
    SAMPLE_TIME,
    SECTION,
    ReadoutPlan,
    fast_index,
    slow_index,
)
from calbatch.calibrate.steps.emicorr.clocks import Clocks, Sampling

COMMON_NOISE = 4.0  # DN rms, all amplifiers together
OUTPUT_NOISE = 1.5  # DN rms, each amplifier
OFFSET_STEP = 1.2  # DN rms between frames, each amplifier
PARITY_NOISE = 0.8  # DN rms, odd against even columns of each amplifier and frame

FREQUENCIES = {"Hz390": (390.625, 1.0), "Hz10": (10.039216, 0.5)}
"""Frequency (Hz) and relative amplitude of each signal."""
WAVE_SAMPLES = 256
SLOW_SAMPLES = 9  # samples of each pixel in slow readout patterns


@dataclass(frozen=True)
class Drift:
    """Profiles of the correlated noise of one integration.

    A group's noise image is the sum over k of ``by_row[group, k]`` times ``by_col[group, k]``, DN.

    Attributes
    ----------
    by_row : ndarray, shape (ngroups, k, rows)
    by_col : ndarray, shape (ngroups, k, cols)
    """

    by_row: NDArray[np.float32]
    by_col: NDArray[np.float32]

    def only_rows(self, rows: NDArray[np.intp]) -> "Drift":
        """Return the drift of some rows."""
        return Drift(by_row=np.ascontiguousarray(self.by_row[..., rows]), by_col=self.by_col)

    def profiles(self, group: int, band: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a group's profiles for a band of rows."""
        return np.ascontiguousarray(self.by_row[group, :, band]), self.by_col[group]


def draw_pink_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return 1/f noise along the last axis with mean square 1 over its whole length."""
    length = shape[-1]
    spectrum = np.fft.rfft(rng.standard_normal(shape))
    frequency = np.arange(spectrum.shape[-1], dtype=np.float64)
    weight = np.zeros_like(frequency)
    weight[1:] = frequency[1:] ** -0.5
    power = 2 * (weight**2).sum() - (weight[-1] ** 2 if length % 2 == 0 else 0)
    return np.fft.irfft(spectrum * weight, n=length) * np.sqrt(length / max(power, 1e-30))


def draw_drift(rng: np.random.Generator, readout: ReadoutPlan) -> Drift:
    """Draw the correlated noise of one integration, averaged over the frames of each group.

    In IRS2 readout the fast axis has 3200 positions, interleaved reference pixels included.
    """
    frames = readout.ngroups * readout.nframes
    fast = fast_index(readout.detector, readout.frame)
    if readout.is_interleaved:
        fast = np.arange(ROWS)[:: np.sign(readout.detector.fastaxis)]
    slow = slow_index(readout.detector, readout.frame)
    outputs, position = _outputs(readout, fast)
    lines = len(slow)
    line = slow - slow.min()
    common = COMMON_NOISE * draw_pink_noise(rng, (frames * lines + 1,))
    start = common[:-1].reshape(frames, lines)[:, line]
    slope = np.diff(common).reshape(frames, lines)[:, line]
    count = 5 if readout.is_interleaved else 4
    each = (
        OUTPUT_NOISE
        * draw_pink_noise(rng, (count, frames * lines)).reshape(count, frames, lines)[..., line]
    )
    offsets = np.cumsum(rng.normal(0, OFFSET_STEP, (frames, count)), axis=0)
    parity = rng.normal(0, PARITY_NOISE, (frames, count, 2))
    steps = offsets[:, outputs] + parity[:, outputs, fast % 2]
    along_slow = np.stack([start, slope, *each, np.ones_like(start)], axis=1)
    of_output = np.arange(count)[:, np.newaxis] == outputs
    along_fast = np.stack([np.ones_like(position), position, *of_output.astype(float)])
    along_fast = np.concatenate([np.tile(along_fast, (frames, 1, 1)), steps[:, np.newaxis]], axis=1)
    slow_means, fast_means = (_group_means(p, readout) for p in (along_slow, along_fast))
    if abs(readout.detector.fastaxis) == 1:
        return Drift(by_row=slow_means, by_col=fast_means)
    return Drift(by_row=fast_means, by_col=slow_means)


def _outputs(
    readout: ReadoutPlan, fast: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the amplifier of each fast-axis position, and its time within the line (0 to 1)."""
    if readout.is_interleaved:  # the direction of readout alternates
        within = fast % SECTION
        ahead = np.where(fast // SECTION % 2 == 0, SECTION - 1 - within, within)
        return fast // SECTION, ahead / SECTION
    if readout.noutputs == 1:
        return np.zeros_like(fast), (fast - fast.min()) / len(fast)
    if readout.detector.instrument == "MIRI":
        return fast % 4, (fast // 4) / 258
    return fast // 512, (fast % 512) / 512


def _group_means(profiles: NDArray[np.float64], readout: ReadoutPlan) -> NDArray[np.float32]:
    """Return the means of profiles (frames, k, n) over the frames of each group."""
    grouped = profiles.reshape(readout.ngroups, readout.nframes, *profiles.shape[1:])
    return grouped.mean(axis=1).astype(np.float32)


# -- interference ------------------------------------------------------------------------------


def evaluate_wave(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the signal at phases in periods; its amplitude is about 1."""
    angle = 2 * np.pi * samples
    return np.sin(angle) + 0.3 * np.cos(2 * angle) - 0.1 * np.sin(3 * angle)


def make_sampling(readout: ReadoutPlan) -> Sampling:
    """Return the times at which the pixels of an exposure are read."""
    rows, columns = readout.frame.shape
    clocks = Clocks(columns // EDGE + 13, round(readout.frame_time / SAMPLE_TIME))
    return Sampling(
        shape=(readout.nints, readout.ngroups, rows, columns),
        samples=SLOW_SAMPLES if "SLOW" in readout.readpatt else 1,
        clocks=clocks,
        has_reset_frame=readout.readpatt.endswith("R1"),
    )


def draw_interference(
    readout: ReadoutPlan, integration: int, group: int, rows: slice, start: float
) -> NDArray[np.float32]:
    """Return the interference of a band of a group's pixels, relative to the amplitude.

    Parameters
    ----------
    readout : ReadoutPlan
    integration, group : int
        Numbers from 0.
    rows : slice
        The rows of the band.
    start : float
        Phase of the first sample of the exposure in periods.

    Returns
    -------
    ndarray, shape (rows, cols)
    """
    sampling = make_sampling(readout)
    reset = sampling.clocks.frame if sampling.has_reset_frame else 0
    frames = readout.total_frames * integration + group * (readout.nframes + readout.groupgap)
    signal = np.zeros((rows.stop - rows.start, readout.frame.ncols // EDGE))
    for number in range(readout.nframes):
        times = sampling.offsets((rows.start, rows.stop)) + integration * reset
        times += (frames + number) * sampling.frame_samples
        for frequency, amplitude in FREQUENCIES.values():
            signal += amplitude * evaluate_wave(times * SAMPLE_TIME * frequency + start)
    return np.repeat(signal / readout.nframes, EDGE, axis=1).astype(np.float32)


def make_emicorr_tree(readout: ReadoutPlan) -> dict[str, Any]:
    """Return the content of the reference for exposures of a subarray."""
    middles = (np.arange(WAVE_SAMPLES) + 0.5) / WAVE_SAMPLES
    samples = [float(value) for value in np.round(evaluate_wave(middles), 9)]
    names = list(FREQUENCIES)
    speed = "SLOW" if "SLOW" in readout.readpatt else "FAST"
    clocks = make_sampling(readout).clocks
    case = {
        "rowclocks": int(clocks.row),
        "frameclocks": int(clocks.frame),
        "freqs": {"FAST": names, "SLOW": {readout.detector.name: names}},
    }
    name = f"{readout.subarray}_{speed}" if "FULL" in readout.subarray else readout.subarray
    return {
        "frequencies": {
            name: {"frequency": frequency, "phase_amplitudes": samples}
            for name, (frequency, _) in FREQUENCIES.items()
        },
        "subarray_cases": {name: case},
    }
