"""Ramp fit: count rates from ramps by optimally weighted least squares.

Source: jwst 3.0.0 ``ramp_fit`` step with its algorithm OLS_C (stcal 1.20 ``ramp_fitting``). The
weights are those of Fixsen et al. 2000 (PASP 112, 1350), and segments between jumps are
combined as in Robberto 2008 (JWST-STScI-001490). Names of variances follow jwst's description of
the step: ``var^R`` (read noise), ``var^P`` (Poisson), ``var^C`` (combined).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.numbers import header_number, required_number
from calbatch.calibrate.parameters import Boolean, Choice, Integer, Text
from calbatch.calibrate.step import Step, StepError, log_once
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.calibrate.steps.ramp_fit.frame import fit_pixels
from calbatch.calibrate.steps.ramp_fit.optional import Segments, count_planes, fit_segments
from calbatch.calibrate.steps.ramp_fit.plan import FitSettings, Plan, make_plan
from calbatch.calibrate.steps.ramp_fit.work import Exposure, Rates, make_stretch
from calbatch.models import dq
from calbatch.models.arrays import DeferredMetadata
from calbatch.models.datamodels import CubeModel, IFUImageModel, ImageModel, RampModel
from calbatch.models.datamodels import RampFitOutputModel as OptionalModel
from calbatch.models.model import DataModel
from calbatch.models.tiling.graphs import delayed_value
from calbatch.models.tiling.plan import Reduction

log = logging.getLogger(__name__)

Array = npt.NDArray[Any]

FIELDS = ("data", "err", "dq", "var_poisson", "var_rnoise")
RATES = (*(f"rate.{f}" for f in FIELDS), *(f"rateints.{f}" for f in FIELDS))
OPTIONAL = (
    *("slope", "sigslope", "var_poisson", "var_rnoise", "yint", "sigyint", "weights"),
    *("pedestal", "crmag"),
)
LIKELY_GROUPS = 4
"""Minimum number of groups for LIKELY; with fewer, jwst uses OLS_C."""
_IFU_TYPES = ("NRS_IFU", "MIR_MRS")
_LAMP_TYPES = ("NRS_AUTOWAVE", "NRS_LAMP")


def fit_ramps(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    average_dark_current: Array,
    *,
    gain: Array,
    readnoise: Array,
    settings: FitSettings,
    group_range: tuple[int, int] | None = None,
) -> tuple[Array, ...]:
    """Return the rates of the exposure and of its integrations.

    Parameters
    ----------
    data, groupdq : ndarray
        Counts (DN) and flags, (integrations, groups, rows, columns).
    pixeldq : ndarray
        Flags, (rows, columns).
    average_dark_current : ndarray
        Rate that contributes only to the Poisson noise (DN/s), (rows, columns).
    gain : ndarray
        Gain (electron/DN), (rows, columns).
    readnoise : ndarray
        Noise of the difference of two frames (DN), (rows, columns).
    settings : Settings
        Times and options.
    group_range : tuple of int, optional
        The groups (half-open) to use; the others are treated as never read.

    Returns
    -------
    tuple of ndarray
        Rate (DN/s), error, flags, Poisson and read-noise variance, (rows, columns); the same for
        each integration, (integrations, rows, columns); and for each row the number of ramps that
        are not saturated from their first group on.
    """
    exposure, plan = _flatten(
        (data, groupdq, pixeldq, gain, readnoise, average_dark_current), settings, group_range
    )
    integrations, _, *frame = data.shape
    pixels = pixeldq.size
    rate, rateints = _empty_rates(*frame), _empty_rates(integrations, *frame)
    flat = _reshape(rate, 1, pixels), _reshape(rateints, integrations, pixels)
    work = make_stretch(pixels, integrations, plan)
    fit_pixels(exposure, plan, *flat, work)
    unsaturated = (groupdq[:, plan.start] & np.uint8(dq.SATURATED)) == 0
    return *rate, *rateints, np.count_nonzero(unsaturated, axis=(0, 2))


def fit_ramps_and_segments(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    average_dark_current: Array,
    *,
    gain: Array,
    readnoise: Array,
    settings: FitSettings,
    planes: tuple[int, int],
    group_range: tuple[int, int] | None = None,
) -> tuple[Array, ...]:
    """Return the rates of `fit_ramps`, the optional results, and the counts of `fit_ramps`.

    Parameters
    ----------
    planes : tuple of int
        Numbers of planes for segments and for jumps.
    """
    *rates, unsaturated = fit_ramps(
        data, groupdq, pixeldq, average_dark_current,
        gain=gain, readnoise=readnoise, settings=settings, group_range=group_range,
    )  # fmt: skip
    exposure, plan = _flatten(
        (data, groupdq, pixeldq, gain, readnoise, average_dark_current), settings, group_range
    )
    integrations, _, *frame = data.shape
    segments, jumps = planes
    leading = [(integrations, segments)] * 7 + [(integrations,), (integrations, jumps)]
    optional = [np.zeros((*lead, *frame), np.float32) for lead in leading]
    flat = Segments(*(f.reshape(*f.shape[:-2], pixeldq.size) for f in optional))
    slopes = rates[RATES.index("rateints.data")].reshape(integrations, pixeldq.size)
    fit_segments(
        exposure,
        plan,
        slopes,
        settings.pedestal_factor,
        flat,
        make_stretch(pixeldq.size, integrations, plan),
    )
    return *rates, *optional, unsaturated


def _flatten(
    arrays: tuple[Array, ...], settings: FitSettings, group_range: tuple[int, int] | None
) -> tuple[Exposure, Plan]:
    """Return a tile's arrays with a single axis of pixels, and the plan."""
    dtypes = (np.float32, np.uint8, np.uint32, np.float32, np.float32, np.float32)
    flat = [np.ascontiguousarray(a, d) for a, d in zip(arrays, dtypes, strict=True)]
    flat = [a.reshape(*a.shape[:-2], -1) for a in flat]
    for array in flat:
        array.flags.writeable = False  # always, since numba compiles read-only arrays separately
    return Exposure(*flat), make_plan(settings, arrays[0].shape[1], group_range)


