"""Reference pixels of subarrays read by one amplifier, which flags define; agreement with jwst."""

import shutil

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
from support.reference_pixels import (
    EDGES,
    EVERY_AXES,
    assert_agrees,
    check,
    correct,
    ramp,
)
from support.simulated import offline, small_exposure

from calbatch.calibrate.steps.dq_init import DQInitStep
from calbatch.calibrate.steps.refpix import RefPixStep, regions_with_reference
from calbatch.models.datamodels import RampModel
from calbatch.models.dq import DO_NOT_USE, REFERENCE_PIXEL
from calbatch.models.tiling.plan import Region


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
    assert not np.array_equal(correct(placed), placed.data)


def test_edgeless_subarrays_read_by_four_amplifiers_have_no_reference_pixels():
    placed = ramp(13, (32, 64), (1000, 900), detector="NRS1", subarray="SUB512")
    check(placed)
    assert np.array_equal(correct(placed), placed.data)


@pytest.mark.parametrize("parameters", [{"odd_even_columns": False}, {"siglimit": 2.0}], ids=str)
def test_parameters_of_one_amplifier(parameters):
    placed = ramp(14, (40, 24), detector="NRS1", noutputs=1)
    assert np.any(check(placed, **parameters) != placed.data - correct(placed))


def test_one_amplifier_uses_only_flagged_reference_pixels():
    placed = ramp(15, (40, 24), noutputs=1)
    rng = np.random.default_rng(0)
    placed.pixeldq[rng.random((40, 24)) < 0.7] = 0
    check(placed)
    placed.pixeldq[:] = 0
    check(placed)
    assert np.array_equal(correct(placed), placed.data)


def test_one_amplifier_with_only_bad_pixels_is_unchanged():
    placed = ramp(16, (40, 24), noutputs=1)
    placed.pixeldq |= DO_NOT_USE
    check(placed)
    assert np.array_equal(correct(placed), placed.data)


def test_one_amplifier_without_good_odd_columns_is_unchanged():
    # jwst fails on this with an IndexError; it leaves full frames unchanged, as we do.
    placed = ramp(17, (40, 24), noutputs=1)
    placed.pixeldq[:, 1::2] |= DO_NOT_USE
    assert np.array_equal(correct(placed), placed.data)


def scatter_references(seed, shape, origin=(0, 0), chance=0.02, **place):
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
    placed = scatter_references(seed, shape, origin, chance, axes=axes, noutputs=1)
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
    before = correct(placed)
    placed.pixeldq[9:11, 10] = REFERENCE_PIXEL
    assert (correct(placed) != before).any()
    check(placed)


@pytest.mark.parametrize("name", ["SUB512", "GENERIC"])
def test_flags_inside_edgeless_subarrays_count(name):
    placed = scatter_references(
        32, (32, 64), (1000, 900), detector="NRS1", noutputs=1, subarray=name
    )
    flagged = check(placed)
    placed.pixeldq[:, 4:-4] &= ~np.uint32(REFERENCE_PIXEL)
    assert np.any(flagged != check(placed))


def test_four_amplifiers_ignore_flags_off_the_border():
    placed = ramp(33, (16, 2048), axes=(1, 2))
    good = correct(placed)
    placed.pixeldq[8, 100:900] |= REFERENCE_PIXEL
    assert np.array_equal(correct(placed), good)
    check(placed)


def test_bands_of_scattered_flags_do_not_change_results():
    placed = scatter_references(
        34, (40, 2048), (1000, 0), chance=0.001, nints=2, ngroups=2, noutputs=1
    )
    whole = correct(placed)
    for rows in (1, 7, 16):
        with dask.config.set({"calbatch.tile-rows": rows}):
            assert np.array_equal(correct(placed), whole)


def test_scattered_flags_count_in_an_assigned_ramp():
    placed = scatter_references(35, (40, 24), (1000, 900), chance=0.05, noutputs=1)
    model = placed.ours()
    model.data = da.from_array(placed.data, chunks=(1, 1, 7, 24))
    found = RefPixStep().run(model).data.compute(scheduler="synchronous")
    assert np.array_equal(found, correct(placed))


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
