"""Ramp fit: count rates from ramps by optimally weighted least squares, or by likelihood.

Source: jwst 3.0.0 ``ramp_fit`` step (stcal 1.20 ``ramp_fitting``). Of its algorithm OLS_C, the
weights are those of Fixsen et al. 2000 (PASP 112, 1350), and segments between jumps are
combined as in Robberto 2008 (JWST-STScI-001490). Names of variances follow jwst's description of
the step: ``var^R`` (read noise), ``var^P`` (Poisson), ``var^C`` (combined).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.numbers import header_number, required_number
from calbatch.calibrate.parameters import Boolean, Choice, Integer, Text
from calbatch.calibrate.step import Step, StepError, log_once
from calbatch.calibrate.steps._miri import search_flags
from calbatch.calibrate.steps._ramps import (
    as_ramp,
    frames_of,
    has_zero_frame,
    read_times_of,
)
from calbatch.calibrate.steps.ramp_fit import least_squares, likely
from calbatch.calibrate.steps.ramp_fit.covariance import (
    make_covariance,
    make_regular_times,
    separate_first_read,
)
from calbatch.calibrate.steps.ramp_fit.least_squares import OPTIONAL, RATES
from calbatch.calibrate.steps.ramp_fit.plan import FitSettings
from calbatch.models.arrays import DeferredMetadata
from calbatch.models.datamodels import CubeModel, IFUImageModel, ImageModel, RampModel
from calbatch.models.datamodels import RampFitOutputModel as OptionalModel
from calbatch.models.model import DataModel
from calbatch.models.tiling.graphs import delayed_value
from calbatch.models.tiling.plan import Reduction

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

LIKELY_GROUPS = 4
"""Minimum number of groups for LIKELY; with fewer, jwst uses OLS_C."""
_IFU_TYPES = ("NRS_IFU", "MIR_MRS")
_LAMP_TYPES = ("NRS_AUTOWAVE", "NRS_LAMP")


def require_unsaturated(counts: Mapping[str, Array], *, where: str) -> dict[str, Any]:
    """Reject an exposure without a ramp to fit, for which jwst makes no product.

    Raises
    ------
    StepError
        If every ramp is saturated in its first group.
    """
    if not counts["unsaturated"].any():
        raise StepError(f"{where}: every ramp is saturated in its first group: there is no rate")
    return {}


# -- the step ----------------------------------------------------------------------------------


class RampFitStep(Step):
    """Fit count rates to ramps: an image for the exposure, and one for each integration."""

    reference_file_types = ["readnoise", "gain"]
    cal_step = "ramp_fit"
    suffixes = ("rate", "rateints")

    algorithm = Choice(
        "OLS_C", ("OLS_C", "LIKELY"), help="least squares, or likelihood with four or more groups"
    )
    int_name = Text("", help="no effect, as in jwst")
    save_opt = Boolean(
        False, help="write the results for each segment (_fitopt), or chi-squared (_likely_chisq)"
    )
    opt_name = Text("", help="name of the file of optional results, without its suffix")
    suppress_one_group = Boolean(True, help="assign no rate to ramps with one good group")
    firstgroup = Integer(None, none=True, help="first group to fit, counted from 0")
    lastgroup = Integer(None, none=True, help="last group to fit, counted from 0")
    maximum_cores = Text("1", none=True, help="no effect: tiles and exposures run in parallel")

    def process(self, exposure: DataModel) -> tuple[Any, CubeModel]:
        """Return the rates of the exposure and of its integrations."""
        ramp = as_ramp(exposure)
        if self.maximum_cores not in ("1", None):
            log_once(
                f"{self.name}: maximum_cores has no effect: tiles and exposures run in parallel"
            )
        likelihood = self._uses_likelihood(ramp)
        gain = self.open_reference(ramp, "gain")
        noise = self.open_reference(ramp, "readnoise")
        arguments = {"gain": gain.rows("data"), "readnoise": noise.rows("data")}
        models = {"rate": _image_class(ramp), "rateints": CubeModel}
        if likelihood:
            products = self._fit_by_likelihood(ramp, models, arguments)
        else:
            products = self._fit_least_squares(ramp, models, arguments)
        rate, rateints = products["rate"], products["rateints"]
        gain_factor = header_number(gain, "meta.exposure.gain_factor")
        for model in (rate, rateints):
            model.meta.bunit_data = model.meta.bunit_err = "DN/s"
            if gain_factor is not None:
                model.meta.exposure.gain_factor = gain_factor
        return rate, rateints

    def _uses_likelihood(self, exposure: RampModel) -> bool:
        """Return whether ramps are fitted by likelihood, which needs four groups."""
        wanted = self.algorithm == "LIKELY"
        if not wanted and read_times_of(exposure):
            log.warning("%s: the exposure lists the times of its reads: using LIKELY", self.name)
            wanted = True
        groups = exposure.shape[1]
        if wanted and groups < LIKELY_GROUPS:
            log.info("%s: %d groups are too few for LIKELY: using OLS_C", self.name, groups)
        return wanted and groups >= LIKELY_GROUPS

    def choose_fit(self, exposure: RampModel) -> tuple[Any, tuple[str, ...], dict[str, Any]]:
        """Return the kernel that fits rates, its optional fields and its arguments.

        For steps that need draft rates. The arguments lack ``gain`` and ``readnoise``.

        Raises
        ------
        StepError
            If the exposure's header lacks a number.
        """
        if self._uses_likelihood(exposure):
            likely_settings, zero = self._likely_settings(exposure)
            return likely.fit_ramps_by_likelihood, zero, {"settings": likely_settings}
        settings = self._settings(exposure)
        arguments = {"settings": settings, "group_range": self._group_range(exposure, settings)}
        return least_squares.fit_ramps, self._zero_frames(exposure), arguments

    # -- LIKELY -------------------------------------------------------------------------------

    def _fit_by_likelihood(
        self, exposure: RampModel, models: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the rates, and chi-squared; with ``save_opt``, the latter is a product."""
        settings, zero = self._likely_settings(exposure)
        products = exposure.map_tiles_into(
            {**models, "chisq": ImageModel},
            likely.fit_ramps_by_likelihood,
            (*RATES, "chisq.data"),
            optional=zero,
            settings=settings,
            **arguments,
        )
        if self.save_opt:
            self._add_optional(exposure, "likely_chisq", products["chisq"])
        return products

    def _likely_settings(
        self, exposure: RampModel
    ) -> tuple[likely.LikelySettings, tuple[str, ...]]:
        """Return the settings of the fit by likelihood, and ``zeroframe`` if it is used."""
        times = self._read_times(exposure)
        zero: tuple[str, ...] = ()
        if exposure.has("zeroframe"):
            if len(times[0]) > 1:
                zero, times = ("zeroframe",), separate_first_read(times)
            else:
                log.warning("%s: groups are single reads: zero frames are not used", self.name)
        settings = likely.LikelySettings(
            covariance=make_covariance(times),
            nframes=frames_of(exposure),
            window=self._window(exposure.shape[1]),
        )
        return settings, zero

    def _read_times(self, exposure: RampModel) -> list[Any]:
        """Return the times (s) of the reads of each group.

        Raises
        ------
        StepError
            If the exposure lists them, but not for each group, or not in order.
        """
        listed, groups = read_times_of(exposure), exposure.shape[1]
        if not listed:
            frame_time = required_number(exposure, "meta.exposure.frame_time", positive=True)
            gap = int(header_number(exposure, "meta.exposure.groupgap") or 0)
            return make_regular_times(groups, frames_of(exposure), gap, float(frame_time))
        try:
            times = [np.atleast_1d(np.asarray(group, np.float64)) for group in listed]
        except (TypeError, ValueError):
            raise StepError(f"{exposure.path}: read_times must be lists of numbers") from None
        if len(times) != groups or not all(group.ndim == 1 and group.size for group in times):
            raise StepError(
                f"{exposure.path}: read_times must list the times of the reads of {groups} groups, "
                f"but has {len(times)} entries"
            )
        starts = np.array([group[0] for group in times])
        if not all((np.diff(each) > 0).all() for each in (starts, *times)) or not all(
            np.isfinite(group).all() for group in times
        ):
            raise StepError(
                f"{exposure.path}: read_times must be finite, and increase within each group and "
                "from one group to the next"
            )
        return times

    # -- OLS_C --------------------------------------------------------------------------------

    def _fit_least_squares(
        self, exposure: RampModel, models: Mapping[str, Any], references: Mapping[str, Any]
    ) -> dict[str, Any]:
        settings = self._settings(exposure)
        arguments: dict[str, Any] = {
            **references,
            "settings": settings,
            "group_range": self._group_range(exposure, settings),
        }
        if self.save_opt:
            products = self._fit_with_segments(exposure, models, arguments)
        else:
            products = exposure.map_tiles_into(
                models,
                least_squares.fit_ramps,
                RATES,
                optional=self._zero_frames(exposure),
                row_counts=("unsaturated",),
                **arguments,
            )
        check = partial(require_unsaturated, where=f"{self.name}: {exposure.path or 'exposure'}")
        for name in models:
            products[name].defer_meta(DeferredMetadata(check, ()))
        return products

    def _fit_with_segments(
        self, exposure: RampModel, models: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return all products, including the optional one, whose size must be known in advance."""
        zero = self._zero_frames(exposure)
        reduced = exposure.reduce(
            least_squares.gather_planes,
            least_squares.most_planes,
            optional=zero,
            settings=arguments["settings"],
            group_range=arguments["group_range"],
        )
        planes = delayed_value(reduced).compute()
        integrations = exposure.shape[0]
        leading = dict.fromkeys(
            (f"fitopt.{f}" for f in OPTIONAL[:7]), (integrations, planes.segments)
        )
        products = exposure.map_tiles_into(
            {**models, "fitopt": OptionalModel},
            least_squares.fit_ramps_and_segments,
            (*RATES, *(f"fitopt.{f}" for f in OPTIONAL)),
            leading={**leading, "fitopt.crmag": (integrations, planes.jumps)},
            optional=zero,
            row_counts=("unsaturated",),
            planes=planes,
            **arguments,
        )
        self._add_optional(exposure, "fitopt", products["fitopt"])
        return products

    def shared_files(self) -> Mapping[str, str]:
        """Return ``opt_name`` if a file gets that name; see the base class."""
        if not (self.save_opt and self.opt_name):
            return {}
        return {"opt_name": "leave it empty, and each file is named after its exposure"}

    def _add_optional(self, exposure: RampModel, suffix: str, model: DataModel) -> None:
        """Add a product named after ``opt_name``, or else after the exposure."""
        if self.opt_name:
            folder = exposure.path.parent if exposure.path else Path()
            model.path = folder / f"{self.opt_name}.fits"
        self.add_product(suffix, model)

    def _zero_frames(self, exposure: RampModel) -> tuple[str, ...]:
        """Return the optional field of fits that take the zero frame of ramps without a good group.

        As in jwst, the ZEROFRAME extension decides, not the keyword ZEROFRAM.
        """
        suppress = self.suppress_one_group and exposure.shape[1] > 1
        used = exposure.has("zeroframe") and not suppress
        if used and not has_zero_frame(exposure):
            log.warning(
                "%s: ZEROFRAM is not T, so that zero frames have not been corrected, "
                "but ramps without a good group are fitted by them",
                self.name,
            )
        return ("zeroframe",) if used else ()

    def _settings(self, exposure: RampModel) -> FitSettings:
        return FitSettings(
            frame_time=float(required_number(exposure, "meta.exposure.frame_time", positive=True)),
            group_time=float(required_number(exposure, "meta.exposure.group_time", positive=True)),
            nframes=int(required_number(exposure, "meta.exposure.nframes", positive=True)),
            groupgap=int(header_number(exposure, "meta.exposure.groupgap") or 0),
            drop_frames1=int(header_number(exposure, "meta.exposure.drop_frames1") or 0),
            window=self._window(exposure.shape[1]),
            suppress_one_group=self.suppress_one_group,
        )

    def _window(self, groups: int) -> tuple[int, int]:
        """Return the half-open range of groups to fit, by jwst's rules for the two parameters."""
        first = self.firstgroup or 0
        last = groups - 1 if self.lastgroup is None else self.lastgroup
        if first < 0:
            log.warning("%s: firstgroup %d is below 0: starting at 0", self.name, first)
            first = 0
        if first >= last:
            if self.firstgroup is not None or self.lastgroup is not None:
                log.warning(
                    "%s: firstgroup %d is not before lastgroup %d: fitting all groups",
                    self.name, first, last,
                )  # fmt: skip
            return 0, groups
        return first, min(last + 1, groups)

    def _group_range(self, exposure: RampModel, settings: FitSettings) -> Reduction | None:
        """Return the groups of MIRI to fit, decided for the whole frame; None means all groups."""
        if exposure.meta.instrument.name != "MIRI" or exposure.shape[1] == 1:
            return None
        combine = partial(
            least_squares.find_group_range, where=f"{self.name}: {exposure.path or 'exposure'}"
        )
        return search_flags(
            exposure, least_squares.usable_groups, combine, until=least_squares.are_all_usable,
            settings=settings,
        )  # fmt: skip


def _image_class(exposure: RampModel) -> type[ImageModel] | type[IFUImageModel]:
    kind, mode = exposure.meta.exposure.type, exposure.meta.instrument.lamp_mode
    ifu = kind in _IFU_TYPES or (kind in _LAMP_TYPES and mode == "IFU")
    return IFUImageModel if ifu else ImageModel
