"""The signal of the reference output and the interleaved pixels in each pixel of an IRS2 exposure.

The samples of a section in a frame, with gaps for the steps to and from reference pixels and for
the start of a row, form a series in time: 712 samples for each of the 2048 rows of the detector. In
Fourier space, weights fitted to darks predict the series of an amplifier from that of the reference
output and that of its own reference pixels.

Source: Rauscher et al. 2017 (PASP 129, 105003); jwst 3.0.0 ``refpix.irs2_subtract_reference``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._interleaving import (
    PIXEL_POSITIONS,
    REFERENCE_POSITIONS,
    REFERENCES,
    ROWS,
    SECTION,
    SECTIONS,
    InterleavedLayout,
)
from calbatch.calibrate.steps._reference_pixels import BORDER, DETECTOR
from calbatch.calibrate.steps.refpix import series as loops
from calbatch.calibrate.steps.refpix._prediction import (
    BORDER_ROWS,
    PIXEL_TIMES,
    TimeSeries,
    times_of,
)
from calbatch.calibrate.steps.refpix._preserved import PreservedReferences
from calbatch.calibrate.steps.refpix.bad_references import (
    find_bad_pairs,
    list_bad_pixels,
    replace_bad,
)
from calbatch.calibrate.steps.refpix.signal import average_known, column_offsets, parity_means
from calbatch.calibrate.steps.refpix.transform import SAMPLES
from calbatch.calibrate.steps.refpix.weights import AMPLIFIERS, ReferenceWeights, read_weights
from calbatch.models.dq import BAD_REF_PIXEL, DO_NOT_USE
from calbatch.models.jit import for_kernel
from calbatch.models.storage.stamps import Stamp
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Gathered = tuple[Array, Array]
"""Samples (integrations, groups, rows, columns) and flags (rows, columns) of a region."""


WORK = 12 + 2 * 2 * AMPLIFIERS
"""Series in memory while the signal is computed: of a group, and the complex weights."""


@dataclass(frozen=True, kw_only=True)
class InterleavedSettings:
    """The step's parameters that the arithmetic uses."""

    ovr_corr_mitigation_ftr: float = 3.0
    irs2_mean_subtraction: bool = False
    preserve_irs2_refpix: bool = False
    odd_even_columns: bool = True
    siglimit: float = 3.0


@dataclass(frozen=True, kw_only=True)
class InterleavedSignal:
    """The signal to subtract from the pixels of an exposure, without interleaved pixels.

    Attributes
    ----------
    correction : ndarray
        float32, (integrations, groups, file rows, columns).
    lines : ndarray
        float32, (integrations, groups, amplifiers in file order, 2): intercept and slope of the
        drift within a frame.
    offsets : ndarray or None
        float64, (integrations, groups, file rows): means of the border, which are subtracted first.
    preserved : ndarray or None
        float32, (integrations, groups, `InterleavedLayout.reference_rows`, columns): the
        corrected interleaved pixels and reference output, if they are preserved.
    """

    correction: Array
    lines: Array
    offsets: Array | None
    preserved: Array | None = None


def interleaved_regions(layout: InterleavedLayout) -> list[Region]:
    """Return the regions that the signal depends on.

    First the reference output, then the blocks of reference pixels in file order, and last the
    border of the detector in all amplifiers.
    """
    whole = (0, DETECTOR)
    starts = np.arange(*layout.amplifier_rows, SECTION)[:, None] + REFERENCE_POSITIONS[::REFERENCES]
    blocks = [Region((int(n), int(n) + REFERENCES), whole) for n in starts.ravel()]
    borders = [(0, BORDER), (DETECTOR - BORDER, DETECTOR)]
    return [
        Region(layout.output_rows, whole),
        *blocks,
        *(Region(layout.amplifier_rows, columns) for columns in borders),
    ]


