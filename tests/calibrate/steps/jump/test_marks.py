"""Marks: the flags of large events, drawn into bands of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stcal.jump.jump import compute_axes
from stcal.jump.jump_class import JumpData

from calbatch.calibrate.steps.jump.ellipses import Ellipse, Outline, draw
from calbatch.calibrate.steps.jump.marks import Events, Kind, Mark, mark_extents, mark_flags
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED
from calbatch.models.tiling.tile import Region

FRAME = (9, 12)
WHOLE = Region((0, 9), (0, 12))
ELLIPSE = Outline.of(Ellipse(6.0, 3.0, (4.0, 6.0), 30.0))


def paint(outline):
    """Return the pixels of an ellipse in the frame."""
    top, left, mask = draw(outline, FRAME)
    painted = np.zeros(FRAME, bool)
    painted[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return painted


INSIDE = paint(ELLIPSE)


def mark(groupdq, *marks, region=WHOLE):
    return mark_flags(groupdq, events=Events(marks=list(marks), count=7, usable=3), region=region)


@pytest.fixture
def unflagged():
    return np.full((2, 4, *FRAME), 64, "u1")


def test_a_core_replaces_flags(unflagged):
    unflagged[0, 1] |= np.uint8(DO_NOT_USE | JUMP_DET)
    flags, _ = mark(unflagged, Mark(Kind.CORE, 0, 1, 3, ELLIPSE))
    assert np.all(flags[0, 1:3, INSIDE] == SATURATED)
    assert np.sum(flags != unflagged) == 2 * INSIDE.sum()


def test_an_extent_ends_where_a_pixel_saturates(unflagged):
    unflagged[1, 2, 3, 6] |= np.uint8(SATURATED)
    flags, _ = mark(unflagged, Mark(Kind.EXTENT, 1, 1, 4, ELLIPSE))
    assert flags[1, 1:, 3, 6].tolist() == [64 | JUMP_DET, 64 | SATURATED, 64]
    assert np.sum(flags != unflagged) == 3 * INSIDE.sum() - 2


def test_a_remnant_is_flagged_in_saturated_pixels_too(unflagged):
    unflagged[1, 1, 3, 6] |= np.uint8(SATURATED)
    flags, _ = mark(unflagged, Mark(Kind.REMNANT, 1, 1, 2, ELLIPSE))
    assert np.all(flags[1, 1, INSIDE] & JUMP_DET)


def test_counts_are_those_of_the_frame(unflagged):
    _, counts = mark(unflagged[:, :, 3:5], region=Region((3, 5), (0, 12)))
    assert counts.tolist() == [[7, 3]] * 2


@pytest.mark.parametrize("axes", [(3.2, 8.0), (8.0, 3.2), (-1.0, -1.0), (300.0, 500.0)])
@pytest.mark.parametrize("factor", [2.0, 1.1])
def test_extents_grow_as_in_stcal(axes, factor):
    job = JumpData()
    job.max_extended_width = 400
    ellipse = Ellipse(6.0, 4.0, axes, 30.0)
    radii = compute_axes(True, ((6.0, 4.0), axes, 30.0), factor, job)
    (extent,) = mark_extents([ellipse], factor=factor, max_axis=400, integration=1, groups=(2, 3))
    wanted = Outline.of(ellipse._replace(axes=(2 * radii[0], 2 * radii[1])))
    assert extent == (Kind.EXTENT, 1, 2, 3, wanted)


@given(
    st.builds(
        Ellipse,
        st.floats(0, FRAME[1] - 1),
        st.floats(0, FRAME[0] - 1),
        st.tuples(st.floats(-2, 30), st.floats(-2, 30)),
        st.floats(-90, 90),
    ),
    st.lists(st.integers(1, FRAME[0] - 1), unique=True),
)
@settings(max_examples=80, deadline=None)
def test_bands_have_the_pixels_of_the_drawing(ellipse, edges):
    outline = Outline.of(ellipse)
    zeros, one = np.zeros((1, 1, *FRAME), "u1"), Mark(Kind.REMNANT, 0, 0, 1, outline)
    bands = [
        mark(zeros[:, :, first:last], one, region=Region((first, last), (0, FRAME[1])))[0]
        for first, last in zip([0, *sorted(edges)], [*sorted(edges), FRAME[0]], strict=True)
    ]
    joined = np.concatenate(bands, axis=2)[0, 0]
    np.testing.assert_array_equal(joined, np.where(paint(outline), JUMP_DET, 0))