def _empty_rates(*shape: int) -> Rates:
    data, err, var_poisson, var_rnoise = (np.empty(shape, np.float32) for _ in range(4))
    return Rates(data, err, np.empty(shape, np.uint32), var_poisson, var_rnoise)


def _reshape(rates: Rates, *shape: int) -> Rates:
    views: list[Any] = [array.reshape(shape) for array in rates]
    return Rates(*views)


# -- over the frame ----------------------------------------------------------------------------


def usable_groups(groupdq: Array, *, settings: FitSettings) -> Array:
    """Return True for groups that any ramp can use, (groups,)."""
    flags = groupdq.copy()
    first, stop = settings.window
    flags[:, :first] |= np.uint8(dq.DO_NOT_USE)
    flags[:, stop:] |= np.uint8(dq.DO_NOT_USE)
    if settings.suppress_one_group and groupdq.shape[1] > 1:
        good = np.sum(flags & np.uint8(~dq.PERSISTENCE & 0xFF) == 0, axis=1, keepdims=True)
        flags |= np.where(good == 1, np.uint8(dq.DO_NOT_USE), np.uint8(0))
    usable: Array = np.any(flags & np.uint8(dq.DO_NOT_USE) == 0, axis=(0, 2, 3))
    return usable


def all_usable(regions: list[Array]) -> bool:
    """Return whether every group is usable in at least one region."""
    return bool(np.all(np.any(regions, axis=0)))


def find_group_range(regions: list[Array], *, where: str) -> tuple[int, int]:
    """Return the half-open range of groups to fit in MIRI ramps.

    It excludes leading groups, and the last group, if they are DO_NOT_USE in the whole frame.

    Raises
    ------
    StepError
        If fewer than two groups remain.
    """
    usable = np.any(regions, axis=0)
    start = int(np.argmax(usable)) if usable.any() else usable.size
    stop = usable.size - 1 if start < usable.size and not usable[-1] else usable.size
    if stop - start < 2:
        raise StepError(
            f"{where}: MIRI ramps need 2 groups that are not DO_NOT_USE in the whole frame, but "
            f"have {max(stop - start, 0)}"
        )
    return start, stop


def gather_planes(
    data: Array,
    groupdq: Array,
    pixeldq: Array,
    *,
    settings: FitSettings,
    group_range: tuple[int, int] | None,
) -> tuple[int, int]:
    """Return the largest number of segments, and of jumps, of any ramp in a region."""
    blank = np.ones(pixeldq.shape, np.float32)
    exposure, plan = _flatten((data, groupdq, pixeldq, blank, blank, blank), settings, group_range)
    segments, jumps = count_planes(exposure, plan, make_stretch(pixeldq.size, data.shape[0], plan))
    return segments, jumps


class Planes(NamedTuple):
    """Numbers of planes of the optional results: for segments, and for jumps."""

    segments: int
    jumps: int