def count_signal_bytes(shape: tuple[int, ...], *, keep: bool) -> int:
    """Return the memory for the signal of an exposure, and for the samples it depends on.

    Samples are held as they are gathered and as they are arranged; the series and the spectra of
    one group take less than a dozen times their length.
    """
    sample = np.dtype(np.float32).itemsize
    frames = shape[0] * shape[1]
    gathered = DETECTOR * (SECTION + AMPLIFIERS * len(REFERENCE_POSITIONS)) * sample
    preserved = (ROWS - DETECTOR) * DETECTOR * sample if keep else 0
    signal = DETECTOR * DETECTOR * sample + preserved
    return frames * (signal + 2 * gathered) + WORK * SAMPLES * sample


def gather_interleaved(data: Array, pixeldq: Array) -> Gathered:
    """Return samples and pixel flags unchanged."""
    return data, pixeldq


class InterleavedSamples:
    """The samples of the reference output, the reference pixels and the border.

    Attributes
    ----------
    output : ndarray
        Reference output, (integrations, groups, 640, 2048).
    references : ndarray
        Reference pixels, (integrations, groups, 5 sections, 128, 2048).
    border : ndarray
        The amplifiers' samples in the border, (integrations, groups, 4 amplifiers, 640, 8).
    bad : ndarray of bool
        Bad reference pixels, (5 sections, 128).
    unusable : ndarray of bool
        DO_NOT_USE in the border of all sections, (5 sections, 640, 8).
    """

    def __init__(self, gathered: Sequence[Gathered], layout: InterleavedLayout) -> None:
        self.layout = layout
        (output, output_dq), *blocks, left, right = gathered
        lead = output.shape[:2]
        self.output = np.array(output)
        found = np.concatenate([data for data, _ in blocks], axis=-2)
        flags = np.concatenate([dq for _, dq in blocks])
        self.references = self._with_output(
            found.reshape(*lead, AMPLIFIERS, -1, DETECTOR),
            output[:, :, None, REFERENCE_POSITIONS],
            axis=2,
        )
        flags = self._with_output(
            flags.reshape(AMPLIFIERS, -1, DETECTOR), output_dq[None, REFERENCE_POSITIONS], axis=0
        )
        self.bad: Mask = np.any(flags & BAD_REF_PIXEL, axis=-1)
        border = np.concatenate([left[0], right[0]], axis=-1)
        self.border = border.reshape(*lead, AMPLIFIERS, SECTION, -1)
        border_dq = np.concatenate([left[1], right[1]], axis=-1).reshape(AMPLIFIERS, SECTION, -1)
        all_dq = self._with_output(border_dq, output_dq[None, :, BORDER_ROWS], axis=0)
        self.unusable: Mask = np.not_equal(all_dq & DO_NOT_USE, 0)

    def _with_output(self, amplifiers: Array, output: Array, axis: int) -> Array:
        """Return the sections in file order."""
        parts = (amplifiers, output) if self.layout.is_turned else (output, amplifiers)
        return np.concatenate(parts, axis=axis)

    def subtract_means(self, settings: InterleavedSettings) -> Array:
        """Subtract the border's means from all samples in place, and return them.

        Returns
        -------
        ndarray
            float64, (integrations, groups, 5 sections, 640): the mean for each sample of a row.
        """
        output = self.output[:, :, None, :, BORDER_ROWS]
        border = self._with_output(self.border, output, axis=2)
        frames = border.shape[0] * border.shape[1]
        unusable = self.unusable.copy()
        unusable[:, REFERENCE_POSITIONS] |= self.bad[:, :, None]
        parities = _parities(self.layout)
        offsets = np.zeros((frames, SECTIONS, SECTION))
        for section in range(SECTIONS):
            samples = border[:, :, section].reshape(frames, SECTION, -1)
            means = [
                parity_means(
                    samples[..., half].reshape(frames, -1),
                    ~unusable[section, :, half].ravel(),
                    np.repeat(parities[section], BORDER),
                    settings.odd_even_columns,
                    settings.siglimit,
                )
                for half in (slice(BORDER), slice(BORDER, None))
            ]
            both = [average_known(*pair) for pair in zip(*means, strict=True)]
            offsets[:, section] = column_offsets(both, parities[section], frames)
        by_row = offsets.reshape(*border.shape[:2], SECTIONS, SECTION, 1)
        amplifiers = slice(AMPLIFIERS) if self.layout.is_turned else slice(1, SECTIONS)
        first = AMPLIFIERS if self.layout.is_turned else 0
        self.references -= by_row[:, :, :, REFERENCE_POSITIONS]
        self.border = (self.border - by_row[:, :, amplifiers]).astype(np.float32)
        self.output -= by_row[:, :, first]
        return by_row[..., 0]

    def to_detector(self) -> None:
        """Bring all samples into the detector's order, in which the reference output is first."""
        if self.layout.is_turned:
            self.output = self.output[..., ::-1, ::-1]
            self.references = self.references[:, :, ::-1, ::-1, ::-1]
            self.border = self.border[:, :, ::-1, ::-1, ::-1]
            self.bad = self.bad[::-1, ::-1]

    def replace_listed(self, listed: Sequence[tuple[int, int, int]]) -> None:
        """Replace the reference pixels that the reference lists, in the detector's order."""
        self.bad = self.bad.copy()
        self.references = np.array(self.references)
        for output, odd_even, mask in listed:
            bad = self.bad[output]
            fresh = [n for n in list_bad_pixels(output, odd_even, mask) if not bad[n]]
            bad[fresh] = True
            replace_bad(self.references[:, :, output], bad, fresh)

    def to_time(self) -> None:
        """Bring the samples of each section into the order of readout, which alternates."""
        self.output = np.ascontiguousarray(self.output[..., ::-1, :])
        self.references[:, :, ::2] = self.references[:, :, ::2, ::-1].copy()
        self.border = np.array(self.border)
        self.border[:, :, 1::2] = self.border[:, :, 1::2, ::-1].copy()


