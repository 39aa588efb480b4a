"""The reference pixel step agrees with jwst's."""

import dask
import numpy as np
import pytest
from support.placed_ramps import PlacedRamp
from support.reference_pixels import (
    EDGES,
    EVERY_AXES,
    READ_NOISE,
    assert_agrees,
    check,
    correct,
    correct_with_jwst,
    ramp,
)
from support.step_contract import StepContract

from calbatch.calibrate.step import StepError
from calbatch.calibrate.steps.refpix import RefPixStep, reference_regions
from calbatch.calibrate.steps.refpix.geometry import DetectorPlacement
from calbatch.models.dq import DO_NOT_USE

# -- four amplifiers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "detector",
    ["NRCA1", "NRS1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("NRCB1", "NIS"))],
)
def test_full_frame(detector):
    assert np.all(check(ramp(1, (2048, 2048), detector=detector, subarray="FULL")))


@pytest.mark.parametrize("axes", EVERY_AXES)
def test_four_amplifiers_in_any_orientation(axes):
    assert np.any(check(ramp(2, (2048, 12), (0, 2036), axes=axes)))
    assert np.any(check(ramp(3, (12, 2048), (0, 0), axes=axes)))


@pytest.mark.parametrize("where", EDGES)
def test_four_amplifiers_at_any_edge(where):
    signal = check(ramp(4, *EDGES[where], detector="GUIDER2"))
    assert np.any(signal) == (where != "nothing")


def test_every_group_of_every_integration_has_its_own_signal():
    placed = ramp(4, (16, 2048), nints=2, ngroups=3)
    level = np.arange(6).reshape(2, 3, 1, 1) * 1000
    placed.data += level
    medians = np.median(check(placed) - level, axis=(2, 3))
    assert np.ptp(medians) < READ_NOISE


@pytest.mark.parametrize(
    "parameters",
    [
        {"odd_even_columns": False},
        {"use_side_ref_pixels": False},
        {"odd_even_columns": False, "use_side_ref_pixels": False},
        {"side_smoothing_length": 2},
        {"side_smoothing_length": 130},
        {"side_gain": 0.4},
        {"siglimit": 2.0},
    ],
    ids=str,
)
def test_parameters_of_four_amplifiers(parameters):
    # Two amplifiers, the top rows and one side.
    placed = ramp(5, (300, 700), (1748, 0), axes=(1, 2))
    assert np.any(check(placed, **parameters) != placed.data - correct(placed))


@pytest.mark.parametrize("axes", [(1, 2), (2, 1)])
def test_without_sides_only_bottom_and_top_are_used(axes):
    placement = DetectorPlacement((2048, 2048), (0, 0), *axes)
    bottom, top = reference_regions(placement, sides=False)
    assert bottom == placement.region((0, 4), (0, 2048))
    assert top == placement.region((2044, 2048), (0, 2048))


def test_smoothing_over_one_row_uses_its_median():
    # jwst fails on this, since it extends the sides by no rows.
    placed = ramp(7, (30, 2048), (1000, 0), axes=(1, 2))
    placed.pixeldq[:] &= ~np.uint32(DO_NOT_USE)
    sides = [np.median(placed.data[..., part], axis=-1) for part in (slice(4), slice(-4, None))]
    wanted = placed.data - 0.5 * (sides[0] + sides[1])[..., None]
    assert_agrees(correct(placed, side_smoothing_length=1), wanted)


BAD = {
    "an amplifier's top": (slice(2044, 2048), slice(0, 512)),
    "an amplifier's bottom and top": (slice(None), slice(0, 512)),
    "an amplifier's even columns": (slice(None), slice(0, 512, 2)),
    "an amplifier's odd columns at the top": (slice(2044, 2048), slice(1, 512, 2)),
    "the side": (slice(None), slice(0, 4)),
    "part of the side": (slice(300, 400), slice(0, 4)),
    "everything": (slice(None), slice(None)),
}


@pytest.mark.parametrize("where", BAD)
def test_bad_reference_pixels(where):
    placed = ramp(8, (2048, 520), axes=(1, 2))
    good = placed.data - correct(placed)
    placed.pixeldq[BAD[where]] |= DO_NOT_USE
    signal = check(placed)
    assert np.any(signal != good)
    assert np.any(signal) == (where != "everything")


@pytest.mark.parametrize("where", ["an amplifier's top", "an amplifier's bottom and top"])
def test_bad_reference_pixels_without_parity(where):
    placed = ramp(8, (2048, 520), axes=(1, 2))
    good = placed.data - correct(placed, odd_even_columns=False)
    placed.pixeldq[BAD[where]] |= DO_NOT_USE
    assert np.any(check(placed, odd_even_columns=False) != good)


