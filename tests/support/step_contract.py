"""Tests of every step, which the test class of a step inherits.

>>> class TestContract(StepContract):
...     name = "dark_current"
"""

import pickle
from dataclasses import replace
from functools import cache
from typing import ClassVar

import dask
import numpy as np
import pytest

from calbatch.calibrate import registry
from calbatch.calibrate.pipelines.detector1 import Detector1Pipeline
from calbatch.calibrate.simulate import Noise
from calbatch.models import datamodels
from calbatch.models.fits.readers import Reader
from calbatch.models.model import DataModel
from calbatch.models.tiling import reference_cache
from calbatch.models.tiling.graphs import delayed_value
from calbatch.models.tiling.plan import KernelCall, OperationNode
from calbatch.models.tiling.tile import Region, Tile
from support.simulated import small_exposure

EVENTFUL = Noise(cosmic_rays=2000.0, hot=0.01, dead=0.01, bad_references=0.02)
HEIGHTS = (1, 7, 32)
"""Rows a tile: the last is the whole frame. Rays and saturated pixels lie at all their edges."""


class StepContract:
    """Tiling is invisible, steps are lazy, arrays match their dtypes, and inputs stay unchanged."""

    name: ClassVar[str]
    detector: ClassVar[str] = "NRCA1"
    parameters: ClassVar[dict] = {}
    input_kind: ClassVar[str] = "ramp"

    def inputs(self) -> list[DataModel]:
        """Return the models that the step is run on."""
        return prepare_inputs(self.name, self.detector, self.input_kind)

    def step(self):
        return registry.find(self.name)(**self.references(), **self.parameters)

    def references(self) -> dict:
        """Return overrides with the simulated references that the step requires."""
        exposure = raw(self.detector)
        kinds = registry.find(self.name).reference_file_types
        return {f"override_{kind}": _reference(exposure, kind) for kind in kinds}

    def results(self) -> list[DataModel]:
        """Run the step, and return all models of its result."""
        made = []
        for model in self.inputs():
            result = self.step()(model)
            made += [result] if isinstance(result, DataModel) else list(result)
        return made

    def test_tiled_equals_whole(self):
        found = {}
        for height in HEIGHTS:
            with dask.config.set({"calbatch.tile-rows": height}):
                _forget_tiles()
                found[height] = [arrays(model) for model in self.results()]
        for height in HEIGHTS[:-1]:
            for tiled, whole in zip(found[height], found[HEIGHTS[-1]], strict=True):
                for name, array in whole.items():
                    np.testing.assert_array_equal(tiled[name], array, err_msg=f"{name}, {height}")

    def test_nothing_is_computed_early(self):
        self.inputs()  # made and cached by the first test that needs them
        with dask.config.set(scheduler=_refuse):
            assert self.results()

    def test_arrays_have_their_declared_shapes_and_dtypes(self):
        for model in self.results():
            for name, array in arrays(model).items():
                lazy = getattr(model, name)
                spec = model.schema.fields[name]
                assert (lazy.shape, lazy.dtype) == (array.shape, array.dtype), name
                assert spec.dtype in (None, array.dtype), name

    def test_inputs_stay_unchanged(self):
        before = [arrays(model) for model in self.inputs()]
        for result in self.results():
            _run_watching(result)
        for model, wanted in zip(self.inputs(), before, strict=True):
            for name, array in arrays(model).items():
                np.testing.assert_array_equal(array, wanted[name], err_msg=name)

    def test_references_stay_unchanged(self):
        """A process shares cached references between exposures."""
        with dask.config.set({reference_cache.SETTING: 2**30}):
            for result in self.results():
                _require_unchanged_references(result)

    def test_step_and_result_pickle(self):
        step = pickle.loads(pickle.dumps(self.step()))
        values, again = (
            {name: value for name, (value, _) in one.parameter_values().items()}
            for one in (self.step(), step)
        )
        assert again == values
        for result in self.results():
            again = pickle.loads(pickle.dumps(result))
            for name, array in arrays(result).items():
                np.testing.assert_array_equal(arrays(again)[name], array, err_msg=name)

    def test_every_parameter_has_help(self):
        without = [n for n, p in registry.find(self.name).parameters().items() if not p.help]
        assert without == []


@cache
def raw(detector: str):
    return small_exposure(detector, shape=(32, 32), nints=2, ngroups=7, noise=EVENTFUL, seed=3)


