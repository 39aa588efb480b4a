"""Prediction of an amplifier's time series from the reference output and its reference pixels.

Source: Rauscher et al. 2017 (PASP 129, 105003); jwst 3.0.0 ``refpix.irs2_subtract_reference``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._interleaving import (
    BLOCKS,
    PERIOD,
    PIXEL_POSITIONS,
    PIXELS,
    REFERENCES,
    SECTIONS,
)
from calbatch.calibrate.steps._reference_pixels import BORDER, DETECTOR
from calbatch.calibrate.steps.refpix import series as loops
from calbatch.calibrate.steps.refpix.transform import (
    SAMPLES,
    order_frequencies,
    transform,
    transform_back,
)
from calbatch.calibrate.steps.refpix.weights import AMPLIFIERS, ReferenceWeights

Array = npt.NDArray[Any]

LINE = SAMPLES // DETECTOR
"""Number of samples of a detector row in time, gaps included."""
CENTRE = (SAMPLES - 1) / 2
"""Time of the middle of a frame, in samples from its start."""
PIXEL_TIMES = np.arange(512) + (REFERENCES + 2) * ((np.arange(512) + PIXELS // 2) // PIXELS)
"""Time of each pixel of an amplifier within a detector row, in samples."""
REFERENCE_TIMES = (
    np.arange(BLOCKS * REFERENCES)
    + (PIXELS + 2) * (np.arange(BLOCKS * REFERENCES) // REFERENCES)
    + PIXELS // 2
    + 1
)
"""Time of each reference pixel within a detector row, in samples."""
BORDER_ROWS = np.r_[0:BORDER, DETECTOR - BORDER : DETECTOR]
"""Rows of the detector that see no light."""
SPREAD = np.array([0, 2, 0, 2, 1, 3, 1, 3])
"""Reference pixels of a block that stand for the eight samples in and around it."""
SPREAD_TIMES = (np.arange(BLOCKS)[:, None] * (PERIOD + 2) + np.arange(7, 15)).ravel()
"""Times of those samples within a detector row."""
PASSES = 3
"""Iterations of the filter that fills gaps of the reference output."""


class GroupSamples(NamedTuple):
    """The samples of a group from which its signal is predicted, or means of them.

    Attributes
    ----------
    output : ndarray
        Samples of the reference output, (640, 2048).
    references : ndarray
        Reference pixels, (5 sections, 128, 2048).
    border : ndarray
        The amplifiers' samples in the border, (4 amplifiers, 640, 8).
    """

    output: Array
    references: Array
    border: Array

    def in_time(self) -> GroupSamples:
        """Return a copy in the order of readout, which alternates, from the detector's order."""
        references, border = self.references.copy(), self.border.copy()
        references[::2] = self.references[::2, ::-1]
        border[1::2] = self.border[1::2, ::-1]
        return GroupSamples(self.output[::-1].copy(), references, border)


