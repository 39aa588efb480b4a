"""The samples from which the signal of an IRS2 exposure is computed, group by group.

Source: jwst 3.0.0 ``refpix.irs2_subtract_reference``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._interleaving import (
    BLOCKS,
    PIXEL_POSITIONS,
    REFERENCE_POSITIONS,
    REFERENCES,
    SECTION,
    SECTIONS,
    InterleavedLayout,
)
from calbatch.calibrate.steps._reference_pixels import BORDER, DETECTOR
from calbatch.calibrate.steps.refpix._prediction import BORDER_ROWS, GroupSamples
from calbatch.calibrate.steps.refpix.bad_references import list_bad_pixels, replace_bad
from calbatch.calibrate.steps.refpix.signal import average_known, column_offsets, parity_means
from calbatch.calibrate.steps.refpix.weights import AMPLIFIERS
from calbatch.models.dq import BAD_REF_PIXEL, DO_NOT_USE
from calbatch.models.storage.memory import allocate_pages
from calbatch.models.tiling.plan import Region

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Gathered = tuple[Array, Array]
"""Samples (integrations, groups, rows, columns) and flags (rows, columns) of a region."""

BANDS = 5
"""Number of regions of the reference output, which are in memory one at a time."""
BAND = SECTION // BANDS
REFERENCE_PIXELS = BLOCKS * REFERENCES
"""Reference pixels of a section in a row of the detector."""


def interleaved_regions(layout: InterleavedLayout) -> list[Region]:
    """Return the regions that the signal depends on.

    First the reference output in bands, then the blocks of reference pixels, both in file order,
    and last the border of the detector in all amplifiers.
    """
    whole = (0, DETECTOR)
    bands = [Region((n, n + BAND), whole) for n in range(*layout.output_rows, BAND)]
    starts = np.arange(*layout.amplifier_rows, SECTION)[:, None] + REFERENCE_POSITIONS[::REFERENCES]
    blocks = [Region((int(n), int(n) + REFERENCES), whole) for n in starts.ravel()]
    borders = [(0, BORDER), (DETECTOR - BORDER, DETECTOR)]
    return [*bands, *blocks, *(Region(layout.amplifier_rows, columns) for columns in borders)]


def gather_interleaved(data: Array, pixeldq: Array) -> Gathered:
    """Return samples and pixel flags unchanged."""
    return data, pixeldq


class InterleavedSamples:
    """The samples of the reference output, the reference pixels and the border.

    The samples of a group lie in the memory for its correction, which is larger. They are lost when
    the correction is stored there.

    Parameters
    ----------
    gathered : iterable of tuple
        Samples and flags of `interleaved_regions`, each of which is stored before the next is
        taken.
    layout : InterleavedLayout
        The layout of the exposure's files.

    Attributes
    ----------
    frames : ndarray
        Memory for the correction, float32, (integrations, groups, 2048, 2048).
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

    def __init__(self, gathered: Iterable[Gathered], layout: InterleavedLayout) -> None:
        self.layout = layout
        self._own = AMPLIFIERS if layout.is_turned else 0  # section of the reference output
        self._amplifiers = slice(AMPLIFIERS) if layout.is_turned else slice(1, SECTIONS)
        results = iter(gathered)
        first = next(results)
        lead = first[0].shape[:2]
        self.frames = allocate_pages((*lead, DETECTOR, DETECTOR), np.float32)
        self.output, self.references, self.border = _divide_frames(
            self.frames,
            (SECTION, DETECTOR),
            (SECTIONS, REFERENCE_PIXELS, DETECTOR),
            (AMPLIFIERS, SECTION, 2 * BORDER),
        )
        self.bad: Mask = np.zeros((SECTIONS, REFERENCE_PIXELS), np.bool_)
        self.unusable: Mask = np.zeros((SECTIONS, SECTION, 2 * BORDER), np.bool_)
        self._place_output(chain([first], islice(results, BANDS - 1)))
        self._place_blocks(islice(results, AMPLIFIERS * BLOCKS))
        self._place_border(results)

    def _place_output(self, bands: Iterable[Gathered]) -> None:
        is_bad = np.empty(SECTION, np.bool_)
        for n, (data, flags) in enumerate(bands):
            rows = slice(BAND * n, BAND * (n + 1))
            self.output[:, :, rows] = data
            is_bad[rows] = np.any(flags & BAD_REF_PIXEL, axis=-1)
            self.unusable[self._own, rows] = flags[:, BORDER_ROWS] & DO_NOT_USE
        self.bad[self._own] = is_bad[REFERENCE_POSITIONS]
        for k, row in enumerate(REFERENCE_POSITIONS):
            self.references[:, :, self._own, k] = self.output[:, :, row]

    def _place_blocks(self, blocks: Iterable[Gathered]) -> None:
        references, bad = self.references[:, :, self._amplifiers], self.bad[self._amplifiers]
        for n, (data, flags) in enumerate(blocks):
            amplifier, first = n // BLOCKS, REFERENCES * (n % BLOCKS)
            references[:, :, amplifier, first : first + REFERENCES] = data
            bad[amplifier, first : first + REFERENCES] = np.any(flags & BAD_REF_PIXEL, axis=-1)

    def _place_border(self, sides: Iterable[Gathered]) -> None:
        unusable = self.unusable[self._amplifiers]
        for n, (data, flags) in enumerate(sides):
            columns = slice(BORDER * n, BORDER * (n + 1))
            self.border[..., columns] = data.reshape(*self.border.shape[:-1], BORDER)
            unusable[..., columns] = flags.reshape(AMPLIFIERS, SECTION, BORDER) & DO_NOT_USE

    def subtract_means(self, *, odd_even_columns: bool, siglimit: float) -> npt.NDArray[np.float64]:
        """Subtract the border's means from all samples in place, and return those of pixels.

        Returns
        -------
        ndarray
            float64, (integrations, groups, 2048): the mean for each file row that is not
            interleaved.
        """
        output = self.output[:, :, None, :, BORDER_ROWS]
        sections = (self.border, output) if self.layout.is_turned else (output, self.border)
        border = np.concatenate(sections, axis=2)
        lead = border.shape[:2]
        frames = math.prod(lead)
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
                    odd_even_columns,
                    siglimit,
                )
                for half in (slice(BORDER), slice(BORDER, None))
            ]
            both = [average_known(*pair) for pair in zip(*means, strict=True)]
            offsets[:, section] = column_offsets(both, parities[section], frames)
        by_row = offsets.reshape(*lead, SECTIONS, SECTION, 1)
        self.references -= by_row[:, :, :, REFERENCE_POSITIONS]
        self.border -= by_row[:, :, self._amplifiers]
        self.output -= by_row[:, :, self._own]
        return by_row[:, :, self._amplifiers, PIXEL_POSITIONS].reshape(*lead, DETECTOR)

    def bad_rows(self) -> Mask:
        """Return the mask of bad reference pixels' file rows, (3200,), in the order of the file."""
        rows: Mask = np.zeros((SECTIONS, SECTION), np.bool_)
        rows[:, REFERENCE_POSITIONS] = self.bad
        return rows.ravel()

    def replace_bad(self) -> None:
        """Replace all reference pixels that are bad."""
        for section, bad in enumerate(self.bad):
            replace_bad(self.references[:, :, section], bad, np.flatnonzero(bad))

    def to_detector(self) -> None:
        """Bring all samples into the detector's order, in which the reference output is first."""
        if self.layout.is_turned:
            self.output = self.output[..., ::-1, ::-1]
            self.references = self.references[:, :, ::-1, ::-1, ::-1]
            self.border = self.border[:, :, ::-1, ::-1, ::-1]
            self.bad = self.bad[::-1, ::-1]

    def replace_listed(self, listed: Sequence[tuple[int, int, int]]) -> None:
        """Replace the reference pixels that the reference lists, in the detector's order."""
        for output, odd_even, mask in listed:
            bad = self.bad[output]
            fresh = [n for n in list_bad_pixels(output, odd_even, mask) if not bad[n]]
            bad[fresh] = True
            replace_bad(self.references[:, :, output], bad, fresh)

    def group(self, integration: int, group: int) -> GroupSamples:
        """Return the samples of a group in the detector's order."""
        return GroupSamples(*(part[integration, group] for part in self._parts()))

    def means(self, integration: int) -> GroupSamples:
        """Return the means over the groups of an integration, in float64."""
        parts = (part[integration] for part in self._parts())
        return GroupSamples(*(p.sum(axis=0, dtype=np.float64) / len(p) for p in parts))

    def _parts(self) -> tuple[Array, Array, Array]:
        return self.output, self.references, self.border


def _divide_frames(frames: Array, *shapes: tuple[int, ...]) -> list[Array]:
    """Return arrays of some shapes for each group, one after the other in the memory of its frame.

    ``frames`` is a contiguous array, (integrations, groups, rows, columns).
    """
    lead = frames.shape[:2]
    flat = frames.reshape(*lead, -1)
    found, start = [], 0
    for shape in shapes:
        stop = start + math.prod(shape)
        found.append(flat[..., start:stop].reshape(*lead, *shape))  # a view
        start = stop
    return found


def _parities(layout: InterleavedLayout) -> Array:
    """Return 0 or 1 for the samples of each section in file order, (5, 640).

    Pixels alternate; of a block's reference pixels, the first two count as even.
    """
    position = np.arange(SECTION)
    parity = position % 2
    parity[REFERENCE_POSITIONS] = REFERENCE_POSITIONS % 4 // 2
    row = parity[::-1] if layout.is_turned else parity
    return np.tile(row, (SECTIONS, 1))
