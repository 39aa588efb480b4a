"""Collated superstripes: their frame, numbers and times, as jwst has them."""

import numpy as np
import pytest
from jwst.lib import stripe_utils
from jwst.lib.tests.helpers import int_times_table
from stdatamodels.jwst import datamodels as jwst_models
from support.striped import MODES, raw_model

from calbatch.calibrate.errors import StepError
from calbatch.calibrate.frames.stripes import stripes_of
from calbatch.calibrate.steps._ramps import as_ramp
from calbatch.calibrate.steps.refpix.collation import (
    collate_stripes,
    collated_frame,
    combine_times,
    number_times,
    read_times_of_stripes,
    stripe_of_row,
)
from calbatch.models.dq import REFERENCE_PIXEL

SUPER = [name for name, made in MODES.items() if made["numbers"][-1]]


def both(mode, **changes):
    """Return our stack and its stripes, and jwst's model of the same exposure."""
    raw = raw_model(mode, zero_frame=True)
    raw.meta.exposure.integration_start = 1
    raw.meta.exposure.integration_end = raw.shape[0]
    for name, value in changes.items():
        setattr(raw.meta.exposure, name, value)
    raw.int_times = int_times_table(raw.shape[0])
    theirs = jwst_models.SuperstripeRampModel(
        data=np.asarray(raw.data, "f4"), zeroframe=np.asarray(raw.zeroframe, "f4")
    )
    for path, value in raw.to_flat_dict().items():
        if path.startswith(("meta.subarray.", "meta.exposure.", "meta.instrument.")):
            theirs[path] = value
    theirs.int_times = int_times_table(raw.shape[0])
    return as_ramp(raw, before_refpix=True), stripes_of(raw), theirs


@pytest.mark.parametrize("mode", SUPER)
def test_frame_numbers_and_times_are_those_of_jwst(mode):
    first = MODES[mode]["nints"] + 1  # a later segment
    stack, stripes, theirs = both(
        mode, nints=3 * first, integration_start=first, integration_end=2 * first - 2
    )
    frame = collated_frame(stripes, str(stack.meta.subarray.name))
    found, wanted = (
        collate_stripes(stack, stripes, frame),
        stripe_utils.collate_superstripes(theirs),
    )
    for name in ("data", "groupdq", "pixeldq", "zeroframe"):
        np.testing.assert_array_equal(
            np.asarray(getattr(found, name)), getattr(wanted, name), err_msg=name
        )
    for name in ("int_times", "int_times_stripe"):
        rows = [list(map(list, getattr(each, name))) for each in (found, wanted)]
        assert rows[0] == rows[1]
    for branch in ("subarray", "exposure"):
        ours = dict(getattr(found.meta, branch).items())
        other = {
            name: value
            for name, value in getattr(wanted.meta, branch).instance.items()
            if value not in (None, [])
        }
        assert {n: v for n, v in ours.items() if n != "read_times"} == {
            n: v for n, v in other.items() if n != "read_times"
        }


def test_the_table_of_groups_is_left_out_as_in_jwst():
    stack, stripes, theirs = both("columns")
    rows = np.zeros(stack.shape[0] * stack.shape[1], jwst_models.RampModel().get_dtype("group"))
    stack.group = theirs.group = rows
    found = collate_stripes(stack, stripes, collated_frame(stripes, "SUB680STRIPE_SOSS"))
    assert stack.has("group")
    assert not found.has("group")
    assert not stripe_utils.collate_superstripes(theirs).hasattr("group")


def test_rows_belong_to_the_stripe_that_reads_them():
    _, stripes, _ = both("columns")
    frame = collated_frame(stripes, "SUB680STRIPE_SOSS")
    (rows,) = stripe_of_row(stripes, frame)
    assert rows[0] == rows[-1] == -1  # reference pixels, which are not collated
    assert np.unique(rows[4:-4], return_counts=True)[1].tolist() == [680, 680, 680]
    assert rows[4] == 2  # the slow axis runs backwards


def test_unread_pixels_are_nan_and_flagged():
    stack, stripes, _ = both("columns")
    found = collate_stripes(stack, stripes, collated_frame(stripes, "SUB680STRIPE_SOSS"))
    unread = np.isnan(np.asarray(found.data)).all(axis=(0, 1))
    assert unread[:, :4].all()
    assert not unread[:, 4:-4].any()
    assert np.array_equal(np.asarray(found.pixeldq) == REFERENCE_PIXEL, unread)


@pytest.mark.parametrize("noutputs", [1, 4])
@pytest.mark.parametrize(("nframes", "groupgap"), [(1, 0), (3, 2)])
def test_read_times_are_those_of_jwst(noutputs, nframes, groupgap):
    changes = {"noutputs": noutputs, "nframes": nframes, "groupgap": groupgap}
    stack, stripes, theirs = both("repeated", **changes)
    wanted = stripe_utils.stripe_read_times(theirs)
    np.testing.assert_allclose(read_times_of_stripes(stack, stripes), wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("nframes", None, "the header lacks NFRAMES"),
        ("groupgap", None, "the header lacks GROUPGAP"),
        ("nframes", 10**6, "3 groups of NFRAMES = 1000000 frames .* are more than 1000000 reads"),
    ],
)
def test_read_times_need_a_possible_number_of_frames(name, value, message):
    stack, stripes, _ = both("repeated", nframes=1, groupgap=0)
    setattr(stack.meta.exposure, name, value)
    with pytest.raises(StepError, match=message):
        read_times_of_stripes(stack, stripes)


def test_times_span_the_stripes():
    times = int_times_table(6)
    whole, parts = combine_times(times, 3, 5), number_times(times, 3, 5)
    assert whole["integration_number"].tolist() == [5, 6]
    assert whole["int_start_MJD_UTC"].tolist() == times["int_start_MJD_UTC"][::3].tolist()
    assert whole["int_end_BJD_TDB"].tolist() == times["int_end_BJD_TDB"][2::3].tolist()
    assert parts["integration_number"].tolist() == [5, 5, 5, 6, 6, 6]
    assert parts["stripe_number"].tolist() == [1, 2, 3, 1, 2, 3]


def test_times_of_some_stripes_are_rejected():
    stack, stripes, _ = both("columns")
    stack.int_times = int_times_table(5)
    with pytest.raises(StepError, match="INT_TIMES needs a multiple of SSTR_NST = 3 rows"):
        collate_stripes(stack, stripes, collated_frame(stripes, "SUB680STRIPE_SOSS"))
