"""Live comparison of calbatch's numbers with jwst's on the same files.

Agreement: ramps within 1e-5 relative or 1e-3 of the read noise, rates and images within 1e-5
relative or 1e-3 of their error, variances within 1e-5 relative or 1e-3 of the error squared, NaN in
the same places, and DQ equal.
"""

import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dask
import numpy as np
from jwst.pipeline import Detector1Pipeline as JwstDetector1
from jwst.pipeline import GuiderPipeline as JwstGuider
from stdatamodels.jwst import datamodels as jwst_models

from calbatch.calibrate.frames.stripes import restore_file_layout
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.pipelines.guider import GuiderPipeline
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import GuiderRawModel, RampModel
from calbatch.models.datamodels import open as open_model

ORDER = (
    "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity",
    "dark_current", "charge_migration", "jump", "picture_frame", "clean_flicker_noise",
    "persistence",
)  # fmt: skip
MIRI_ORDER = (
    "group_scale", "dq_init", "emicorr", "saturation", "ipc", "firstframe", "lastframe", "reset",
    "linearity", "rscd", "dark_current", "refpix", "charge_migration", "jump",
    "clean_flicker_noise", "persistence",
)  # fmt: skip
OFF = (
    "charge_migration", "picture_frame", "clean_flicker_noise", "persistence", "emicorr",
    "firstframe",
)  # fmt: skip
"""Steps that are off by default in the pipeline; jwst's run when they are called by themselves."""
OF_RAMPS = ("data", "groupdq", "pixeldq")
OF_PRODUCTS = ("data", "err", "dq", "var_poisson", "var_rnoise")
OF_READS = ("data", "dq")
OF_GUIDE_STARS = ("data", "err", "dq")
NO_SPECTRA = {f"override_{kind}": "N/A" for kind in ("fflat", "sflat", "dflat")}
"""Flats of NIRSpec, which jwst's flat_field looks up for guide stars, too."""
RELATIVE = 1e-5
OF_NOISE = 1e-3


@dataclass
class Arrays:
    """The result of a step: arrays by field, and status keywords.

    The status of a product also has the name of its model.
    """

    step: str
    fields: dict[str, np.ndarray]
    status: dict[str, str]


def jwst_steps(path: Path, **parameters) -> Iterator[Arrays]:
    """Run jwst's steps one after another; ``parameters`` are {step: {parameter: value}}."""
    gc.collect()
    gc.freeze()  # each step collects garbage: exempt the objects that exist so far
    with jwst_models.open(str(path)) as raw:
        stripes = raw.meta.subarray.num_superstripe
    kind = jwst_models.SuperstripeRampModel if stripes else jwst_models.RampModel
    model = kind(str(path))
    for name in _order(model, parameters):
        step = JwstDetector1.step_defs[name]
        model = step.call(model, **parameters.get(name, {}))
        zero = ("zeroframe",) if model.hasattr("zeroframe") else ()
        yield _jwst_arrays(name, model, (*OF_RAMPS, *zero))
    fitted = JwstDetector1.step_defs["ramp_fit"].call(model, **parameters.get("ramp_fit", {}))
    for name, product in zip(("rate", "rateints"), fitted, strict=True):
        scaled = JwstDetector1.step_defs["gain_scale"].call(product)
        yield _with_model(_jwst_arrays(name, scaled, OF_PRODUCTS), scaled)


def _with_model(arrays: Arrays, product) -> Arrays:
    arrays.status["model"] = type(product).__name__
    return arrays


def _order(model, parameters) -> list[str]:
    """Return the steps to compare before the fit; ``parameters`` are by step."""
    order = MIRI_ORDER if model.meta.instrument.name == "MIRI" else ORDER
    return [name for name in order if name not in OFF or name in parameters]


def _jwst_arrays(name: str, model, fields: tuple[str, ...]) -> Arrays:
    status = {k: v for k, v in model.meta.cal_step.instance.items() if v is not None}
    return Arrays(name, {f: np.array(getattr(model, f)) for f in fields}, status)


def our_steps(path: Path, **parameters) -> Iterator[Arrays]:
    """Run calbatch's steps one after another, and compute the arrays of each."""
    pipeline = Detector1Pipeline()
    pipeline.configure(parameters, "test")
    model = open_model(path)
    stripes = model.meta.subarray.num_superstripe
    model = as_ramp(model, before_refpix=True) if stripes else RampModel(path)
    for name in _order(model, parameters):
        model = pipeline.steps()[name](model)
        zero = ("zeroframe",) if model.has("zeroframe") else ()
        yield _our_arrays(name, model, (*OF_RAMPS, *zero))
    for name, product in zip(("rate", "rateints"), pipeline.ramp_fit(model), strict=True):
        scaled = pipeline.gain_scale(product)
        yield _with_model(_our_arrays(name, scaled, OF_PRODUCTS), scaled)


def _our_arrays(name: str, model, fields: tuple[str, ...]) -> Arrays:
    model = restore_file_layout(model)
    status = dict(model.meta.cal_step.items())
    arrays = dask.compute(*(getattr(model, f) for f in fields))  # at once: steps run once
    return Arrays(name, dict(zip(fields, arrays, strict=True)), status)