def most_planes(regions: list[tuple[int, int]]) -> Planes:
    """Return the numbers of planes of the optional results, each at least one."""
    segments, jumps = np.max(regions, axis=0)
    return Planes(max(int(segments), 1), max(int(jumps), 1))


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

    algorithm = Choice("OLS_C", ("OLS_C", "LIKELY"), help="only OLS_C is supported yet")
    int_name = Text("", help="no effect, as in jwst")
    save_opt = Boolean(False, help="write the results for each segment of each ramp (_fitopt)")
    opt_name = Text("", help="name of the file of optional results, without its suffix")
    suppress_one_group = Boolean(True, help="assign no rate to ramps with one good group")
    firstgroup = Integer(None, none=True, help="first group to fit, counted from 0")
    lastgroup = Integer(None, none=True, help="last group to fit, counted from 0")
    maximum_cores = Text("1", none=True, help="no effect: tiles and exposures run in parallel")

    def process(self, exposure: DataModel) -> tuple[Any, CubeModel]:
        """Return the rates of the exposure and of its integrations."""
        ramp = as_ramp(exposure)
        self._check_support(ramp)
        gain = self.open_reference(ramp, "gain")
        noise = self.open_reference(ramp, "readnoise")
        settings = self._settings(ramp)
        arguments: dict[str, Any] = {
            "gain": gain.rows("data"),
            "readnoise": noise.rows("data"),
            "settings": settings,
            "group_range": self._group_range(ramp, settings),
        }
        models = {"rate": _image_class(ramp), "rateints": CubeModel}
        if self.save_opt:
            products = self._fit_with_segments(ramp, models, arguments)
        else:
            products = ramp.map_tiles_into(
                models, fit_ramps, RATES, row_counts=("unsaturated",), label=self.name, **arguments
            )
        rate, rateints = products["rate"], products["rateints"]
        check = partial(require_unsaturated, where=f"{self.name}: {ramp.path or 'exposure'}")
        gain_factor = header_number(gain, "meta.exposure.gain_factor")
        for model in (rate, rateints):
            model.defer_meta(DeferredMetadata(check, ()))
            model.meta.bunit_data = model.meta.bunit_err = "DN/s"
            if gain_factor is not None:
                model.meta.exposure.gain_factor = gain_factor
        return rate, rateints

    def _fit_with_segments(
        self, exposure: RampModel, models: Mapping[str, Any], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return all products, including the optional one, whose size must be known in advance."""
        reduced = exposure.reduce(
            gather_planes,
            most_planes,
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
            fit_ramps_and_segments,
            (*RATES, *(f"fitopt.{f}" for f in OPTIONAL)),
            leading={**leading, "fitopt.crmag": (integrations, planes.jumps)},
            row_counts=("unsaturated",),
            label=self.name,
            planes=planes,
            **arguments,
        )
        if self.opt_name:
            folder = exposure.path.parent if exposure.path else Path()
            products["fitopt"].path = folder / f"{self.opt_name}.fits"
        self.add_product("fitopt", products["fitopt"])
        return products

    def _check_support(self, exposure: RampModel) -> None:
        """Reject parameters that are not supported yet; note those without effect."""
        groups = exposure.shape[1]
        if self.algorithm == "LIKELY" and groups >= LIKELY_GROUPS:
            raise StepError(f"{self.name}: algorithm LIKELY is not supported yet; use OLS_C")
        if self.algorithm == "LIKELY":
            log.info("%s: %d groups are too few for LIKELY: using OLS_C", self.name, groups)
        if not self.suppress_one_group and exposure.has("zeroframe"):
            raise StepError(
                f"{exposure.path}: {self.name}: suppress_one_group = False with a ZEROFRAME "
                "extension, which would then also be fitted, is not supported yet"
            )
        if self.maximum_cores not in ("1", None):
            log_once(
                f"{self.name}: maximum_cores has no effect: tiles and exposures run in parallel"
            )

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
        combine = partial(find_group_range, where=f"{self.name}: {exposure.path or 'exposure'}")
        return exposure.reduce(usable_groups, combine, until=all_usable, settings=settings)


def _image_class(exposure: RampModel) -> type[ImageModel] | type[IFUImageModel]:
    kind, mode = exposure.meta.exposure.type, exposure.meta.instrument.lamp_mode
    ifu = kind in _IFU_TYPES or (kind in _LAMP_TYPES and mode == "IFU")
    return IFUImageModel if ifu else ImageModel
