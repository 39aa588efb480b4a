"""Flat field: divide images by the detector's relative response.

Source: jwst 3.0.0 ``flat_field`` step.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calbatch.calibrate.errors import ParameterError
from calbatch.calibrate.frames import subarray
from calbatch.calibrate.parameters import Boolean, InputFile
from calbatch.calibrate.step import SkipStep, Step, StepError
from calbatch.models.datamodels import FlatModel, GuiderCalModel
from calbatch.models.dq import DO_NOT_USE, NO_FLAT_FIELD
from calbatch.models.model import DataModel

Array = npt.NDArray[Any]

NIRSPEC_IMAGING = (
    *("NRS_CONFIRM", "NRS_FOCUS", "NRS_IMAGE", "NRS_MIMF", "NRS_MSATA", "NRS_TACONFIRM"),
    *("NRS_TACQ", "NRS_TASLIT", "NRS_WATA"),
)
"""NIRSpec's exposure types with a flat image."""

NIRSPEC_SPECTRA = (
    *("NRS_AUTOWAVE", "NRS_BRIGHTOBJ", "NRS_FIXEDSLIT", "NRS_IFU", "NRS_LAMP", "NRS_MSASPEC"),
)
"""NIRSpec's exposure types whose flat depends on each pixel's wavelength."""


OUTPUTS = ("data", "err", "dq", "var_poisson", "var_rnoise", "var_flat")
OUTPUTS_OF_ERROR = ("data", "err", "dq", "var_flat")
OUTPUTS_OF_GUIDER = ("data", "err", "dq")


class FlatFieldStep(Step):
    """Divide a rate, with its errors and variances, by the flat image."""

    reference_file_types = ("flat",)
    cal_step = "flat_field"

    save_interpolated_flat = Boolean(
        False, help="must stay False: flats of NIRSpec spectra are not supported yet"
    )
    user_supplied_flat = InputFile(help="flat to use instead of the reference")
    inverse = Boolean(False, help="multiply by the flat instead of dividing")

    def check(self) -> None:
        """Refuse parameters that are not supported yet."""
        super().check()
        if self.save_interpolated_flat:
            raise ParameterError(
                f"{self.name}.save_interpolated_flat is not supported yet: leave it False"
            )

    def wanted_references(self, instrument: str | None = None) -> set[str]:
        """Return no reference types if the user supplies the flat."""
        supplied = self.user_supplied_flat is not None
        return set() if supplied else super().wanted_references(instrument)

    def process(self, exposure: DataModel) -> DataModel:
        """Return the image or cube divided by its flat."""
        refuse_spectra(exposure)
        flat = self._flat(exposure)
        arguments: dict[str, Any] = {
            "flat": flat.rows("data"),
            "flat_dq": flat.rows("dq"),
            "flat_err": flat.rows("err"),
            "inverse": self.inverse,
        }
        if isinstance(exposure, GuiderCalModel):
            return exposure.map_tiles(apply_flat_to_guider, OUTPUTS_OF_GUIDER, **arguments)
        if exposure.has("var_poisson") and exposure.has("var_rnoise"):
            return exposure.map_tiles(apply_flat, OUTPUTS, **arguments)
        return exposure.map_tiles(apply_flat_to_error, OUTPUTS_OF_ERROR, **arguments)

    def _flat(self, exposure: DataModel) -> DataModel:
        path = self.user_supplied_flat
        if path is None:
            reference: DataModel = self.open_reference(exposure, "flat")
            return reference
        self._used["flat"] = str(Path(path).resolve())
        return subarray.cut_to_exposure(exposure, FlatModel(path))


def refuse_spectra(exposure: DataModel) -> None:
    """Reject exposures that a flat image does not apply to.

    Raises
    ------
    StepError
        For NIRSpec spectra, and for arrays that are neither images nor cubes.
    SkipStep
        For NIRSpec exposures without a flat, and for spectra already extracted.
    """
    kind, instrument = str(exposure.meta.exposure.type).upper(), exposure.meta.instrument
    if exposure.shape is None or len(exposure.shape) not in (2, 3):
        raise StepError(
            f"{exposure.path}: must be an image or a cube, but its shape is {exposure.shape}"
        )
    if kind in NIRSPEC_SPECTRA and instrument.lamp_mode != "IMAGE":
        raise StepError(f"{exposure.path}: flats of NIRSpec spectra ({kind}) are not supported yet")
    types = (*NIRSPEC_IMAGING, *NIRSPEC_SPECTRA)
    if str(instrument.name).upper() == "NIRSPEC" and kind not in types:
        raise SkipStep(f"{kind} exposures have no flat")
    if exposure.meta.cal_step.extract_2d == "COMPLETE":
        raise SkipStep("extract_2d has already been run")


