"""Saturation: flag groups at the top and bottom of the converter's range.

Source: jwst 3.0.0 ``saturation`` step and stcal 1.20 ``flag_saturated_pixels``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.frames.stripes import is_stack, stripes_of
from calbatch.calibrate.parameters import Boolean, Integer
from calbatch.calibrate.step import SkipStep, Step
from calbatch.calibrate.steps import _saturation_flags as loops
from calbatch.calibrate.steps._interleaving import is_interleaved, layout_of, open_full_frame
from calbatch.calibrate.steps._ramps import as_ramp, for_kernels, frames_of, zero_frames_of
from calbatch.calibrate.steps._saturation_irs2 import (
    flag_interleaved_saturation,
    flag_interleaved_unchecked,
)
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import NO_SAT_CHECK
from calbatch.models.fits.readers import Reader
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import REGION, Region

Array = npt.NDArray[Any]


class SaturationStep(Step):
    """Flag saturated groups, and groups at the bottom of the converter's range (A/D floor)."""

    reference_file_types = ("saturation", "superbias")
    cal_step = "saturation"

    n_pix_grow_sat = Integer(
        1, low=0, unit="pixel", help="layers of neighbours to flag around a saturated pixel"
    )
    use_readpatt = Boolean(True, help="look for saturation hidden by the averaging of frames")

    def process(self, exposure: DataModel) -> RampModel:
        """Return the ramp with its saturated groups flagged."""
        ramp = as_ramp(exposure, before_refpix=True)
        if is_interleaved(ramp):
            return self._process_interleaved(ramp)
        reference = self.open_reference(ramp, "saturation")
        frames = frames_of(ramp) if self.use_readpatt else None
        bias = None if frames is None else self._bias(ramp)
        # Flags of hidden saturation are grown from flags that have already been grown.
        times = 2 if frames is not None and frames > 1 else 1
        zero = zero_frames_of(ramp)
        stripes, place = stripes_of(ramp), dict[str, Any]()
        kernel: Callable[..., tuple[Array, ...]] = flag_saturation
        if stripes is not None and is_stack(ramp, stripes):
            kernel, place = flag_stack, {"height": stripes.shape[0], "region": REGION}
        return ramp.map_tiles(
            kernel,
            outputs=("groupdq", "pixeldq", *zero),
            optional=zero,
            alone={"pixeldq": flag_unchecked},
            radius=times * self.n_pix_grow_sat,
            threshold=reference.rows("data"),
            threshold_dq=reference.rows("dq"),
            bias=bias,
            reach=self.n_pix_grow_sat,
            frames=frames,
            **place,
        )

    def _process_interleaved(self, ramp: RampModel) -> RampModel:
        """Return an IRS2 ramp with its saturated groups flagged."""
        layout = layout_of(ramp)
        reference = open_full_frame(self, ramp, "saturation")
        return ramp.map_tiles(
            flag_interleaved_saturation,
            outputs=("groupdq", "pixeldq"),
            alone={"pixeldq": flag_interleaved_unchecked},
            radius=layout.grow_radius(self.n_pix_grow_sat),
            threshold=layout.spread(reference.rows("data")),
            threshold_dq=layout.spread(reference.rows("dq")),
            bias=self._bias(ramp) if self.use_readpatt else None,
            reach=self.n_pix_grow_sat,
            frames=frames_of(ramp) if self.use_readpatt else None,
            layout=layout,
            region=REGION,
        )

    def _bias(self, ramp: RampModel) -> Reader | None:
        """Return the superbias, for the signal of the second group; None if it is N/A."""
        try:
            reader: Reader = self.open_reference(ramp, "superbias").rows("data")
        except SkipStep:
            return None
        return reader