@cache
def prepare_inputs(name: str, detector: str, kind: str) -> list[DataModel]:
    """Return the input of a step: the exposure after the steps before it, from files."""
    exposure = raw(detector)
    pipeline = Detector1Pipeline()
    order = [step.name for step in pipeline.steps_for(exposure.header["INSTRUME"])]
    model = datamodels.RampModel(exposure.path)
    before = order[: order.index(name)] if name in order else []
    if kind == "rates":
        before = order[: order.index("ramp_fit")]
    for alias in before:
        step = pipeline.steps()[alias]
        for reference in step.reference_file_types:
            setattr(step, f"override_{reference}", _reference(exposure, reference))
        model = step(model)
    if kind == "rates":
        pipeline.ramp_fit.override_gain = exposure.reference("gain")
        pipeline.ramp_fit.override_readnoise = exposure.reference("readnoise")
        return [_store(m, exposure, f"{name}{i}") for i, m in enumerate(pipeline.ramp_fit(model))]
    return [_store(model, exposure, name)]


def _reference(exposure, kind: str) -> str:
    try:
        return str(exposure.reference(kind))
    except IndexError:
        return "N/A"


def _store(model: DataModel, exposure, name: str) -> DataModel:
    path = model.save(exposure.path.with_name(f"before_{name}.fits"))
    return type(model)(path)


def arrays(model: DataModel) -> dict[str, np.ndarray]:
    """Return the arrays of a model."""
    return {n: np.asarray(getattr(model, n)) for n in model.schema.fields
            if model.has(n) and not model.schema.fields[n].is_table}  # fmt: skip


def _forget_tiles() -> None:
    """Reopen the models: a source keeps the tiles that were chosen first."""
    prepare_inputs.cache_clear()


def _refuse(*args, **kwargs):
    pytest.fail("something was computed before it was requested")


def _require_unchanged_references(model: DataModel) -> None:
    """Apply each kernel to the whole frame, and compare shared references with the files."""
    rows, columns = ((0, n) for n in model.frame)
    nodes = [n for n in model._content.node.ancestry() if isinstance(n, OperationNode)][::-1]
    tile = model._content.node.source.pixels.tile(Region(rows, columns), 0)
    for node in nodes:
        values = {r.key: delayed_value(r).compute(scheduler="sync") for r in node.reductions}
        tile = node.op.apply(tile, values)
    for node in nodes:
        for name, reader in getattr(node.op, "arguments", {}).items():
            if isinstance(reader, Reader):
                shared = reference_cache.read_shared_rows(reader, rows, columns)
                assert (
                    shared is reference_cache.read_shared_rows(reader, rows, columns)
                    or reader.key() is None
                )
                np.testing.assert_array_equal(shared, reader.read(rows, columns), err_msg=name)


def _run_watching(model: DataModel) -> None:
    """Apply each kernel to the whole frame, and compare its inputs before and after."""
    nodes = [n for n in model._content.node.ancestry() if isinstance(n, OperationNode)][::-1]
    rows, columns = model.frame
    tile = model._content.node.source.pixels.tile(Region((0, rows), (0, columns)), 0)
    for node in nodes:
        values = {r.key: delayed_value(r).compute(scheduler="sync") for r in node.reductions}
        for name in getattr(node.op, "inputs", ()):
            tile.load(name)
        before = {n: a.copy() for n, a in tile.arrays.items() if isinstance(a, np.ndarray)}
        after = node.op.apply(tile, values)
        for name, array in before.items():
            what = f"{node.op.label} {name}"
            np.testing.assert_array_equal(tile.arrays[name], array, err_msg=what)
        for name, call in getattr(node.op, "alone", {}).items():
            (array,) = call.run_kernel(tile, values)
            np.testing.assert_array_equal(array, after.arrays[name], err_msg=f"{name} alone")
        if getattr(node.op, "overwrites", False):
            _require_same_in_place(node.op, tile, values, after)
        tile = after


def _require_same_in_place(call: KernelCall, tile: Tile, values: dict, wanted: Tile) -> None:
    """Apply a kernel to a tile that nothing else has: the result takes the place of its field."""
    copies = {n: a.copy() if isinstance(a, np.ndarray) else a for n, a in tile.arrays.items()}
    own = replace(tile, arrays=copies, is_own=True)
    field, address = call.inputs[0], copies[call.inputs[0]].ctypes.data
    found = call.apply(own, values)
    assert found.arrays[field].ctypes.data == address, f"{call.label} does not overwrite {field}"
    for name, array in found.arrays.items():
        if isinstance(array, np.ndarray):
            what = f"{call.label} {name}, in place"
            np.testing.assert_array_equal(array, wanted.arrays[name], err_msg=what)