@pytest.mark.parametrize(
    "bad", [slice(0, 4), slice(2044, 2048), [0, 1, 2, 3, 2044, 2045, 2046, 2047]], ids=str
)
def test_bad_sides(bad):
    placed = ramp(8, (30, 2048), (1000, 0), axes=(1, 2))
    good = placed.data - correct(placed)
    placed.pixeldq[:, bad] |= DO_NOT_USE
    signal = check(placed)
    assert np.any(signal != good)
    assert np.any(signal) == (len(range(2048)[bad] if isinstance(bad, slice) else bad) < 8)


def test_four_amplifiers_ignore_flags_other_than_do_not_use():
    placed = ramp(9, (16, 2048), axes=(1, 2))
    good = correct(placed)
    placed.pixeldq ^= np.random.default_rng(0).choice([0, 2**10, 2**31], (16, 2048)).astype("u4")
    assert np.array_equal(correct(placed), good)
    check(placed)


@pytest.mark.parametrize(
    ("where", "spoiled"),
    [
        ((0, 700), 1),  # itself: the pixel is bad
        ((12, 2046), 1),  # itself: the other side is known
        ((14, 1), 1),
        ((slice(None), slice(4)), 512 * 16),  # its amplifier
    ],
    ids=str,
)
def test_nan_reference_pixels_propagate_as_in_jwst(where, spoiled):
    placed = ramp(10, (16, 2048), axes=(1, 2))
    placed.data[0, 0][where] = np.nan
    assert np.sum(np.isnan(check(placed))) == spoiled


# -- algorithms and errors -------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"readpatt": "NRSIRS2RAPID"},
            r"IRS2 readout \(READPATT = NRSIRS2RAPID\) is not supported for an array of 1024 rows",
        ),
    ],
)
def test_unsupported_exposures(change, message):
    placed = ramp(19, (1024, 1032), **change)
    with pytest.raises(StepError, match=message):
        RefPixStep().run(placed.ours())


def test_irs2_is_recognized_by_its_shape():
    placed = PlacedRamp(np.zeros((1, 1, 3200, 8)), np.zeros((3200, 8), "u4"), detector="NRS1")
    with pytest.raises(StepError, match="IRS2"):
        RefPixStep().run(placed.ours())


@pytest.mark.parametrize("noutputs", [1, 4])
@pytest.mark.parametrize(
    "parameters",
    [
        {"refpix_algorithm": "sirs"},
        {"irs2_mean_subtraction": True},
        {"preserve_irs2_refpix": True},
        {"irs2_mean_subtraction": True, "preserve_irs2_refpix": True},
    ],
    ids=str,
)
def test_parameters_of_other_readouts_have_no_effect(parameters, noutputs):
    placed = ramp(20, (16, 16), noutputs=noutputs)
    assert np.array_equal(correct(placed, **parameters), correct(placed))
    check(placed, **parameters)


def test_miri_subarrays_are_skipped():
    placed = ramp(21, (64, 72), (50, 0), detector="MIRIMAGE")
    result = RefPixStep().run(placed.ours())
    assert result.meta.cal_step.refpix == correct_with_jwst(placed)[1] == "SKIPPED"


def test_a_subarray_beyond_the_detector_is_skipped():
    placed = ramp(22, (16, 16))
    placed.origin = (2040, 0)
    result = RefPixStep().run(placed.ours())
    assert result.meta.cal_step.refpix == correct_with_jwst(placed)[1] == "SKIPPED"


def test_a_subarray_without_reference_pixels_is_complete():
    placed = ramp(23, (16, 16), (500, 500), noutputs=1)
    result = RefPixStep().run(placed.ours())
    assert result.meta.cal_step.refpix == correct_with_jwst(placed)[1] == "COMPLETE"
    assert np.array_equal(np.asarray(result.data), placed.data)


@pytest.mark.parametrize("keyword", ["fastaxis", "slowaxis", "xstart", "ysize"])
def test_a_header_without_the_position_is_an_error(keyword):
    model = ramp(24, (16, 16)).ours()
    model[f"meta.subarray.{keyword}"] = None
    with pytest.raises(StepError, match="the header lacks"):
        RefPixStep().run(model)


def test_invalid_axes_are_an_error():
    with pytest.raises(StepError, match="FASTAXIS = 1 and SLOWAXIS = -1"):
        RefPixStep().run(ramp(25, (16, 16), axes=(1, -1)).ours())


def test_a_header_that_contradicts_the_array_is_an_error():
    model = ramp(26, (16, 16)).ours()
    model.meta.subarray.xsize = 32
    with pytest.raises(StepError, match="16 rows and 32 columns, but the array has 16 and 16"):
        RefPixStep().run(model)


# -- tiles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("noutputs", [1, 4])
@pytest.mark.parametrize("detector", ["NRCA1", "NIS"])
def test_tiles_do_not_change_results(noutputs, detector):
    placed = ramp(27, (40, 2048), (2008, 0), nints=2, detector=detector, noutputs=noutputs)
    whole = correct(placed)
    for rows in (1, 7, 16):
        with dask.config.set({"calbatch.tile-rows": rows}):
            assert np.array_equal(correct(placed), whole)


class TestContract(StepContract):
    name = "refpix"
