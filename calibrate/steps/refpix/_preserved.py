"""Correct the reference pixels and the reference output of IRS2 exposures that preserve them.

References for IRS2, such as superbiases, are made from exposures with all samples.

Source: jwst 3.0.0 ``refpix.irs2_subtract_reference``, with ``preserve_refpix``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.steps._interleaving import (
    PIXEL_POSITIONS,
    REFERENCE_POSITIONS,
    ROWS,
    SECTION,
    SECTIONS,
    InterleavedLayout,
)
from calbatch.calibrate.steps._reference_pixels import DETECTOR
from calbatch.calibrate.steps.refpix._prediction import (
    REFERENCE_TIMES,
    GroupSamples,
    GroupSeries,
)

Array = npt.NDArray[Any]


class PreservedReferences:
    """The corrected samples of reference pixels and the reference output, added group by group.

    The reference output keeps its mean over the groups, and its reference pixels have the values
    that the filter has filled in. From the reference pixels of the amplifiers, their mean and the
    series predicted for them are subtracted.

    Parameters
    ----------
    layout : InterleavedLayout
        The layout of the exposure's files.
    lead : tuple of int
        Numbers of integrations and groups.

    Attributes
    ----------
    samples : ndarray
        float32, (integrations, groups, `InterleavedLayout.reference_rows`, columns).
    """

    def __init__(self, layout: InterleavedLayout, lead: tuple[int, ...]) -> None:
        self._layout, self._rows = layout, layout.reference_rows
        self.samples = np.empty((*lead, self._rows.size, DETECTOR), np.float32)
        self._frame = np.zeros((SECTIONS, SECTION, DETECTOR), np.float32)

    def start_group(
        self,
        integration: int,
        group: int,
        series: GroupSeries,
        means: GroupSamples,
        filled: Array,
    ) -> None:
        """Add the reference output of a group.

        ``means`` are those over the groups, and ``filled`` is that of `GroupSeries.fill_output`.
        """
        self._target = self.samples[integration, group]
        self._references = series.references
        output = self._frame[0]
        output[PIXEL_POSITIONS] = series.pixels + means.output[PIXEL_POSITIONS]
        output[REFERENCE_POSITIONS] = filled[:, REFERENCE_TIMES].T + means.references[0]

    def add_amplifier(self, section: int, predicted: Array) -> None:
        """Add the reference pixels of an amplifier, minus the series predicted for it."""
        left = self._references[section] - predicted[:, REFERENCE_TIMES].T
        self._frame[section, REFERENCE_POSITIONS] = left

    def finish_group(self) -> None:
        """Store the samples of the group in the order of the file."""
        placed = self._frame.copy()
        placed[::2] = placed[::2, ::-1]  # the direction of readout alternates
        frame = placed.reshape(ROWS, DETECTOR)
        self._target[:] = (frame[::-1, ::-1] if self._layout.is_turned else frame)[self._rows]