def _parities(layout: InterleavedLayout) -> Array:
    """Return 0 or 1 for the samples of each section in file order, (5, 640).

    Pixels alternate; of a block's reference pixels, the first two count as even.
    """
    position = np.arange(SECTION)
    parity = position % 2
    parity[REFERENCE_POSITIONS] = REFERENCE_POSITIONS % 4 // 2
    row = parity[::-1] if layout.is_turned else parity
    return np.tile(row, (SECTIONS, 1))


def combine_interleaved(
    gathered: Sequence[Gathered],
    *,
    layout: InterleavedLayout,
    settings: InterleavedSettings,
    path: str,
    stamp: Stamp,
) -> InterleavedSignal:
    """Return the signal of an IRS2 exposure.

    Parameters
    ----------
    gathered : sequence of tuple
        Samples and flags of `interleaved_regions`.
    layout : InterleavedLayout
        The layout of its files.
    settings : InterleavedSettings
        The step's parameters.
    path, stamp : str, Stamp
        The reference with the weights, and its state when it was opened.
    """
    weights = read_weights(path, stamp)
    samples = InterleavedSamples(gathered, layout)
    samples.bad = find_bad_pairs(samples.references, samples.bad, settings.ovr_corr_mitigation_ftr)
    offsets = samples.subtract_means(settings) if settings.irs2_mean_subtraction else None
    for section in range(SECTIONS):
        bad = samples.bad[section]
        replace_bad(samples.references[:, :, section], bad, np.flatnonzero(bad))
    samples.to_detector()
    samples.replace_listed(weights.bad)
    samples.to_time()
    keep = settings.preserve_irs2_refpix
    return _signal_of(samples, weights, offsets, keep)


