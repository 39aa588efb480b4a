"""The inter-pixel capacitance step agrees with jwst's."""

import dask
import numpy as np
import pytest
from jwst.ipc.ipc_corr import do_correction
from stdatamodels.jwst import datamodels as jwst_models
from support.placed_ramps import PlacedRamp, flagged_border
from support.step_contract import StepContract, raw
from support.striped import raw_model

from calbatch.calibrate.references import NOT_APPLICABLE, ResolvedReferences
from calbatch.calibrate.step import StepError
from calbatch.calibrate.steps.ipc import IPCStep
from calbatch.models import datamodels as our_models
from calbatch.models.datamodels import IPCModel

CORNERS = {
    "first corner": ((20, 24), (0, 0)),
    "last corner": ((20, 24), (2028, 2024)),
    "part of the border": ((20, 24), (2, 2023)),
    "inside": ((20, 24), (800, 1000)),
    "a whole side": ((2048, 9), (0, 2039)),
}


def ramp(shape=(20, 24), origin=(0, 0), detector="NRCA1"):
    rng = np.random.default_rng(0)
    data = rng.normal(1000, 200, (2, 2, *shape)).astype(np.float32)
    return PlacedRamp(data, flagged_border(shape), origin, detector)


def kernel(rows=3, columns=3, seed=0):
    """Return an asymmetric kernel."""
    weights = np.random.default_rng(seed).normal(0, 0.01, (rows, columns))
    weights[rows // 2, columns // 2] += 1
    return weights.astype(np.float32)


def kernels(placed, size=3):
    """Return a kernel for each pixel of the array."""
    rng = np.random.default_rng(1)
    scatter = rng.normal(1, 0.1, placed.data.shape[-2:]).astype(np.float32)
    return kernel(size, size)[:, :, None, None] * scatter


def reference(weights, placed):
    model = IPCModel(weights)
    if weights.ndim == 4:
        place = model.meta.subarray
        place.ystart, place.xstart = (start + 1 for start in placed.origin)
        place.ysize, place.xsize = weights.shape[-2:]
    return model


def correct(placed, weights):
    result = IPCStep(override_ipc=reference(weights, placed)).run(placed.ours())
    return result.data.compute(scheduler="synchronous")


def correct_with_jwst(placed, weights):
    model = placed.theirs()
    place = placed.origin
    if weights.ndim == 4:  # jwst cuts the array from a full frame
        full = np.zeros((*weights.shape[:2], 2048, 2048), dtype=np.float32)
        rows, columns = weights.shape[-2:]
        full[:, :, place[0] : place[0] + rows, place[1] : place[1] + columns] = weights
        weights = full
    return do_correction(model, jwst_models.IPCModel(weights)).data


@pytest.mark.parametrize("where", CORNERS)
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (1, 5), (7, 7)])
def test_one_kernel(where, shape):
    placed = ramp(*CORNERS[where])
    # the same float32 sums in the same order
    assert np.array_equal(
        correct(placed, kernel(*shape)), correct_with_jwst(placed, kernel(*shape))
    )


@pytest.mark.parametrize("where", ["first corner", "part of the border", "inside"])
def test_a_kernel_for_each_pixel(where):
    placed = ramp(*CORNERS[where])
    weights = kernels(placed)
    assert np.array_equal(correct(placed, weights), correct_with_jwst(placed, weights))


def test_kernels_of_the_full_frame_are_cut_to_the_subarray():
    placed = ramp(*CORNERS["part of the border"])
    (rows, columns), (row, column) = CORNERS["part of the border"]
    weights = kernels(placed)
    full = np.zeros((3, 3, 2048, 2048), dtype=np.float32)
    full[:, :, row : row + rows, column : column + columns] = weights
    model = IPCModel(full)
    model.meta.subarray.xstart = model.meta.subarray.ystart = 1
    model.meta.subarray.xsize = model.meta.subarray.ysize = 2048
    result = IPCStep(override_ipc=model).run(placed.ours()).data.compute(scheduler="synchronous")
    assert np.array_equal(result, correct(placed, weights))


def test_reference_pixels_are_unchanged_and_do_not_leak():
    placed = ramp()
    moved = correct(placed, kernel())
    assert np.array_equal(moved[..., :4, :], placed.data[..., :4, :])
    assert np.array_equal(moved[..., :4], placed.data[..., :4])
    placed.data[..., :4, :] = 1e6
    assert np.array_equal(correct(placed, kernel())[..., 4:, 4:], moved[..., 4:, 4:])


def test_an_array_of_reference_pixels_is_unchanged():
    # jwst fails on it with most kernels, since it assumes four rows in an array of three
    placed = ramp((3, 24), (0, 500))
    assert np.array_equal(correct(placed, kernel()), placed.data)


def test_miri_has_reference_pixels_at_the_sides_only():
    placed = ramp((20, 1032), (0, 0), "MIRIMAGE")
    assert np.array_equal(correct(placed, kernel()), correct_with_jwst(placed, kernel()))


