"""Combine gathered reference pixels to the signal that is subtracted from every pixel.

Source: jwst 3.0.0 ``refpix.reference_pixels``, ``do_fullframe_corrections`` and
``do_subarray_corrections``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._reference_pixels import BORDER, DETECTOR
from calbatch.calibrate.steps.refpix.geometry import AMPLIFIER, DetectorPlacement, Range
from calbatch.calibrate.steps.refpix.signal import (
    average_known,
    column_offsets,
    combine_sides,
    parity_means,
    running_median,
)
from calbatch.calibrate.steps.refpix.sirs import SideKernels, predict_drift
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
Gathered = tuple[Array, Array]
"""A region's samples, (integrations, groups, rows, columns), and True for usable pixels, (rows,
columns)."""

WHOLE: Range = (0, DETECTOR)
LOW: Range = (0, BORDER)
HIGH: Range = (DETECTOR - BORDER, DETECTOR)


@dataclass(frozen=True)
class RefPixSettings:
    """The step's parameters that the arithmetic uses, under the same names.

    With ``kernels``, the sides are smoothed by `calbatch.calibrate.steps.refpix.sirs`.
    """

    odd_even_columns: bool = True
    use_side_ref_pixels: bool = True
    side_smoothing_length: int = 11
    side_gain: float = 1.0
    siglimit: float = 3.0
    sigreject: float = 4.0
    kernels: SideKernels | None = None


@dataclass(frozen=True)
class ReferenceSignal:
    """The signal to subtract from a pixel: the sum of its file row's and its file column's value.

    Equally large blocks of file columns may have different values along rows, and vice versa.

    Attributes
    ----------
    rows : ndarray
        float64, (integrations, groups, blocks of file columns, file rows).
    cols : ndarray
        float64, (integrations, groups, blocks of file rows, file columns).
    """

    rows: Float64
    cols: Float64


class Edges:
    """The gathered regions, from which rectangles can be cut.

    Parameters
    ----------
    placement : DetectorPlacement
        The position of the exposure.
    regions : sequence of Region
        Regions that do not overlap.
    gathered : sequence of tuple
        Samples and usable pixels of each region.
    """

    def __init__(
        self, placement: DetectorPlacement, regions: Sequence[Region], gathered: Sequence[Gathered]
    ) -> None:
        self.placement = placement
        self.regions = regions
        self.gathered = gathered
        self.lead: tuple[int, int] = gathered[0][0].shape[:2]
        self.frames = self.lead[0] * self.lead[1]

    def cut_rectangle(self, slow: Range, fast: Range) -> Gathered:
        """Return the samples (frames, detector rows, columns) and usable pixels of a rectangle.

        ``slow`` and ``fast`` are ranges of detector rows and columns. The result covers the part
        inside the exposure.
        """
        rectangle = self.placement.region(slow, fast)
        samples = np.zeros((*self.lead, *rectangle.shape), dtype=np.float64)
        good = np.zeros(rectangle.shape, dtype=np.bool_)
        for region, (data, usable) in zip(self.regions, self.gathered, strict=True):
            common = _overlap(rectangle, region)
            here, there = common.within(rectangle), common.within(region)
            samples[..., *here] = data[..., *there]
            good[here] = usable[there]
        oriented = self.placement.to_detector(samples)
        return oriented.reshape(self.frames, *oriented.shape[2:]), self.placement.to_detector(good)


def _overlap(first: Region, second: Region) -> Region:
    spans = []
    for (a, b), (c, d) in zip(first, second, strict=True):
        start = max(a, c)
        spans.append((start, max(start, min(b, d))))
    return Region(*spans)


def signal_of(
    place: DetectorPlacement,
    lead: tuple[int, int],
    by_detector_row: Float64 | None,
    by_detector_column: Float64,
) -> ReferenceSignal:
    """Convert the signal along detector rows and columns to that along file rows and columns.

    Parameters
    ----------
    place : DetectorPlacement
        The position of the exposure.
    lead : tuple of int
        Its integrations and groups.
    by_detector_row : ndarray or None
        Signal (DN), (frames, amplifiers, detector rows); a single amplifier stands for all. None
        means zero.
    by_detector_column : ndarray
        Signal (DN), (frames, detector columns).
    """
    column_signal = by_detector_column[:, None, :: np.sign(place.fastaxis)]
    column_signal = column_signal.reshape(*lead, 1, -1)
    if by_detector_row is None:
        height = place.slow[1] - place.slow[0]
        by_detector_row = np.zeros((lead[0] * lead[1], 1, height))
    row_signal = by_detector_row[:, :: np.sign(place.fastaxis), :: np.sign(place.slowaxis)]
    row_signal = row_signal.reshape(*lead, *row_signal.shape[1:])
    if place.transposed:
        return ReferenceSignal(rows=column_signal, cols=row_signal)
    return ReferenceSignal(rows=row_signal, cols=column_signal)


# -- four amplifiers ---------------------------------------------------------------------------


def combine_amplifiers(
    gathered: Sequence[Gathered],
    *,
    placement: DetectorPlacement,
    regions: Sequence[Region],
    settings: RefPixSettings,
) -> ReferenceSignal:
    """Return the signal of a full frame, or of a subarray read by four amplifiers.

    The offset of each amplifier's even and odd columns is the average of the clipped means of their
    bottom and top reference pixels. The remaining signal of the side columns, smoothed by a running
    median and averaged over both sides, is multiplied by ``side_gain`` and subtracted from each
    detector row; with kernels, SIRS replaces it.
    """
    edges = Edges(placement, regions, gathered)
    offsets = _amplifier_offsets(edges, settings)
    rows = _row_signal(edges, offsets, settings) if settings.use_side_ref_pixels else None
    return signal_of(placement, edges.lead, rows, offsets)


def _amplifier_offsets(edges: Edges, settings: RefPixSettings) -> Float64:
    first, last = edges.placement.fast
    bottom, top = edges.cut_rectangle(LOW, WHOLE), edges.cut_rectangle(HIGH, WHOLE)
    columns = np.arange(first, last)
    offsets = np.zeros((edges.frames, columns.size))
    for start in range(0, DETECTOR, AMPLIFIER):
        selected = (columns >= start) & (columns < start + AMPLIFIER)
        if selected.any():
            means = [_edge_means(edge, columns, selected, settings) for edge in (bottom, top)]
            both = [average_known(*pair) for pair in zip(*means, strict=True)]
            offsets[:, selected] = column_offsets(both, columns[selected], edges.frames)
    return offsets


def _edge_means(
    edge: Gathered, columns: Array, selected: Array, settings: RefPixSettings
) -> list[Float64 | None]:
    samples, good = edge
    samples, good = samples[:, :, selected], good[:, selected]
    parities = np.broadcast_to(columns[selected], good.shape).ravel()
    return parity_means(
        samples.reshape(samples.shape[0], -1),
        good.ravel(),
        parities,
        settings.odd_even_columns,
        settings.siglimit,
    )


def _row_signal(edges: Edges, offsets: Float64, settings: RefPixSettings) -> Float64:
    sides = [_correct_side(edges, side, offsets) for side in (LOW, HIGH)]
    if settings.kernels is not None:
        left, right = (samples for samples, _ in sides)
        return predict_drift(left, right, settings.kernels, settings.sigreject)
    length, first_row = settings.side_smoothing_length, edges.placement.slow[0]
    medians = [running_median(*side, length, first_row, DETECTOR) for side in sides]
    return settings.side_gain * combine_sides(*medians)[:, None]


def _correct_side(edges: Edges, side: Range, offsets: Float64) -> Gathered:
    """Return the samples of the side columns minus the columns' offsets, and the usable pixels."""
    samples, good = edges.cut_rectangle(WHOLE, side)
    first, _ = edges.placement.fast
    selected = slice(max(side[0] - first, 0), max(side[1] - first, 0))
    samples -= offsets[:, None, selected]
    return samples, good


# -- one amplifier -----------------------------------------------------------------------------


def combine_single(
    gathered: Sequence[Gathered],
    *,
    placement: DetectorPlacement,
    lead: tuple[int, int],
    settings: RefPixSettings,
) -> ReferenceSignal | None:
    """Return the signal of a subarray read by one amplifier; None without reference pixels.

    The offset of even and of odd columns is the clipped mean of all their reference pixels,
    wherever these are.

    Parameters
    ----------
    gathered : sequence of tuple
        For each region, the samples of its reference pixels (integrations, groups, pixels) and
        their detector columns (pixels,).
    placement : DetectorPlacement
        The position of the exposure.
    lead : tuple of int
        Its integrations and groups.
    settings : Settings
        The parameters.
    """
    frames = lead[0] * lead[1]
    if not any(columns.size for _, columns in gathered):
        return None
    columns = np.concatenate([columns for _, columns in gathered])
    means = parity_means(
        np.concatenate([samples.reshape(frames, -1) for samples, _ in gathered], axis=1),
        np.ones(columns.size, np.bool_),
        columns,
        settings.odd_even_columns,
        settings.siglimit,
    )
    offsets = column_offsets(means, np.arange(*placement.fast), frames)
    return signal_of(placement, lead, None, offsets)
