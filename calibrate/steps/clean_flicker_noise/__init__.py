"""Flicker noise: subtract the 1/f noise that is left in each group.

Source: jwst 3.0.0 ``clean_flicker_noise`` step.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from calbatch.calibrate.errors import FailStep, ParameterError, SkipStep, StepError
from calbatch.calibrate.numbers import header_number
from calbatch.calibrate.parameters import Boolean, Choice, Float, InputFile
from calbatch.calibrate.step import Step
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.calibrate.steps.clean_flicker_noise.automatic import LIMITS
from calbatch.calibrate.steps.clean_flicker_noise.background import (
    MODEL,
    Background,
    fill_flat,
    gather_flat,
)
from calbatch.calibrate.steps.clean_flicker_noise.choices import (
    MEDIAN_IMAGE,
    BackgroundMethod,
    BoxSize,
)
from calbatch.calibrate.steps.clean_flicker_noise.cleaning import (
    CleaningRules,
    find_noise,
    show_mask,
    show_masks,
    show_noise,
    spread_background,
    subtract_noise,
)
from calbatch.calibrate.steps.clean_flicker_noise.draft import (
    DraftFit,
    gather_noise,
    gather_ramp,
)
from calbatch.calibrate.steps.clean_flicker_noise.fourier import FourierRules
from calbatch.calibrate.steps.clean_flicker_noise.rates import (
    count_frames,
    gather_rates,
    is_rate,
    show_rate_noise,
    spread_rate_background,
    subtract_from_rates,
)
from calbatch.calibrate.steps.clean_flicker_noise.scene import SceneRules
from calbatch.calibrate.steps.ramp_fit import RampFitStep
from calbatch.models import datamodels
from calbatch.models.datamodels import CubeModel, ImageModel, RampModel
from calbatch.models.model import DataModel
from calbatch.models.tiling.plan import REGION, Reduction

log = logging.getLogger(__name__)

FFT_TYPES = ("NRS_MSASPEC", "NRS_IFU", "NRS_FIXEDSLIT", "NRS_BRIGHTOBJ")
"""Exposure types that can be cleaned in frequency space."""

MIRI_TYPES = ("MIR_IMAGE",)
"""MIRI's exposure types that can be cleaned."""

SOSS = "NIS_SOSS"

ALLSLITS_CUTOFFS = (150, 200, 49943, 49957)
"""Frequencies (Hz) of the filter for the subarray ALLSLITS."""

WORKING_FRAMES, MODEL_FRAMES = 3, 6
"""Frames of float32 that are in memory while the noise of a difference is found: with a median as
background, and otherwise."""

HELD_FIELDS = ("data", "groupdq")
"""Fields of the tiles that are held until the noise is known."""

PRODUCT_FIELDS: Mapping[type[DataModel], tuple[str, ...]] = {
    RampModel: ("data", "pixeldq", "groupdq"),
    ImageModel: ("data",),
    CubeModel: ("data", "err", "dq"),
}
"""The arrays of each product, as in jwst; all but the first are zero."""


