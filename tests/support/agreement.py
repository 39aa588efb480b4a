"""Live comparison of calbatch's numbers with jwst's on the same files.

Agreement: ramps within 1e-5 relative or 1e-3 of the read noise, rates and images within 1e-5
relative or 1e-3 of their error, NaN in the same places, and DQ equal.
"""

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jwst.pipeline import Detector1Pipeline as JwstDetector1
from stdatamodels.jwst import datamodels as jwst_models

from calbatch.calibrate.frames.stripes import present_stack
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.models.datamodels import RampModel
from calbatch.models.datamodels import open as open_model

ORDER = (
    "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity",
    "dark_current", "charge_migration", "jump", "persistence",
)  # fmt: skip
MIRI_ORDER = (
    "group_scale", "dq_init", "emicorr", "saturation", "ipc", "firstframe", "lastframe", "reset",
    "linearity", "rscd", "dark_current", "refpix", "charge_migration", "jump", "persistence",
)  # fmt: skip
OFF = ("charge_migration", "persistence", "emicorr", "firstframe")
"""Steps that are off by default in the pipeline; jwst's run when they are called by themselves."""
OF_RAMPS = ("data", "groupdq", "pixeldq")
RELATIVE = 1e-5
OF_NOISE = 1e-3


@dataclass
class Arrays:
    """The result of a step: arrays by field, and status keywords."""

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
        yield _jwst_arrays(name, scaled, ("data", "err", "dq", "var_poisson", "var_rnoise"))


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
        yield _our_arrays(name, scaled, ("data", "err", "dq", "var_poisson", "var_rnoise"))


def _our_arrays(name: str, model, fields: tuple[str, ...]) -> Arrays:
    model = present_stack(model)
    status = dict(model.meta.cal_step.items())
    return Arrays(name, {f: np.asarray(getattr(model, f)) for f in fields}, status)


def assert_agreement(path: Path, read_noise: float, **parameters) -> dict[str, Arrays]:
    """Compare after each step and at the end; fail at the first step that differs.

    Returns our arrays by step.
    """
    ours = {}
    pairs = zip(jwst_steps(path, **parameters), our_steps(path, **parameters), strict=True)
    for wanted, found in pairs:
        assert found.step == wanted.step
        assert found.status == wanted.status, found.step
        assert found.fields.keys() == wanted.fields.keys(), found.step
        for name, array in wanted.fields.items():
            noise = read_noise if "err" not in wanted.fields else _error_of(name, wanted.fields)
            assert_close(found.fields[name], array, noise, f"{path.name} {found.step} {name}")
        ours[found.step] = found
    return ours


def _error_of(name: str, fields: dict[str, np.ndarray]) -> np.ndarray:
    """Return the scale of a field's tolerance: the error, or its square for a variance.

    A pixel without read noise has only a Poisson variance, a small difference of float32 numbers.
    The median error of the frame replaces its error.
    """
    known = fields["err"][fields["err"] > 0]
    usual = np.median(known) if known.size else 0.0
    error = np.nan_to_num(fields["err"], nan=usual)
    return error**2 if name.startswith("var") else error


def assert_close(found: np.ndarray, wanted: np.ndarray, noise, what: str) -> None:
    """Fail if two arrays differ by more than the tolerance."""
    assert found.shape == wanted.shape, what
    if np.issubdtype(wanted.dtype, np.integer):
        differing = np.argwhere(found != wanted)
        where = tuple(differing[0]) if len(differing) else ()
        assert not len(differing), (
            f"{what}: {len(differing)} of {wanted.size} flags differ, first at {where}: "
            f"{found[where]} for jwst's {wanted[where]}"
        )
        return
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted), err_msg=f"{what}: NaN")
    allowed = np.maximum(RELATIVE * np.abs(wanted), OF_NOISE * np.asarray(noise))
    wrong = np.abs(found.astype("f8") - wanted) > allowed
    first = tuple(np.argwhere(wrong)[0]) if wrong.any() else ()
    assert not wrong.any(), (
        f"{what}: {wrong.sum()} of {wrong.size} values differ, first at {first}: "
        f"{found[first]} for jwst's {wanted[first]}"
    )