def test_nan_spreads_as_in_jwst():
    placed = ramp()
    placed.data[0, 1, 10, 12] = np.nan
    found = correct(placed, kernel())
    assert np.array_equal(found, correct_with_jwst(placed, kernel()), equal_nan=True)
    assert np.isnan(found).sum() == 9


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("position_dependent", [False, True])
def test_tiles_do_not_change_results(rows, position_dependent):
    placed = ramp()
    weights = kernels(placed, 5) if position_dependent else kernel(5, 5)
    whole = correct(placed, weights)
    with dask.config.set({"calbatch.tile-rows": rows}):
        assert np.array_equal(correct(placed, weights), whole)


def test_the_input_is_unchanged():
    placed = ramp()
    before = placed.data.copy()
    correct(placed, kernel())
    assert np.array_equal(placed.data, before)


def test_an_exposure_without_a_kernel_is_skipped():
    step = IPCStep()
    step.references = ResolvedReferences("jwst_0001.pmap", {"ipc": NOT_APPLICABLE})
    result = step.run(ramp().ours())
    assert result.meta.cal_step.ipc == "SKIPPED"
    assert result.meta.ref_file.ipc.name == "N/A"


@pytest.mark.parametrize("shape", [(4, 3), (3, 2), (3, 3, 3)])
def test_a_kernel_without_a_central_pixel_is_an_error(shape):
    with pytest.raises(StepError, match="must have an odd number"):
        IPCStep(override_ipc=IPCModel(np.ones(shape, dtype=np.float32))).run(ramp().ours())


def test_irs2_without_interleaved_rows_is_rejected():
    placed = ramp()
    placed.readpatt = "NRSIRS2"
    with pytest.raises(StepError, match=r"IRS2 readout .* should have 3200 rows"):
        IPCStep(override_ipc=IPCModel(kernel())).run(placed.ours())


def test_a_header_without_the_position_is_an_error():
    model = ramp().ours()
    model.meta.subarray.xstart = None
    with pytest.raises(StepError, match="lacks SUBSTRT1 or SUBSTRT2"):
        IPCStep(override_ipc=IPCModel(kernel())).run(model)


def simulate_stripes(mode):
    """Return a ramp in stripes as our model and as jwst's."""
    raw = raw_model(mode)
    data = np.asarray(raw.data, "f4")
    count = raw.meta.subarray.num_superstripe
    flags = np.zeros((count, *data.shape[-2:]) if count else data.shape[-2:], "u4")
    name = "SuperstripeRampModel" if count else "RampModel"
    ours = getattr(our_models, name)(data, pixeldq=flags)
    ours.update(raw)
    theirs = getattr(jwst_models, name)(data.copy(), pixeldq=flags.copy())
    for path, value in raw.to_flat_dict().items():
        if path.startswith(("meta.subarray.", "meta.exposure.", "meta.instrument.")):
            theirs[path] = value
    return ours, theirs


@pytest.mark.agreement
@pytest.mark.parametrize("rows", [None, 7])
@pytest.mark.parametrize("mode", ["multistripe", "without repeats", "stripes alone"])
def test_stripes_are_convolved_one_by_one_as_arrays(mode, rows):
    ours, theirs = simulate_stripes(mode)
    wanted = do_correction(theirs, jwst_models.IPCModel(kernel(5, 3))).data
    with dask.config.set({"calbatch.tile-rows": rows}):
        result = IPCStep(override_ipc=IPCModel(kernel(5, 3))).run(ours)
        found = result.data.compute(scheduler="synchronous")
    assert np.array_equal(found, wanted)
    assert not np.array_equal(found, np.asarray(ours.data))


@pytest.mark.agreement
@pytest.mark.parametrize("mode", ["rows", "columns", "repeated"])
def test_stripes_beyond_the_detector_are_rejected_as_jwst_fails_on_them(mode):
    ours, theirs = simulate_stripes(mode)
    with pytest.raises(ValueError, match=r"."):  # with a message of NumPy
        do_correction(theirs, jwst_models.IPCModel(kernel()))
    with pytest.raises(StepError, match=r"exceeds the detector.*skip the step"):
        IPCStep(override_ipc=IPCModel(kernel())).run(ours)


def test_kernels_for_each_pixel_of_stripes_are_rejected():
    ours, _ = simulate_stripes("stripes alone")
    full = IPCModel(np.zeros((3, 3, 2048, 2048), "f4"))
    place = full.meta.subarray
    place.xstart, place.ystart, place.xsize, place.ysize = 1, 1, 2048, 2048
    with pytest.raises(StepError, match="kernel for each pixel is not supported in multistripe"):
        IPCStep(override_ipc=full).run(ours)


class TestContract(StepContract):
    name = "ipc"

    def references(self):
        path = raw(self.detector).path.with_name("ipc_kernel.fits")
        if not path.exists():
            IPCModel(kernel()).save(path, scheduler="sync")
        return {"override_ipc": str(path)}