def jwst_guider_steps(path: Path) -> Iterator[Arrays]:
    """Run the steps of jwst's pipeline for guide stars one after another."""
    model = jwst_models.GuiderRawModel(str(path))
    for name, step in JwstGuider.step_defs.items():
        model = step.call(model, **(NO_SPECTRA if name == "flat_field" else {}))
        yield _jwst_arrays(name, model, OF_READS if name == "dq_init" else OF_GUIDE_STARS)


def our_guider_steps(path: Path) -> Iterator[Arrays]:
    """Run the steps of calbatch's pipeline for guide stars one after another."""
    model = GuiderRawModel(path)
    for name, step in GuiderPipeline().steps().items():
        model = step(model)
        yield _our_arrays(name, model, OF_READS if name == "dq_init" else OF_GUIDE_STARS)


def assert_agreement(path: Path, read_noise: float, **parameters) -> dict[str, Arrays]:
    """Compare after each step and at the end; fail at the first step that differs.

    Returns our arrays by step.
    """
    return {found.step: found for found, _ in compare_steps(path, read_noise, **parameters)}


def compare_steps(path: Path, read_noise: float, **parameters) -> Iterator[tuple[Arrays, Arrays]]:
    """Yield our arrays and jwst's after each step; fail at the first step that differs."""
    pairs = zip(our_steps(path, **parameters), jwst_steps(path, **parameters), strict=True)
    for found, wanted in pairs:
        assert found.step == wanted.step
        assert found.status == wanted.status, found.step
        assert found.fields.keys() == wanted.fields.keys(), found.step
        for name, difference in measure_differences(found, wanted, read_noise).items():
            assert difference.agrees, f"{path.name} {found.step} {name}: {difference}"
        yield found, wanted


def measure_differences(
    found: Arrays, wanted: Arrays, read_noise: float
) -> dict[str, "Difference"]:
    """Return the difference from jwst of each array that both have."""
    return {
        name: measure_difference(
            found.fields[name],
            array,
            _error_of(name, wanted.fields) if "err" in wanted.fields else read_noise,
        )
        for name, array in wanted.fields.items()
        if name in found.fields
    }


def _error_of(name: str, fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the scale of a field's tolerance: the error, or its square for a variance.

    A pixel without read noise has only a Poisson variance, a small difference of float32 numbers.
    The median error of the frame replaces its error.
    """
    known = fields["err"][fields["err"] > 0]
    usual = np.median(known) if known.size else 0.0
    error = np.nan_to_num(fields["err"], nan=usual)
    return error**2 if name.startswith("var") else error


@dataclass(frozen=True)
class Difference:
    """The difference of an array from the one that is wanted.

    Attributes
    ----------
    values : int
        Number of compared values.
    flags : int
        Number of flags that differ, in an array of integers.
    worst : float
        Largest difference of two numbers, as a fraction of the tolerance; infinite if only one of
        two values is NaN, or the shapes differ.
    first : str
        The place and the values of the first difference beyond the tolerance.
    """

    values: int
    flags: int = 0
    worst: float = 0.0
    first: str = ""

    @property
    def agrees(self) -> bool:
        """True if no difference is beyond the tolerance."""
        return not self.flags and self.worst <= 1

    def __str__(self) -> str:
        kind = f"{self.flags} flags differ" if self.flags else f"{self.worst:.3g} of the tolerance"
        return f"{kind}, of {self.values} values; {self.first}"


def measure_difference(found: np.ndarray, wanted: np.ndarray, noise) -> Difference:
    """Return the difference of two arrays; ``noise`` is the scale of the tolerance."""
    if found.shape != wanted.shape:
        shapes = f"shape {found.shape} for jwst's {wanted.shape}"
        return Difference(wanted.size, worst=np.inf, first=shapes)
    differ = found != wanted  # NaN differs from itself
    if np.issubdtype(wanted.dtype, np.integer):
        return Difference(wanted.size, int(differ.sum()), first=_first_of(differ, found, wanted))
    ours, theirs = found[differ].astype("f8"), wanted[differ].astype("f8")
    noise = np.asarray(noise)
    if noise.ndim > wanted.ndim:  # a plane beside integrations: the least noise counts
        noise = noise.min(axis=tuple(range(noise.ndim - wanted.ndim)))
    noise = np.broadcast_to(noise, wanted.shape)[differ]
    with np.errstate(invalid="ignore", divide="ignore"):
        allowed = np.maximum(RELATIVE * np.abs(theirs), OF_NOISE * noise)
        ratio = np.abs(ours - theirs) / allowed
    both = np.isnan(ours) & np.isnan(theirs)
    ratio = np.where(both, 0.0, np.where(np.isnan(ratio), np.inf, ratio))
    wrong = np.zeros(wanted.shape, bool)
    wrong[differ] = ratio > 1
    return Difference(
        wanted.size, worst=float(ratio.max(initial=0.0)), first=_first_of(wrong, found, wanted)
    )


def _first_of(wrong: np.ndarray, found: np.ndarray, wanted: np.ndarray) -> str:
    if not wrong.any():
        return ""
    place = tuple(map(int, np.argwhere(wrong)[0]))
    return f"{wrong.sum()} beyond it, first at {place}: {found[place]} for jwst's {wanted[place]}"


def assert_close(found: np.ndarray, wanted: np.ndarray, noise, what: str) -> None:
    """Fail if two arrays differ by more than the tolerance."""
    difference = measure_difference(found, wanted, noise)
    assert difference.agrees, f"{what}: {difference}"