class CleanFlickerNoiseStep(Step):
    """Subtract the 1/f noise that is left in each group after the reference-pixel correction.

    The noise is measured line by line, in the difference between each group and the one before, and
    in pixels without sources. Sources are found in draft rates.
    """

    reference_file_types = ("flat", "gain", "readnoise", "pastasoss")
    cal_step = "clean_flicker_noise"

    skip = Boolean(True, help="leave the exposure as it is and mark the step SKIPPED")
    autoparam = Boolean(
        False,
        help="images of NIRCam and NIRISS: apply the flat, and choose background_method and "
        "fit_by_channel from the data",
    )
    fit_method = Choice("median", ("median", "fft"), help="method by which noise is measured")
    fit_by_channel = Boolean(
        False, help="measure noise in each amplifier separately (near-infrared full frames)"
    )
    background_method = BackgroundMethod(
        help="background of a difference: one value, a map, or none; "
        "median_image is not supported yet"
    )
    background_box_size = BoxSize(
        help="rows and columns of the boxes of the map; by default up to 32 that divide the frame"
    )
    mask_science_regions = Boolean(False, help="mask regions that are known to hold sources")
    apply_flat_field = Boolean(False, help="divide by the flat before noise is measured")
    n_sigma = Float(2.0, unit="sigma", help="distance of sources from the background; 0 for none")
    fit_histogram = Boolean(False, help="find sigma by fitting a Gaussian to the draft rates")
    single_mask = Boolean(True, help="mask the same sources in all integrations")
    user_mask = InputFile(help="file with a mask: nonzero where there is no source")
    save_mask = Boolean(False, help="write the mask (_mask)")
    save_background = Boolean(False, help="write the background of each group (_flicker_bkg)")
    save_noise = Boolean(False, help="write the cleaned ramp minus the input (_flicker_noise)")

    def check(self) -> None:
        """Refuse parameters that are not supported yet."""
        super().check()
        if self.skip:
            return
        if self.background_method == MEDIAN_IMAGE:
            raise ParameterError(
                f"{self.name}.background_method = median_image is not supported yet: "
                "use median, model or None"
            )

    def wanted_references(self, instrument: str | None = None) -> set[str]:
        """Return the reference types of the draft rates, and the flat if it is applied."""
        wanted = super().wanted_references(instrument)
        shows_regions = self.mask_science_regions and instrument in ("MIRI", None)
        if not (self.apply_flat_field or self.autoparam or shows_regions):
            wanted.discard("flat")
        if self.user_mask is not None and not self.autoparam:
            wanted -= {"gain", "readnoise"}
        if instrument not in ("NIRISS", None):
            wanted.discard("pastasoss")
        return wanted

    def process(self, exposure: DataModel) -> DataModel:
        """Return the ramp, or the rates, without 1/f noise.

        Raises
        ------
        FailStep
            If jwst's step fails, too: for some exposure types, and masks of another shape.
        StepError
            If the exposure needs an option that is not supported yet, or lacks a keyword.
        """
        if not is_rate(exposure):
            exposure = as_ramp(exposure)
        self._require_support(exposure)
        self._choose_traces(exposure)
        flat = self._open_flat(exposure)
        noise = self._find_noise(exposure, flat)
        arguments: dict[str, Any] = {"noise": noise, "region": REGION, "flat": flat}
        self._add_products(exposure, arguments)
        kernel = subtract_from_rates if is_rate(exposure) else subtract_noise
        return exposure.map_tiles(kernel, ("data",), **arguments)

    def _require_support(self, exposure: DataModel) -> None:
        """Fail where jwst does, and reject options that are not supported yet."""
        kind = str(exposure.meta.exposure.type).upper()
        if kind.startswith("MIR") and kind not in MIRI_TYPES:
            raise FailStep(f"exposures of type {kind} cannot be cleaned")
        if self.fit_method == "fft" and kind not in FFT_TYPES:
            raise FailStep(f"fit_method = fft cannot be applied to exposures of type {kind}")
        if self.autoparam and kind not in LIMITS:
            log.warning("%s: autoparam has no effect on exposures of type %s", self.name, kind)
        masks_regions = self.mask_science_regions and self.user_mask is None
        if masks_regions and (kind.startswith("NRS") or kind == SOSS):
            raise StepError(
                f"{exposure.path}: {self.name}.mask_science_regions is not supported yet for "
                f"EXP_TYPE = {kind}: leave it False, or give a user_mask"
            )
        if masks_regions and is_rate(exposure) and self._is_miri(exposure):
            raise StepError(
                f"{exposure.path}: {self.name}.mask_science_regions is not supported yet for "
                "rates, only for ramps: leave it False, or give a user_mask"
            )

    def _choose_traces(self, exposure: DataModel) -> None:
        """Record the reference of SOSS traces (R_PSTSOS), as jwst does even if it masks none."""
        if str(exposure.meta.exposure.type).upper() != SOSS:
            return
        try:
            self.get_reference_file(exposure, "pastasoss")
        except SkipStep:
            log.info("%s: the pastasoss reference is N/A", self.name)

    def _open_flat(self, exposure: DataModel) -> Reduction | None:
        """Return the whole flat without unusable pixels, or None if none is applied."""
        if not (self.apply_flat_field or self._automatic_kind(exposure)):
            return None
        try:
            flat = self.open_reference(exposure, "flat")
        except SkipStep:
            log.info("%s: the flat reference is N/A: no flat is applied", self.name)
            return None
        filled: Reduction = flat.reduce(gather_flat, fill_flat)
        return filled

    def _find_noise(self, exposure: DataModel, flat: Reduction | None) -> Reduction:
        """Return the noise of the whole exposure, which is a decision."""
        combine = partial(find_noise, rules=self._rules(exposure))
        arguments: dict[str, Any] = {"region": REGION, "flat": flat}
        if self.user_mask is not None:
            arguments["user_mask"] = self._open_mask(exposure).rows("data")
        if is_rate(exposure):
            return exposure.decide(
                gather_rates,
                combine,
                frame_bytes=self._frame_bytes(exposure),
                holds=("data",),
                is_automatic=self._automatic_kind(exposure) is not None,
                **arguments,
            )
        products = self._draft_products(exposure)
        if not products:
            return exposure.decide(
                gather_ramp,
                combine,
                frame_bytes=self._frame_bytes(exposure),
                holds=HELD_FIELDS,
                **arguments,
            )
        fit, zero_frames, options = RampFitStep(f"{self.name}: draft").choose_fit(as_ramp(exposure))
        for kind in ("gain", "readnoise"):
            arguments[kind] = self.open_reference(exposure, kind).rows("data")
        if any(name.endswith(".dq") for name in products):
            arguments |= self._open_science_flat(exposure)
        return exposure.decide(
            gather_noise,
            combine,
            optional=("zeroframe",) if zero_frames else (),
            frame_bytes=self._frame_bytes(exposure),
            holds=HELD_FIELDS,
            draft=DraftFit(kernel=fit, products=products),
            **arguments,
            **options,
        )

    def _draft_products(self, exposure: DataModel) -> tuple[str, ...]:
        """Return the names of the draft products that are needed."""
        wanted = set()
        if self._automatic_kind(exposure):
            wanted.add("rate.data")
        if self.user_mask is None:
            wanted.add("rate.data" if self.single_mask else "rateints.data")
            if self.mask_science_regions and self._is_miri(exposure):
                wanted.add("rate.dq" if self.single_mask else "rateints.dq")
        return tuple(sorted(wanted))

    def _open_science_flat(self, exposure: DataModel) -> dict[str, Any]:
        """Return the flat whose flags show pixels outside science regions; none if it is N/A."""
        try:
            flat = self.open_reference(exposure, "flat")
        except SkipStep:
            return {}
        return {"science_flat": flat.rows("data"), "science_flat_dq": flat.rows("dq")}

    @staticmethod
    def _is_miri(exposure: DataModel) -> bool:
        return str(exposure.meta.exposure.type).upper() in MIRI_TYPES

    def _automatic_kind(self, exposure: DataModel) -> str | None:
        """Return the exposure type if parameters are chosen from the data, else None."""
        kind = str(exposure.meta.exposure.type).upper()
        return kind if self.autoparam and kind in LIMITS else None

    def _rules(self, exposure: DataModel) -> CleaningRules:
        """Return the rules by which the noise is found."""
        meta = exposure.meta
        is_miri = self._is_miri(exposure)
        is_full = str(meta.subarray.name).upper() == "FULL" and not is_miri
        if self.fit_by_channel and not is_full:
            log.warning(
                "%s: fit_by_channel has no effect: this is not a full frame of a near-infrared "
                "detector", self.name,
            )  # fmt: skip
        box = self.background_box_size
        return CleaningRules(
            axis=0 if is_miri else abs(read_slow_axis(exposure)) - 1,
            by_channel=self.fit_by_channel,
            is_full=is_full,
            single_mask=self.single_mask,
            scene=SceneRules(n_sigma=self.n_sigma, fit_histogram=self.fit_histogram),
            background=Background(
                method=self.background_method,
                box=(box[0], box[1]) if box else None,
                n_sigma=self.n_sigma,
            ),
            automatic=self._automatic_kind(exposure),
            fourier=self._fourier_rules(exposure),
            keep_mask=self.save_mask,
            keep_background=self.save_background,
        )

    def _fourier_rules(self, exposure: DataModel) -> FourierRules | None:
        """Return the rules of fits in frequency space; None for medians."""
        if self.fit_method != "fft":
            return None
        detector = str(exposure.meta.instrument.detector).upper()
        if str(exposure.meta.subarray.name).upper() == "ALLSLITS":
            return FourierRules(detector, ALLSLITS_CUTOFFS)
        return FourierRules(detector)

    def _open_mask(self, exposure: DataModel) -> DataModel:
        """Return the user's mask.

        Raises
        ------
        FailStep
            If it does not fit the exposure.
        FileError
            If it cannot be read.
        """
        mask = datamodels.open(str(self.user_mask))
        shape, (integrations, _) = tuple(mask.shape or ()), count_frames(exposure)
        has_planes = len(shape) == 3 and (len(exposure.shape) == 2 or shape[0] == integrations)
        if shape[-2:] != exposure.frame or not (len(shape) == 2 or has_planes):
            rows, columns = exposure.frame
            raise FailStep(
                f"user_mask {self.user_mask} has the shape {shape}, but the exposure has "
                f"{integrations} integrations of {rows} rows and {columns} columns"
            )
        return mask

    def _frame_bytes(self, exposure: DataModel) -> int:
        """Return the bytes of the draft rates, and for finding the noise."""
        integrations, frames_each = count_frames(exposure)
        planes = {"rate": 1, "rateints": integrations}
        is_map = self.background_method == MODEL or self.autoparam
        differences = integrations * frames_each
        frames = sum(planes[name.split(".")[0]] for name in self._draft_products(exposure))
        frames += differences * int(self.save_background and is_map)
        frames += differences * int(self.fit_method == "fft")
        frames += int(self.apply_flat_field or self.autoparam)
        is_median = not is_map and self.fit_method != "fft"
        frames += WORKING_FRAMES if is_median else MODEL_FRAMES
        return 4 * math.prod(exposure.frame) * frames

    # -- products -----------------------------------------------------------------------------

    def _add_products(self, exposure: DataModel, arguments: Mapping[str, Any]) -> None:
        """Add the products that the ``save_*`` parameters ask for."""
        noise = {name: arguments[name] for name in ("noise", "region")}
        if self.save_mask and self._has_single_mask(exposure):
            self._add_product("mask", exposure, ImageModel, show_mask, noise)
        elif self.save_mask:
            self._add_product("mask", exposure, CubeModel, show_masks, noise)
        kind: type[DataModel] = RampModel
        spread: Any = spread_background
        show: Any = show_noise
        if is_rate(exposure):
            kind, spread, show = type(exposure), spread_rate_background, show_rate_noise
        if self.save_background:
            self._add_product("flicker_bkg", exposure, kind, spread, noise)
        if self.save_noise:
            self._add_product("flicker_noise", exposure, kind, show, arguments)

    def _add_product(
        self, suffix: str, exposure: DataModel, kind: type[DataModel], kernel: Any, arguments: Any
    ) -> None:
        outputs = [f"product.{name}" for name in PRODUCT_FIELDS[kind]]
        made = exposure.map_tiles_into({"product": kind}, kernel, outputs, **arguments)
        self.add_product(suffix, made["product"])

    def _has_single_mask(self, exposure: DataModel) -> bool:
        """Return whether all integrations have the same mask."""
        if self.user_mask is None:
            return self.single_mask or len(exposure.shape) == 2
        return len(self._open_mask(exposure).shape or ()) == 2


def read_slow_axis(exposure: DataModel) -> int:
    """Return the axis of slow readout, 1 for x and 2 for y, negative if it runs backwards.

    Raises
    ------
    StepError
        If the header does not state it.
    """
    axis = header_number(exposure, "meta.subarray.slowaxis")
    if axis is None or abs(axis) not in (1, 2):
        raise StepError(f"{exposure.path}: SLOWAXIS must be 1, -1, 2 or -2, but is {axis}")
    return int(axis)