def usable_flat(flat: Array, flat_dq: Array) -> tuple[Array, Array]:
    """Return the flat, set to 1 wherever it is unusable, and its flags.

    Pixels with a flat of NaN or zero, or flagged NO_FLAT_FIELD, are DO_NOT_USE.

    Parameters
    ----------
    flat, flat_dq : ndarray
        Relative response and its flags, (rows, columns).
    """
    none = np.isnan(flat) | (flat == 0) | ((flat_dq & NO_FLAT_FIELD) != 0)
    flags = flat_dq | np.where(none, np.uint32(NO_FLAT_FIELD | DO_NOT_USE), np.uint32(0))
    return np.where(flags & DO_NOT_USE, np.float32(1), flat), flags


def _mask_invalid(flags: Array, *arrays: Array) -> tuple[Array, ...]:
    """Return flags and arrays with every pixel invalid that is NaN in any, or DO_NOT_USE."""
    invalid = (flags & DO_NOT_USE) != 0
    for array in arrays:
        invalid |= np.isnan(array)
    marked = flags | np.where(invalid, np.uint32(DO_NOT_USE), np.uint32(0))
    return marked, *(np.where(invalid, np.float32(np.nan), a) for a in arrays)


def apply_flat(
    data: Array,
    dq: Array,
    var_poisson: Array,
    var_rnoise: Array,
    *,
    flat: Array,
    flat_dq: Array,
    flat_err: Array,
    inverse: bool,
) -> tuple[Array, ...]:
    """Return an image or cube divided by its flat, with error, flags and variances.

    As in jwst, with flat f and its error s_f: ``data / f``, ``var / f**2``, and
    ``var_flat = (data / f)**2 / f**2 * s_f**2``; ``err**2`` is the sum of the variances.

    Parameters
    ----------
    data : ndarray
        Count rates (DN/s), (rows, columns) or (integrations, rows, columns).
    dq : ndarray
        Flags, shaped like the data.
    var_poisson, var_rnoise : ndarray
        Variances, shaped like the data.
    flat, flat_err, flat_dq : ndarray
        Relative response, its error and its flags, (rows, columns).
    inverse : bool
        True to multiply instead, which undoes a division.

    Returns
    -------
    data, err, dq, var_poisson, var_rnoise, var_flat : ndarray
        All are NaN, and DO_NOT_USE is set, where the flat is unusable or any of them is NaN.
    """
    flat, flags = usable_flat(flat, flat_dq)
    square = flat * flat
    with np.errstate(all="ignore"):  # NaN and infinity are marked below
        if inverse:
            data, var_poisson, var_rnoise = data * flat, var_poisson * square, var_rnoise * square
            var_flat = np.zeros_like(data)
        else:
            data, var_poisson, var_rnoise = data / flat, var_poisson / square, var_rnoise / square
            var_flat = data**2 / square * flat_err**2
        err = np.sqrt(var_poisson + var_rnoise + var_flat)
    marked, *arrays = _mask_invalid(dq | flags, data, err, var_poisson, var_rnoise, var_flat)
    return arrays[0], arrays[1], marked, *arrays[2:]


def apply_flat_to_error(
    data: Array,
    err: Array,
    dq: Array,
    *,
    flat: Array,
    flat_dq: Array,
    flat_err: Array,
    inverse: bool,
) -> tuple[Array, ...]:
    """Return an image or cube that has no variances, divided by its flat.

    The total error replaces the variances of `apply_flat`; for parameters see there.

    Returns
    -------
    data, err, dq, var_flat : ndarray
        As for `apply_flat`.
    """
    none = np.zeros_like(err)
    results = apply_flat(
        data, dq, err**2, none, flat=flat, flat_dq=flat_dq, flat_err=flat_err, inverse=inverse
    )
    return *results[:3], results[-1]


def apply_flat_to_guider(
    data: Array,
    err: Array,
    dq: Array,
    *,
    flat: Array,
    flat_dq: Array,
    flat_err: Array,
    inverse: bool,
) -> tuple[Array, Array, Array]:
    """Return the rates of a guide-star exposure divided by its flat.

    As in jwst, the error is not divided: ``err**2 + (data / f)**2 / f**2 * s_f**2`` is the square
    of the new one. Flags set no pixel to NaN, since they apply to all integrations.

    Parameters
    ----------
    data, err : ndarray
        Rates (DN/s) and their errors, (integrations, rows, columns).
    dq : ndarray
        Flags, (rows, columns).
    flat, flat_dq, flat_err, inverse
        As for `apply_flat`.

    Returns
    -------
    data, err, dq : ndarray
        Rates and errors are NaN where either is.
    """
    flat, flags = usable_flat(flat, flat_dq)
    with np.errstate(all="ignore"):  # NaN and infinity may be in the input
        if inverse:
            data = data * flat
        else:
            data = data / flat
            err = np.sqrt(err**2 + data**2 / (flat * flat) * flat_err**2)
    invalid = np.isnan(data) | np.isnan(err)
    nan = np.float32(np.nan)
    return np.where(invalid, nan, data), np.where(invalid, nan, err), dq | flags
