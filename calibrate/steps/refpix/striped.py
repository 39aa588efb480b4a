"""Correct stripes by the clipped means of the reference pixels of each stripe and amplifier.

Reference pixels are those that PIXELDQ flags: in the reference rows that are read along with a
stripe, and where the rows of the stripe cross the sides of the detector.

Source: jwst 3.0.0 ``refpix.reference_pixels``, ``do_multistripe_corrections``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.frames.stripes import DETECTOR, Stripes
from calbatch.calibrate.steps._ramps import zero_frames_of
from calbatch.calibrate.steps.refpix.collation import (
    collate_stripes,
    collated_frame,
    stripe_of_row,
)
from calbatch.calibrate.steps.refpix.combine import RefPixSettings
from calbatch.calibrate.steps.refpix.geometry import AMPLIFIER
from calbatch.calibrate.steps.refpix.pixels import append_zero_frames, are_reference
from calbatch.calibrate.steps.refpix.signal import parity_means
from calbatch.models.datamodels import RampModel
from calbatch.models.tiling.plan import REGION, Reduction, Region

Array = npt.NDArray[Any]
Samples = tuple[Array, Array]
"""Samples (integrations, groups, pixels), and the pixels' outputs (pixels,)."""

OUTPUTS = 2 * (DETECTOR // AMPLIFIER)
"""Even and odd columns of the four amplifiers."""
_DENSE = 0.25
"""Fraction of flagged pixels above which a whole row is read."""


@dataclass(frozen=True)
class StripeLayout:
    """The stripe and the output that read each pixel of a frame.

    Attributes
    ----------
    stripe : ndarray of int
        For each repetition and each row of the detector, (repeats, rows): the number of the stripe;
        -1 for none.
    output : ndarray of int
        For each column of the detector, in the order of the image, (columns,): twice the number of
        its amplifier, plus 1 for odd columns; -1 for none.
    is_transposed : bool
        True if rows of the detector are columns of the image.
    """

    stripe: Array
    output: Array
    is_transposed: bool

    def cut(self, region: Region) -> tuple[Array, Array]:
        """Return the stripes and the outputs of a region of the image."""
        slow, fast = region[::-1] if self.is_transposed else region
        return self.stripe[:, slice(*slow)], self.output[slice(*fast)]

    def outputs_of(self, shape: tuple[int, int]) -> Array:
        """Return the output of each pixel of an image that has all columns of the layout."""
        along = self.output[:, np.newaxis] if self.is_transposed else self.output
        return np.broadcast_to(along, shape)


def layout_of_stripes(stripes: Stripes, stripe: Array | None = None) -> StripeLayout:
    """Return the layout of a collated frame, or of an exposure without superstripes.

    As in jwst, the position in the array decides whether a column is even or odd, and the start of
    the subarray in the image decides to which amplifier it belongs.

    Parameters
    ----------
    stripes : Stripes
        The stripes of the exposure.
    stripe : ndarray, optional
        The stripes that read the rows of a collated frame; see `StripeLayout`.
    """
    slow, fast = stripes.orientation.slow_and_fast(stripes.shape)
    columns = np.arange(fast)[:: np.sign(stripes.orientation.fast)]
    amplifier = (columns + stripes.fast_start) // AMPLIFIER
    output = np.where(2 * amplifier < OUTPUTS, 2 * amplifier + columns % 2, -1)
    if stripe is None:
        stripe = np.zeros((1, slow), np.intp)
    return StripeLayout(stripe, output, stripes.orientation.is_transposed)


# -- reference pixels ----------------------------------------------------------------------------


def find_reference(pixeldq: Array) -> Array:
    """Return True for usable reference pixels; see `are_reference`."""
    return are_reference(pixeldq)


def take_only(gathered: Sequence[Array]) -> Array:
    """Return the contribution of the only region."""
    (found,) = gathered
    return found


def cover_reference(
    gathered: Sequence[Array], *, is_transposed: bool, count: int
) -> tuple[Region, ...]:
    """Return regions of a stack that cover all reference pixels, stripe by stripe.

    Rows of which many pixels are flagged are covered as a whole, others by some of their columns.

    Parameters
    ----------
    gathered : sequence of ndarray
        One mask, True for reference pixels of a stripe, (rows, columns).
    is_transposed : bool
        True if rows of the detector are columns of the image.
    count : int
        Number of stripes.
    """
    mask = take_only(gathered)
    image = mask.T if is_transposed else mask
    dense = image.mean(axis=1) > _DENSE
    columns = image[~dense].any(axis=0)
    found = [Region(rows, (0, image.shape[1])) for rows in _runs(dense)]
    found += [Region(rows, cols) for cols in _runs(columns) for rows in _runs(~dense)]
    if is_transposed:
        found = [Region(*region[::-1]) for region in found]
    starts = range(0, count * mask.shape[0], mask.shape[0])
    return tuple(
        Region((start + first, start + stop), cols)
        for start in starts
        for (first, stop), cols in found
    )


def _runs(chosen: Array) -> list[tuple[int, int]]:
    """Return the bounds of consecutive True values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


# -- signal --------------------------------------------------------------------------------------


def gather_stripe(
    data: Array,
    zeroframe: Array | None = None,
    *,
    usable: Array,
    layout: StripeLayout,
    region: Region,
) -> Samples:
    """Return the samples of a region's reference pixels, and their outputs.

    Parameters
    ----------
    data : ndarray
        Counts (DN), (integrations, groups, rows, columns).
    zeroframe : ndarray, optional
        First read of each integration (DN), (integrations, rows, columns), appended as a last
        group.
    usable : ndarray
        True for reference pixels of a stripe, (rows, columns).
    layout : StripeLayout
        The outputs of its pixels.
    region : Region
        The region of the stack that ``data`` covers, in one stripe.
    """
    if zeroframe is not None:
        data = append_zero_frames(data, zeroframe)
    (first, stop), cols = region
    start = first // usable.shape[0] * usable.shape[0]
    here = slice(first - start, stop - start), slice(*cols)
    chosen = usable[here]
    return data[..., chosen], layout.outputs_of(usable.shape)[here][chosen]


def combine_stripes(
    gathered: Sequence[Samples], *, count: int, lead: tuple[int, int], settings: RefPixSettings
) -> Array:
    """Return the signal of all stripes.

    Parameters
    ----------
    gathered : sequence of tuple
        Results of `gather_stripe`: the same number of regions for each stripe, stripe by stripe.
    count : int
        Number of stripes.
    lead : (int, int)
        Numbers of integrations and groups.
    settings : RefPixSettings
        The parameters: ``odd_even_columns`` and ``siglimit``.

    Returns
    -------
    ndarray
        Mean counts (DN), (integrations, groups, stripes, outputs). As in jwst, they are zero where
        either the even or the odd columns of an amplifier have no reference pixels.
    """
    signal = np.zeros((*lead, count, OUTPUTS))
    regions = len(gathered) // count
    for number in range(count if regions else 0):
        parts = gathered[number * regions : (number + 1) * regions]
        samples = np.concatenate([found for found, _ in parts], axis=-1)
        outputs = np.concatenate([found for _, found in parts])
        signal[:, :, number] = _mean_of_outputs(samples, outputs, settings)
    return signal


def _mean_of_outputs(samples: Array, outputs: Array, settings: RefPixSettings) -> Array:
    """Return the mean of each output's samples, (integrations, groups, outputs)."""
    lead = samples.shape[:2]
    means = np.zeros((*lead, OUTPUTS))
    for first in range(0, OUTPUTS, 2):
        chosen = outputs // 2 == first // 2
        pair = parity_means(
            samples[..., chosen].reshape(lead[0] * lead[1], -1),
            np.ones(int(chosen.sum()), np.bool_),
            outputs[chosen],
            settings.odd_even_columns,
            settings.siglimit,
        )
        known = [mean for mean in pair if mean is not None]
        if len(known) == len(pair):
            means[..., first : first + 2] = np.stack(known, axis=-1).reshape(*lead, 2)
    return means


# -- subtraction ---------------------------------------------------------------------------------


def subtract_stripes(
    data: Array,
    zeroframe: Array | None = None,
    *,
    signal: Array,
    layout: StripeLayout,
    region: Region,
) -> tuple[Array, ...]:
    """Subtract the signal of the stripe and output that read a pixel.

    Parameters
    ----------
    data : ndarray
        Counts (DN), (integrations, groups, rows, columns); each group of the file has as many
        groups here as stripes are repeated.
    zeroframe : ndarray, optional
        First read of each integration (DN), (integrations, rows, columns). Zero marks unusable
        values, which stay zero.
    signal : ndarray
        Mean counts (DN) of reference pixels, (integrations, groups of the file, stripes, outputs);
        with zero frames, their signal is that of a last group.
    layout : StripeLayout
        The stripes and outputs of the frame's pixels.
    region : Region
        The region of the frame that the arrays cover.

    Returns
    -------
    tuple of ndarray
        The counts, and the zero frames if given.
    """
    if zeroframe is None:
        return (_subtract_signal(data, signal, layout, region),)
    samples = _subtract_signal(data, signal[:, :-1], layout, region)
    stripe = layout.stripe[:1]
    for later in layout.stripe[1:]:  # as in jwst, the last read of a row provides its zero frame
        stripe = np.where(later >= 0, later, stripe)
    last = StripeLayout(stripe, layout.output, layout.is_transposed)
    first = _subtract_signal(zeroframe[:, np.newaxis], signal[:, -1:], last, region)
    return samples, np.where(zeroframe == 0, np.float32(0), first[:, 0])


def _subtract_signal(data: Array, signal: Array, layout: StripeLayout, region: Region) -> Array:
    """Return groups minus their signal; see `subtract_stripes`."""
    stripe, output = layout.cut(region)
    repeats = len(stripe)
    read = (stripe >= 0)[:, :, np.newaxis] & (output >= 0)
    result = np.empty_like(data)
    for integration, groups in enumerate(data):
        for group, counts in enumerate(groups):
            repeat = group % repeats
            level = signal[integration, group // repeats][stripe[repeat]][:, output]
            level = np.where(read[repeat], level, 0.0)
            result[integration, group] = counts - (level.T if layout.is_transposed else level)
    return result


# -- the correction ------------------------------------------------------------------------------


def correct_stripes(ramp: RampModel, stripes: Stripes, settings: RefPixSettings) -> RampModel:
    """Return a ramp minus the signal of its stripes' reference pixels; superstripes are collated.

    Parameters
    ----------
    ramp : RampModel
        The exposure or, with superstripes, their stack.
    stripes : Stripes
        Its stripes.
    settings : RefPixSettings
        The parameters.
    """
    zero = zero_frames_of(ramp)
    signal = _signal_of_stripes(ramp, stripes, settings)
    rows = None
    if stripes.is_super:
        frame = collated_frame(stripes, str(ramp.meta.subarray.name))
        ramp, rows = collate_stripes(ramp, stripes, frame), stripe_of_row(stripes, frame)
    return ramp.map_tiles(
        subtract_stripes,
        outputs=("data", *zero),
        optional=zero,
        signal=signal,
        layout=layout_of_stripes(stripes, rows),
        region=REGION,
    )


def _signal_of_stripes(ramp: RampModel, stripes: Stripes, settings: RefPixSettings) -> Reduction:
    """Return the signal of all stripes.

    As in jwst, the flags of the first stripe tell which pixels are reference pixels in all of them.
    """
    zero, layout = zero_frames_of(ramp), layout_of_stripes(stripes)
    integrations, groups = ramp.shape[:2]
    first = [stripes.stripe_region(0)]
    cover = partial(cover_reference, is_transposed=layout.is_transposed, count=stripes.count)
    combine = partial(
        combine_stripes,
        count=stripes.count,
        lead=(integrations, groups + len(zero)),
        settings=settings,
    )
    return ramp.reduce(
        gather_stripe,
        combine,
        ramp.reduce(find_reference, cover, first),
        optional=zero,
        usable=ramp.reduce(find_reference, take_only, first),
        layout=layout,
        region=REGION,
    )
