"""The reference pixel step agrees with jwst's."""

import shutil
import warnings

import dask
import dask.array as da
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from jwst.dq_init import DQInitStep as JwstDQInitStep
from jwst.refpix import RefPixStep as JwstRefPixStep
from stdatamodels.jwst import datamodels as jwst_models
from support.placed_ramps import PlacedRamp, flagged_border
from support.simulated import offline, small_exposure
from support.step_contract import StepContract

from calbatch.calibrate.step import StepError
from calbatch.calibrate.steps.dq_init import DQInitStep
from calbatch.calibrate.steps.refpix import (
    RefPixStep,
    reference_regions,
    regions_with_reference,
)
from calbatch.calibrate.steps.refpix.geometry import DetectorPlacement
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import DO_NOT_USE, REFERENCE_PIXEL
from calbatch.models.tiling.plan import Region

READ_NOISE = 10.0
"""Scatter of the samples below, in counts."""

EVERY_AXES = [(a * i, b * j) for a, b in ((1, 2), (2, 1)) for i in (1, -1) for j in (1, -1)]
EDGES = {
    "corner": ((40, 24), (0, 0)),
    "far corner": ((40, 24), (2008, 2024)),
    "bottom stripe": ((16, 2048), (0, 0)),
    "top stripe": ((16, 2048), (2032, 0)),
    "middle stripe": ((16, 2048), (700, 0)),
    "left stripe": ((2048, 16), (0, 0)),
    "right stripe": ((2048, 16), (0, 2032)),
    "middle columns": ((2048, 16), (0, 600)),
    "one row and column": ((30, 30), (3, 2017)),
    "nothing": ((30, 30), (900, 1100)),
}


def ramp(seed, shape, origin=(0, 0), nints=1, ngroups=1, **place):
    """Return a ramp with amplifier, parity and row signals, outliers and bad pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.arange(o, o + n) for o, n in zip(origin, shape, strict=True))
    data = rng.normal(100, READ_NOISE, (nints, ngroups, *shape))
    for numbers in (rows[:, None], columns):
        data += 40 * (numbers // 512) + 25 * (numbers % 2) + 15 * np.sin(numbers / 20)
    data[rng.random(data.shape) < 0.01] += 3000
    pixeldq = flagged_border(shape, origin)
    pixeldq[rng.random(shape) < 0.05] |= DO_NOT_USE
    return PlacedRamp(data.astype(np.float32), pixeldq, origin, **place)


def corrected(placed, **parameters):
    """Return the data after the step."""
    return RefPixStep(**parameters).run(placed.ours()).data.compute(scheduler="synchronous")


def expected(placed, **parameters):
    """Return jwst's result for a ramp, and its status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means and medians of NaN
        result = JwstRefPixStep(**parameters).process(placed.theirs())
    return result.data, result.meta.cal_step.refpix


def assert_agrees(found, wanted):
    """Assert agreement within 1e-3 of the read noise or 1e-5 relative, the same NaN included.

    jwst sums in float32 in the first group.
    """
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-3 * READ_NOISE)


def check(placed, **parameters):
    """Compare with jwst; return the subtracted signal."""
    wanted, status = expected(placed, **parameters)
    assert status == "COMPLETE"
    found = corrected(placed, **parameters)
    assert_agrees(found, wanted)
    return placed.data - found


# -- four amplifiers ---------------------------------------------------------------------------


@pytest.mark.parametrize("detector", ["NRCA1", "NRCB1", "NRS1", "NIS"])
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
    assert np.any(check(placed, **parameters) != placed.data - corrected(placed))


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
    assert_agrees(corrected(placed, side_smoothing_length=1), wanted)


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
    good = placed.data - corrected(placed)
    placed.pixeldq[BAD[where]] |= DO_NOT_USE
    signal = check(placed)
    assert np.any(signal != good)
    assert np.any(signal) == (where != "everything")


@pytest.mark.parametrize("where", ["an amplifier's top", "an amplifier's bottom and top"])
def test_bad_reference_pixels_without_parity(where):
    placed = ramp(8, (2048, 520), axes=(1, 2))
    good = placed.data - corrected(placed, odd_even_columns=False)
    placed.pixeldq[BAD[where]] |= DO_NOT_USE
    assert np.any(check(placed, odd_even_columns=False) != good)


@pytest.mark.parametrize(
    "bad", [slice(0, 4), slice(2044, 2048), [0, 1, 2, 3, 2044, 2045, 2046, 2047]], ids=str
)
def test_bad_sides(bad):
    placed = ramp(8, (30, 2048), (1000, 0), axes=(1, 2))
    good = placed.data - corrected(placed)
    placed.pixeldq[:, bad] |= DO_NOT_USE
    signal = check(placed)
    assert np.any(signal != good)
    assert np.any(signal) == (len(range(2048)[bad] if isinstance(bad, slice) else bad) < 8)


def test_four_amplifiers_ignore_flags_other_than_do_not_use():
    placed = ramp(9, (16, 2048), axes=(1, 2))
    good = corrected(placed)
    placed.pixeldq ^= np.random.default_rng(0).choice([0, 2**10, 2**31], (16, 2048)).astype("u4")
    assert np.array_equal(corrected(placed), good)
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


