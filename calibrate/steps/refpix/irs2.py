"""The signal of the reference output and the interleaved pixels in each pixel of an IRS2 exposure.

The samples of a section in a frame, with gaps for the steps to and from reference pixels and for
the start of a row, form a series in time: 712 samples for each of the 2048 rows of the detector. In
Fourier space, weights fitted to darks predict the series of an amplifier from that of the reference
output and that of its own reference pixels.

Source: Rauscher et al. 2017 (PASP 129, 105003); jwst 3.0.0 ``refpix.irs2_subtract_reference``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._interleaving import ROWS, InterleavedLayout
from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.calibrate.steps.refpix import series as loops
from calbatch.calibrate.steps.refpix._group_samples import BAND, Gathered, InterleavedSamples
from calbatch.calibrate.steps.refpix._prediction import PIXEL_TIMES, GroupSeries, times_of
from calbatch.calibrate.steps.refpix._preserved import PreservedReferences
from calbatch.calibrate.steps.refpix.bad_references import find_bad_pairs
from calbatch.calibrate.steps.refpix.transform import SAMPLES
from calbatch.calibrate.steps.refpix.weights import AMPLIFIERS, ReferenceWeights, read_weights
from calbatch.models.dq import BAD_REF_PIXEL, DO_NOT_USE
from calbatch.models.jit import for_kernel
from calbatch.models.storage.stamps import Stamp
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]
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
    bad_rows : ndarray of bool or None
        The file rows of bad reference pixels, (3200,), if they are preserved.
    """

    correction: Array
    lines: Array
    offsets: Array | None
    preserved: Array | None = None
    bad_rows: Array | None = None


def count_signal_bytes(shape: tuple[int, ...], *, keep: bool) -> int:
    """Return the memory for the signal of an exposure, and for computing it.

    The samples that it depends on lie in the memory for the correction. Before, they are read in
    bands with their flags, as integers and as floats; afterwards, the series and the spectra of one
    group take less than a dozen times their length, and two more frames if all samples are kept.
    """
    sample = np.dtype(np.float32).itemsize
    preserved = ROWS - DETECTOR if keep else 0
    frame = (DETECTOR + preserved) * DETECTOR * sample
    band = shape[0] * shape[1] * BAND * DETECTOR * (2 * sample + 3)
    group = WORK * SAMPLES * sample + (2 * ROWS * DETECTOR * sample if keep else 0)
    return shape[0] * shape[1] * frame + max(band, group)


def combine_interleaved(
    gathered: Iterable[Gathered],
    *,
    layout: InterleavedLayout,
    settings: InterleavedSettings,
    path: str,
    stamp: Stamp,
) -> InterleavedSignal:
    """Return the signal of an IRS2 exposure.

    Parameters
    ----------
    gathered : iterable of tuple
        Samples and flags of `interleaved_regions`, each of which is stored before the next is
        taken.
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
    offsets = None
    if settings.irs2_mean_subtraction:
        offsets = samples.subtract_means(
            odd_even_columns=settings.odd_even_columns, siglimit=settings.siglimit
        )
    samples.replace_bad()
    bad_rows = samples.bad_rows() if settings.preserve_irs2_refpix else None
    samples.to_detector()
    samples.replace_listed(weights.bad)
    return _signal_of(samples, weights, offsets, bad_rows)


def _signal_of(
    samples: InterleavedSamples,
    weights: ReferenceWeights,
    offsets: Array | None,
    bad_rows: Array | None,
) -> InterleavedSignal:
    """Return the signal; reference pixels are preserved if ``bad_rows`` is given."""
    lead = samples.frames.shape[:2]
    preserved = None if bad_rows is None else PreservedReferences(samples.layout, lead)
    lines = np.empty((*lead, AMPLIFIERS, 2), np.float32)
    order = -1 if samples.layout.is_turned else 1
    for i in range(lead[0]):
        means = samples.means(i).in_time()
        for group in range(lead[1]):
            series = GroupSeries(samples.group(i, group).in_time(), means)
            lines[i, group] = series.lines[1:][::order]
            filled = series.fill_output()
            if preserved is not None:
                preserved.start_group(i, group, series, means, filled)
            placed = samples.frames[i, group, ::order, ::order]  # the group's samples are lost
            _place_prediction(series.predict(filled, weights), placed, preserved)
    return InterleavedSignal(
        correction=samples.frames,
        lines=lines,
        offsets=offsets,
        preserved=None if preserved is None else preserved.samples,
        bad_rows=bad_rows,
    )


def _place_prediction(
    predicted: Iterable[Array], placed: Array, preserved: PreservedReferences | None
) -> None:
    """Put the series of the amplifiers into the frame of a group, in the detector's order."""
    rows = np.empty((512, DETECTOR), np.float32)
    for k, series in enumerate(predicted):
        loops.pick_rows(series, PIXEL_TIMES, rows)
        placed[512 * k : 512 * (k + 1)] = rows if k % 2 == 0 else rows[::-1]
        if preserved is not None:
            preserved.add_amplifier(k + 1, series)
    if preserved is not None:
        preserved.finish_group()


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
    result = np.array(signal.correction[:, :, r0:r1, c0:c1], order="C")
    for i, (counts, found) in enumerate(zip(data, result, strict=True)):
        offsets = np.zeros((len(counts), r1 - r0))
        if signal.offsets is not None:
            offsets[:] = signal.offsets[i, :, r0:r1]
        lines = for_kernel(signal.lines[i])
        loops.subtract_signal(for_kernel(counts), lines, rows, columns, amplifiers, offsets, found)
    return result


def subtract_from_all(
    data: Array,
    pixeldq: Array,
    *,
    signal: InterleavedSignal,
    layout: InterleavedLayout,
    region: Region,
) -> tuple[Array, Array]:
    """Subtract the signal from all samples of a region, interleaved ones included, and flag rows.

    As `subtract_interleaved`, but ``data``, ``pixeldq`` and ``region`` have all rows of the file,
    and ``signal`` has ``preserved`` and ``bad_rows``. The rows of bad reference pixels are flagged.
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
    flags = pixeldq.copy()
    if signal.bad_rows is not None:
        flags[signal.bad_rows[slice(*region.rows)]] |= BAD_REF_PIXEL | DO_NOT_USE
    return result, flags