def _signal_of(
    samples: InterleavedSamples, weights: ReferenceWeights, offsets: Array | None, keep: bool
) -> InterleavedSignal:
    lead = samples.output.shape[:2]
    preserved = PreservedReferences(samples.layout, lead) if keep else None
    correction = np.empty((*lead, DETECTOR, DETECTOR), np.float32)
    lines = np.empty((*lead, AMPLIFIERS, 2), np.float32)
    rows = np.empty((512, DETECTOR), np.float32)
    order = -1 if samples.layout.is_turned else 1
    for i in range(lead[0]):
        parts = (samples.output[i], samples.references[i], samples.border[i])
        integration = TimeSeries(*parts)
        lines[i] = integration.lines[:, 1:][:, ::order]
        for group in range(lead[1]):
            placed = correction[i, group, ::order, ::order]
            filled = integration.fill_output(group)
            if preserved is not None:
                preserved.start_group(i, group, integration, filled)
            for k, series in enumerate(integration.predict(group, filled, weights)):
                loops.pick_rows(series, PIXEL_TIMES, rows)
                placed[512 * k : 512 * (k + 1)] = rows if k % 2 == 0 else rows[::-1]
                if preserved is not None:
                    preserved.add_amplifier(k + 1, series)
            if preserved is not None:
                preserved.finish_group()
    if offsets is not None:
        amplifiers = slice(AMPLIFIERS) if samples.layout.is_turned else slice(1, SECTIONS)
        offsets = offsets[:, :, amplifiers][..., PIXEL_POSITIONS].reshape(*lead, DETECTOR)
    return InterleavedSignal(
        correction=correction,
        lines=lines,
        offsets=offsets,
        preserved=None if preserved is None else preserved.samples,
    )


@cache
def _pixel_times(is_turned: bool) -> tuple[Array, Array]:
    """Return the times of pixels from the middle of the frame, by file row and by file column."""
    within = PIXEL_TIMES[
        np.where(
            np.arange(DETECTOR) // 512 % 2,
            511 - np.arange(DETECTOR) % 512,
            np.arange(DETECTOR) % 512,
        )
    ]
    by_row, by_column = within.astype(np.float32), times_of(np.zeros(1))[0]
    return (by_row[::-1], by_column[::-1]) if is_turned else (by_row, by_column)


def subtract_interleaved(
    data: Array, *, signal: InterleavedSignal, layout: InterleavedLayout, region: Region
) -> Array:
    """Subtract the signal from the pixels of a region.

    Parameters
    ----------
    data : ndarray
        float32, (integrations, groups, rows, columns), without interleaved pixels.
    signal : InterleavedSignal
        The signal of the whole exposure.
    layout : InterleavedLayout
        The layout of its files.
    region : Region
        The rows and columns of the exposure, without interleaved rows, that ``data`` covers.

    Returns
    -------
    ndarray
        float32, shaped like ``data``.
    """
    (r0, r1), (c0, c1) = region
    by_row, by_column = _pixel_times(layout.is_turned)
    rows, columns = by_row[r0:r1].copy(), by_column[c0:c1].copy()
    amplifiers = np.arange(r0, r1) // 512
    result = np.empty(data.shape, np.float32)
    for i, (counts, found) in enumerate(zip(data, result, strict=True)):
        offsets = np.zeros((len(counts), r1 - r0))
        if signal.offsets is not None:
            offsets[:] = signal.offsets[i, :, r0:r1]
        correction = np.ascontiguousarray(signal.correction[i, :, r0:r1, c0:c1])
        lines = for_kernel(signal.lines[i])
        loops.subtract_signal(
            for_kernel(counts), for_kernel(correction), lines, rows, columns, amplifiers, offsets,
            found,
        )  # fmt: skip
    return result


def subtract_from_all(
    data: Array, *, signal: InterleavedSignal, layout: InterleavedLayout, region: Region
) -> Array:
    """Subtract the signal from all samples of a region, interleaved ones included.

    As `subtract_interleaved`, but ``data`` and ``region`` have all rows of the file, and ``signal``
    has ``preserved``.
    """
    rows, science = layout.science_within(region)
    result = np.empty(data.shape, np.float32)
    if rows.size:
        pixels = np.ascontiguousarray(data[:, :, rows])
        result[:, :, rows] = subtract_interleaved(
            pixels, signal=signal, layout=layout, region=science
        )
    others = layout.reference_rows
    first, last = np.searchsorted(others, region.rows)
    if signal.preserved is not None:
        columns = slice(*region.cols)
        rows = others[first:last] - region.rows[0]
        result[:, :, rows] = signal.preserved[:, :, first:last, columns]
    return result