# -- one amplifier -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", EDGES)
def test_one_amplifier_at_any_edge(where):
    signal = check(ramp(11, *EDGES[where], detector="NRS2", noutputs=1))
    assert np.any(signal) == (where != "nothing")


@pytest.mark.parametrize("axes", EVERY_AXES)
def test_one_amplifier_in_any_orientation(axes):
    placed = ramp(11, *EDGES["far corner"], nints=2, ngroups=2, axes=axes, noutputs=1)
    signal = check(placed)
    across = 2 if abs(axes[0]) == 1 else 3  # the file's axis along the detector's columns
    assert np.all(np.ptp(signal, axis=across) < 1e-2)
    assert np.all(signal)


@pytest.mark.parametrize("subarray", ["SUB512", "SUB512S", "SUB32"])
@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
def test_edgeless_subarrays_use_their_first_and_last_columns(subarray, detector):
    placed = ramp(12, (32, 64), (1000, 900), detector=detector, noutputs=1, subarray=subarray)
    check(placed)
    assert not np.array_equal(corrected(placed), placed.data)


def test_edgeless_subarrays_read_by_four_amplifiers_have_no_reference_pixels():
    placed = ramp(13, (32, 64), (1000, 900), detector="NRS1", subarray="SUB512")
    check(placed)
    assert np.array_equal(corrected(placed), placed.data)


@pytest.mark.parametrize("parameters", [{"odd_even_columns": False}, {"siglimit": 2.0}], ids=str)
def test_parameters_of_one_amplifier(parameters):
    placed = ramp(14, (40, 24), detector="NRS1", noutputs=1)
    assert np.any(check(placed, **parameters) != placed.data - corrected(placed))


def test_one_amplifier_uses_only_flagged_reference_pixels():
    placed = ramp(15, (40, 24), noutputs=1)
    rng = np.random.default_rng(0)
    placed.pixeldq[rng.random((40, 24)) < 0.7] = 0
    check(placed)
    placed.pixeldq[:] = 0
    check(placed)
    assert np.array_equal(corrected(placed), placed.data)


def test_one_amplifier_with_only_bad_pixels_is_unchanged():
    placed = ramp(16, (40, 24), noutputs=1)
    placed.pixeldq |= DO_NOT_USE
    check(placed)
    assert np.array_equal(corrected(placed), placed.data)


def test_one_amplifier_without_good_odd_columns_is_unchanged():
    # jwst fails on this with an IndexError; it leaves full frames unchanged, as we do.
    placed = ramp(17, (40, 24), noutputs=1)
    placed.pixeldq[:, 1::2] |= DO_NOT_USE
    assert np.array_equal(corrected(placed), placed.data)


def scattered(seed, shape, origin=(0, 0), chance=0.02, **place):
    """Return a ramp with good and bad reference pixels flagged anywhere."""
    placed = ramp(seed, shape, origin, **place)
    rng = np.random.default_rng(seed)
    placed.pixeldq[rng.random(shape) < chance] |= REFERENCE_PIXEL
    placed.pixeldq[rng.random(shape) < 0.1] |= DO_NOT_USE
    return placed


@settings(max_examples=5)
@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 30), st.integers(2, 30)),
    st.tuples(st.integers(0, 2018), st.integers(0, 2018)),
    st.sampled_from(EVERY_AXES),
    st.floats(0.01, 1),
    st.sampled_from([1, 7, 400]),
)
def test_reference_pixels_count_wherever_they_are_flagged(seed, shape, origin, axes, chance, rows):
    placed = scattered(seed, shape, origin, chance, axes=axes, noutputs=1)
    _have_both_parities(placed)
    with dask.config.set({"calbatch.tile-rows": rows}):
        signal = check(placed)
    assert np.any(signal) == np.any(placed.pixeldq & REFERENCE_PIXEL)


def _have_both_parities(placed):
    """Flag two good neighbours, since jwst fails if all reference pixels have one parity."""
    rows, columns = placed.pixeldq.shape
    along = (1, 0) if abs(placed.axes[0]) == 2 else (0, 1)
    if rows > along[0] and columns > along[1]:
        placed.pixeldq[0, 0] = placed.pixeldq[along] = REFERENCE_PIXEL
    else:
        placed.pixeldq[:] = 0


@pytest.mark.parametrize("where", EDGES)
def test_one_flag_off_the_border_counts(where):
    placed = ramp(31, *EDGES[where], detector="NRS2", noutputs=1)
    before = corrected(placed)
    placed.pixeldq[9:11, 10] = REFERENCE_PIXEL
    assert (corrected(placed) != before).any()
    check(placed)


@pytest.mark.parametrize("name", ["SUB512", "GENERIC"])
def test_flags_inside_edgeless_subarrays_count(name):
    placed = scattered(32, (32, 64), (1000, 900), detector="NRS1", noutputs=1, subarray=name)
    flagged = check(placed)
    placed.pixeldq[:, 4:-4] &= ~np.uint32(REFERENCE_PIXEL)
    assert np.any(flagged != check(placed))


