"""IRS2 exposures and their references: the arrays of a frame with interleaved reference pixels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calbatch.calibrate.simulate.maps import Mask
from calbatch.calibrate.simulate.ramp import Ramp
from calbatch.calibrate.simulate.readout_plan import (
    BLOCK,
    FIRST,
    INTERLEAVED_LINE,
    PERIOD,
    ROWS,
    SECTION,
    reference_rows,
    science_rows,
)
from calbatch.calibrate.simulate.reference_parts import Setting
from calbatch.calibrate.simulate.streams import stream
from calbatch.calibrate.simulate.write import Extension

BIAS = 9000.0  # DN, of the reference pixels
BAD_BLOCKS = 4  # blocks of reference pixels whose first pair is noisy
BAD_NOISE = 6.0  # noise of those relative to that of others
LISTED = ((1, 2, 1 << 9), (4, 1, 1 << 30))
"""Bad reference pixels that the weights' reference lists: amplifier, pair, blocks as bits."""
SAME_FREQUENCY = 400  # cycles in a frame up to which reference pixels predict the drift


def bad_reference_rows(setting: Setting) -> NDArray[np.intp]:
    """Return the file rows of bad interleaved reference pixels, which the mask flags."""
    rng = stream(setting.seed, "bad references", setting.spec.detector)
    sections = rng.integers(0, 5, BAD_BLOCKS)
    blocks = rng.choice(SECTION // PERIOD, BAD_BLOCKS, replace=False)
    first = sections * SECTION + blocks * PERIOD + FIRST
    return np.sort(np.concatenate([first, first + 1]))


def reference_bias(setting: Setting) -> NDArray[np.float32]:
    """Return the bias of all rows; that of science rows is zero, (3200, columns)."""
    frame = setting.readout.full_frame
    rng = stream(setting.seed, "reference bias", setting.spec.detector)
    bias = rng.normal(BIAS, 40.0, (ROWS, frame.ncols)).astype(np.float32)
    bias[science_rows(setting.readout.detector.fastaxis)] = 0
    return bias


def interleave_map(setting: Setting, science: NDArray[Any], other: Any) -> NDArray[Any]:
    """Return a map of the frame with interleaved rows that hold other values."""
    result = np.empty((ROWS, science.shape[1]), science.dtype)
    result[:] = other
    result[science_rows(setting.readout.detector.fastaxis)] = science
    return result


def interleave_flags(setting: Setting, flags: dict[str, Mask]) -> dict[str, Mask]:
    """Return the flags of a mask with interleaved rows; BAD_REF_PIXEL is added."""
    rows = reference_rows(setting.readout.detector.fastaxis)[:, np.newaxis]
    result = {name: interleave_map(setting, mask, False) for name, mask in flags.items()}
    result["REFERENCE_PIXEL"] = result["REFERENCE_PIXEL"] | rows
    bad = np.zeros_like(result["REFERENCE_PIXEL"])
    bad[bad_reference_rows(setting)] = True
    return {**result, "BAD_REF_PIXEL": bad}


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
    bias = reference_bias(setting)[others]
    scale = np.full((others.size, 1), np.median(setting.maps.read_noise) / np.sqrt(readout.nframes))
    scale[np.isin(others, bad_reference_rows(setting))] *= BAD_NOISE
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


def weight_extensions() -> Iterator[Extension]:
    """Yield the extensions of the weights' reference.

    Up to a frequency, half of the drift is predicted from the reference output, which has a sample
    at any time, and half from an amplifier's reference pixels, which provide eight of 22 samples.
    """
    samples = INTERLEAVED_LINE * 2048
    frequency = np.minimum(np.arange(samples), samples - np.arange(samples))
    passed = 0.5 / (1 + (frequency / SAME_FREQUENCY) ** 2)
    columns = {"alpha": passed, "beta": passed * INTERLEAVED_LINE / (2 * BLOCK * SECTION / PERIOD)}
    table = np.zeros(2 * samples, [(f"{name}_{k}", "f4") for name in columns for k in range(4)])
    for name in table.dtype.names or ():
        table[name][::2] = columns[name[:-2]]
    yield Extension("IRS2", table)
    layout = [("OUTPUT", "u2"), ("ODD_EVEN", "u2"), ("MASK", "u4")]
    yield Extension("DQ", np.array(list(LISTED), layout))