class GroupSeries:
    """The samples of one group in the order of readout, without means and drifts.

    Parameters
    ----------
    samples : GroupSamples
        The samples of the group.
    means : GroupSamples
        Their means over the groups of the integration, in float64.

    Attributes
    ----------
    pixels : ndarray
        Pixels of the reference output, (512, 2048).
    references : ndarray
        Reference pixels, (5 sections, 128, 2048).
    lines : ndarray
        Intercept and slope of the drift within a frame, (5 sections, 2).
    """

    def __init__(self, samples: GroupSamples, means: GroupSamples) -> None:
        self.pixels = _subtract(samples.output, means.output)[PIXEL_POSITIONS]
        self.references = _subtract(samples.references, means.references)
        border = _subtract(samples.border, means.border)[:, PIXEL_POSITIONS]
        pixels = [self.pixels[:, BORDER_ROWS], *border]
        self.lines = np.empty((SECTIONS, 2), np.float32)
        for section, references in enumerate(self.references):
            self.lines[section] = _fit_line(pixels[section], references[:, BORDER_ROWS])
        loops.subtract_lines(self.references, _reference_times(), self.lines)
        loops.subtract_lines(self.pixels[np.newaxis], _pixel_times(), self.lines[:1])

    def predict(self, filled: Array, weights: ReferenceWeights) -> Iterator[Array]:
        """Yield the predicted series of each amplifier, (2048, 712).

        ``filled`` is the series of the reference output that `fill_output` returns.
        """
        output = transform(filled.reshape(-1))
        for k in range(AMPLIFIERS):
            series = np.zeros((DETECTOR, LINE), np.float32)
            loops.place_rows(self.references[k + 1], _spread_pixels(), SPREAD_TIMES, series)
            spectrum = transform(series.reshape(-1))
            loops.combine_spectra(spectrum, weights.interleaved[k], output, weights.output[k])
            yield transform_back(spectrum).reshape(DETECTOR, LINE)

    def fill_output(self) -> Array:
        """Return the series of the reference output, (2048, 712), without gaps.

        Its reference pixels are filled like the gaps.

        Only pixels are known. After an interpolation with cosine weights, a filter that passes low
        and high frequencies is applied repeatedly, and the known samples are restored each time.
        """
        series = np.zeros((DETECTOR, LINE), np.float32)
        loops.place_rows(self.pixels, _all_pixels(), PIXEL_TIMES, series)
        loops.place_rows(self.references[0], _all_references(), REFERENCE_TIMES, series)
        flat = series.reshape(-1)
        known = loops.fill_zeros(flat, _sine_weights()).reshape(DETECTOR, LINE)
        filled = known
        for _ in range(PASSES):
            spectrum = transform(filled.reshape(-1))
            spectrum *= _gap_filter()
            filled = transform_back(spectrum).reshape(DETECTOR, LINE)
            loops.copy_columns(known, PIXEL_TIMES, filled)
        return filled


def _subtract(samples: Array, means: Array) -> Array:
    """Return samples minus means of type float64, rounded to float32."""
    result: Array = np.empty(samples.shape, np.float32)
    return np.subtract(samples, means, out=result, dtype=np.float64, casting="same_kind")


def times_of(within_row: Array) -> Array:
    """Return the times of samples from the middle of the frame, (samples, 2048)."""
    times = within_row[:, None] + LINE * np.arange(DETECTOR) - CENTRE
    return times.astype(np.float32)


def _fit_line(pixels: Array, references: Array) -> tuple[float, float]:
    """Return intercept and slope of the border's samples in time; zeros count as unknown.

    ``pixels`` (512, 8) and ``references`` (128, 8) are those of a section.
    """
    values = np.concatenate([pixels, references]).astype(np.float64)
    known = values != 0
    if not known.any():
        return 0.0, 0.0
    x, y = _border_times()[known], values[known]
    slope = np.sum((x - x.mean()) * y) / np.sum((x - x.mean()) ** 2)
    return float(y.mean() - slope * x.mean()), float(slope)


@cache
def _border_times() -> Array:
    """Return the times of a section's pixels and reference pixels in the border, (640, 8)."""
    within_row = np.concatenate([PIXEL_TIMES, REFERENCE_TIMES])
    return times_of(within_row)[:, BORDER_ROWS].astype(np.float64)


@cache
def _pixel_times() -> Array:
    return times_of(PIXEL_TIMES)


@cache
def _reference_times() -> Array:
    return times_of(REFERENCE_TIMES)


@cache
def _all_pixels() -> Array:
    return np.arange(512)


@cache
def _all_references() -> Array:
    return np.arange(BLOCKS * REFERENCES)


@cache
def _spread_pixels() -> Array:
    return (REFERENCES * np.arange(BLOCKS)[:, None] + SPREAD).ravel()


@cache
def _sine_weights() -> Array:
    return np.sin(np.arange(1, 32) / 32 * np.pi)


@cache
def _gap_filter() -> Array:
    """Return the filter of `fill_output` in the order of spectra: 1, then half a cosine to 0.

    It is 1 from zero frequency up to ``flat``, falls to 0 within ``edge``, and rises to 1 in the
    same way below the highest frequency; the numbers are those of jwst.
    """
    step = PERIOD + 2
    edge = 110000 // step
    flat = LINE // step * DETECTOR // 2 - edge // 2
    frequency = np.minimum(np.arange(SAMPLES), SAMPLES - np.arange(SAMPLES))
    distance = np.minimum(frequency, SAMPLES // 2 - 1 - frequency)
    height = (1 + np.cos(np.pi * np.clip(distance - flat, 0, edge) / edge)) / 2
    return order_frequencies(height.astype(np.float32))