def flag_saturation(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    zeroframe: Array | None = None,
    *,
    threshold: Array,
    threshold_dq: Array,
    bias: Array | None,
    reach: int,
    frames: int | None,
) -> tuple[Array, ...]:
    """Return group and pixel flags with saturation and A/D floor.

    Parameters
    ----------
    data, groupdq : ndarray
        Raw counts (DN) and group flags, (integrations, groups, rows, columns).
    pixeldq : ndarray
        Pixel flags, (rows, columns).
    zeroframe : ndarray, optional
        First read of each integration (DN), (integrations, rows, columns).
    threshold, threshold_dq : ndarray
        The counts (DN) at which a pixel saturates, and the reference's flags.
    bias : ndarray or None
        The superbias (DN), for the check of the second group; None means zero.
    reach : int
        Layers of neighbours to flag around a saturated pixel.
    frames : int or None
        Frames averaged in a group; None omits the checks for hidden saturation.

    Returns
    -------
    groupdq, pixeldq : ndarray
        SATURATED from the first saturated group on; AD_FLOOR and DO_NOT_USE where counts are not
        positive; DO_NOT_USE where an average hides saturation; NO_SAT_CHECK where the reference
        has no threshold.
    zeroframe : ndarray
        The zero frames, if given. They have no flags: values that are saturated, within ``reach``
        of a saturated pixel, or not positive become zero.
    """
    data, before = for_kernels(data, groupdq)
    threshold, threshold_dq = for_kernels(threshold, threshold_dq)
    limit, checked = np.empty_like(threshold), np.empty(threshold.shape, np.bool_)
    (zero,) = for_kernels(np.zeros_like(limit) if bias is None else bias)
    flags, pixel_flags = np.empty_like(before), pixeldq.copy()
    loops.find_limits(threshold, threshold_dq, limit, checked, pixel_flags)
    limits = loops.Limits(limit, checked, zero)
    loops.flag_integrations(data, before, limits, frames or 0, reach, flags)
    if zeroframe is None:
        return flags, pixel_flags
    return flags, pixel_flags, _clear_unusable(zeroframe, limits, reach)


def _clear_unusable(zeroframe: Array, limits: loops.Limits, reach: int) -> Array:
    """Return zero frames with zero for unusable values; see `flag_saturation`."""
    (zeroframe,) = for_kernels(zeroframe)
    single = zeroframe[:, np.newaxis]  # each is a ramp of one group
    before = np.zeros(single.shape, np.uint8)
    unusable = np.empty_like(before)
    loops.flag_integrations(single, before, limits, 0, reach, unusable)
    return np.where(unusable[:, 0] != 0, np.float32(0), zeroframe)


def flag_stack(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    zeroframe: Array | None = None,
    *,
    threshold: Array,
    threshold_dq: Array,
    bias: Array | None,
    reach: int,
    frames: int | None,
    height: int,
    region: Region,
) -> tuple[Array, ...]:
    """Return the results of `flag_saturation` for a stack, whose stripes are not neighbours.

    Parameters
    ----------
    height : int
        Rows of a stripe.
    region : Region
        The rows and columns of the stack that the arrays cover.
    """
    return _flag_by_stripe(
        partial(flag_saturation, reach=reach, frames=frames),
        [array for array in (data, groupdq, pixeldq, zeroframe) if array is not None],
        {"threshold": threshold, "threshold_dq": threshold_dq, "bias": bias},
        spans_of_stripes(region.rows, height),
    )


def _flag_by_stripe(
    flag: Callable[..., tuple[Array, ...]],
    arrays: Sequence[Array],
    references: Mapping[str, Array | None],
    spans: Iterable[slice],
) -> tuple[Array, ...]:
    """Return the flags of stripes that are found one by one."""
    found = []
    for rows in spans:
        cut = {name: None if a is None else a[rows] for name, a in references.items()}
        found.append(flag(*(array[..., rows, :] for array in arrays), **cut))
    return tuple(np.concatenate(parts, axis=-2) for parts in zip(*found, strict=True))


def spans_of_stripes(rows: tuple[int, int], height: int) -> Iterator[slice]:
    """Yield the rows of each stripe in some rows of a stack, counted from the first of these."""
    first, stop = rows
    for number in range(first // height, -(-stop // height)):
        yield slice(max(number * height, first) - first, min((number + 1) * height, stop) - first)


def flag_unchecked(pixeldq: Array, *, threshold: Array, threshold_dq: Array) -> Array:
    """Return the pixel flags of `flag_saturation`, (rows, columns)."""
    unknown = np.where(np.isnan(threshold), np.uint32(NO_SAT_CHECK), np.uint32(0))
    flags: Array = pixeldq | threshold_dq | unknown
    return flags