def test_four_amplifiers_ignore_flags_off_the_border():
    placed = ramp(33, (16, 2048), axes=(1, 2))
    good = corrected(placed)
    placed.pixeldq[8, 100:900] |= REFERENCE_PIXEL
    assert np.array_equal(corrected(placed), good)
    check(placed)


def test_bands_of_scattered_flags_do_not_change_results():
    placed = scattered(34, (40, 2048), (1000, 0), chance=0.001, nints=2, ngroups=2, noutputs=1)
    whole = corrected(placed)
    for rows in (1, 7, 16):
        with dask.config.set({"calbatch.tile-rows": rows}):
            assert np.array_equal(corrected(placed), whole)


def test_scattered_flags_count_in_an_assigned_ramp():
    placed = scattered(35, (40, 24), (1000, 900), chance=0.05, noutputs=1)
    model = placed.ours()
    model.data = da.from_array(placed.data, chunks=(1, 1, 7, 24))
    found = RefPixStep().run(model).data.compute(scheduler="synchronous")
    assert np.array_equal(found, corrected(placed))


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 9), st.data())
def test_regions_contain_each_row_with_reference_pixels_once(rows, height, data):
    cut = data.draw(st.integers(0, len(rows)))
    inside = Region((4, 4 + len(rows)), (2, 9))
    found = [np.array(rows[:cut], bool), np.array(rows[cut:], bool)]
    border = (Region((0, 4), (0, 11)),)
    first, *bands = regions_with_reference(found, border=border, inside=inside, height=height)
    covered = [row for band in bands for row in range(*band.rows)]
    assert first == border[0]
    assert covered == [4 + n for n, flagged in enumerate(rows) if flagged]
    assert all(band.shape[0] <= height and band.cols == inside.cols for band in bands)


def test_flags_of_the_raw_file_and_of_the_mask_are_combined(tmp_path):
    """A small version of a reported file, with its own flags in the middle of the frame."""
    exposure = small_exposure("NIS", shape=(24, 24), ngroups=3, nints=2)
    path = shutil.copy(exposure.path, tmp_path / "own_uncal.fits")
    flags = np.zeros((24, 24), "u4")
    flags[12, 10:13] = REFERENCE_PIXEL
    flags[14, 14] = REFERENCE_PIXEL | DO_NOT_USE
    with fits.open(path, mode="append") as hdus:
        hdus.append(fits.ImageHDU(flags, name="PIXELDQ"))
    mask = shutil.copy(exposure.reference("mask"), tmp_path / "mask.fits")
    with fits.open(mask, mode="update") as hdus:
        bits = {row["NAME"].strip(): row["VALUE"] for row in hdus["DQ_DEF"].data}
        hdus["DQ"].data[16, 9:12] |= bits["REFERENCE_PIXEL"]
    ours, theirs = RampModel(path), jwst_models.RampModel(str(path))
    with offline(exposure.set):
        for our_step, their_step in (
            (DQInitStep(override_mask=mask), JwstDQInitStep(override_mask=str(mask))),
            (RefPixStep(), JwstRefPixStep()),
        ):
            ours, theirs = our_step.run(ours), their_step.run(theirs)
    assert ours.meta.exposure.noutputs == 1
    assert np.array_equal(np.asarray(ours.pixeldq), theirs.pixeldq)
    assert_agrees(np.asarray(ours.data), theirs.data)


def test_nan_reference_pixel_of_one_amplifier():
    placed = ramp(18, (40, 24), noutputs=1)
    placed.pixeldq[0, 3] = 2**31
    placed.data[0, 0, 0, 3] = np.nan
    spoiled = np.isnan(check(placed))
    assert np.all(spoiled[..., 1::2])
    assert not np.any(spoiled[..., ::2])


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
    assert np.array_equal(corrected(placed, **parameters), corrected(placed))
    check(placed, **parameters)


def test_miri_subarrays_are_skipped():
    placed = ramp(21, (64, 72), (50, 0), detector="MIRIMAGE")
    result = RefPixStep().run(placed.ours())
    assert result.meta.cal_step.refpix == expected(placed)[1] == "SKIPPED"


def test_a_subarray_beyond_the_detector_is_skipped():
    placed = ramp(22, (16, 16))
    placed.origin = (2040, 0)
    result = RefPixStep().run(placed.ours())
    assert result.meta.cal_step.refpix == expected(placed)[1] == "SKIPPED"


def test_a_subarray_without_reference_pixels_is_complete():
    placed = ramp(23, (16, 16), (500, 500), noutputs=1)
    result = RefPixStep().run(placed.ours())
    assert result.meta.cal_step.refpix == expected(placed)[1] == "COMPLETE"
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
    whole = corrected(placed)
    for rows in (1, 7, 16):
        with dask.config.set({"calbatch.tile-rows": rows}):
            assert np.array_equal(corrected(placed), whole)


class TestContract(StepContract):
    name = "refpix"
