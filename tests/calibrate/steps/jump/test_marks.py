"""Marks: the flags of large events, drawn into bands of rows."""

import numpy as np
import pytest
from stcal.jump.jump import compute_axes
from stcal.jump.jump_class import JumpData

from calbatch.calibrate.steps.jump.ellipses import Drawing, Ellipse, draw_ellipse
from calbatch.calibrate.steps.jump.marks import Events, Kind, Mark, mark_extents, mark_flags
from calbatch.models.dq import DO_NOT_USE, JUMP_DET, SATURATED
from calbatch.models.tiling.tile import Region

FRAME = (9, 12)
WHOLE = Region((0, 9), (0, 12))
ALL = np.ones((3, 4), bool)


def mark(groupdq, *marks, region=WHOLE):
    return mark_flags(groupdq, events=Events(marks=list(marks), count=7, usable=3), region=region)


@pytest.fixture
def given():
    return np.full((2, 4, *FRAME), 64, "u1")


def test_a_core_replaces_flags(given):
    given[0, 1] |= np.uint8(DO_NOT_USE | JUMP_DET)
    flags, _ = mark(given, Mark(Kind.CORE, 0, 1, 3, Drawing(2, 5, ALL)))
    assert np.all(flags[0, 1:3, 2:5, 5:9] == SATURATED)
    assert np.sum(flags != given) == 2 * ALL.size


def test_an_extent_ends_where_a_pixel_saturates(given):
    given[1, 2, 3, 6] |= np.uint8(SATURATED)
    flags, _ = mark(given, Mark(Kind.EXTENT, 1, 1, 4, Drawing(2, 5, ALL)))
    assert flags[1, 1:, 3, 6].tolist() == [64 | JUMP_DET, 64 | SATURATED, 64]
    assert np.sum(flags != given) == 3 * ALL.size - 2


def test_a_remnant_is_flagged_in_saturated_pixels_too(given):
    given[1, 1, 3, 6] |= np.uint8(SATURATED)
    flags, _ = mark(given, Mark(Kind.REMNANT, 1, 1, 2, Drawing(2, 5, ALL)))
    assert np.all(flags[1, 1, 2:5, 5:9] & JUMP_DET)


def test_counts_are_those_of_the_frame(given):
    _, counts = mark(given[:, :, 3:5], region=Region((3, 5), (0, 12)))
    assert counts.tolist() == [[7, 3]] * 2


@pytest.mark.parametrize("axes", [(3.2, 8.0), (8.0, 3.2), (-1.0, -1.0), (300.0, 500.0)])
@pytest.mark.parametrize("factor", [2.0, 1.1])
def test_extents_grow_as_in_stcal(axes, factor):
    job = JumpData()
    job.max_extended_width = 400
    ellipse = Ellipse(6.0, 4.0, axes, 30.0)
    radii = compute_axes(True, ((6.0, 4.0), axes, 30.0), factor, job)
    (extent,) = mark_extents(
        [ellipse], factor=factor, max_axis=400, integration=1, groups=(2, 3), frame=FRAME
    )
    wanted = draw_ellipse(ellipse._replace(axes=(2 * radii[0], 2 * radii[1])), FRAME)
    np.testing.assert_array_equal(extent.drawing.mask, wanted.mask)
    assert extent[:4] == (Kind.EXTENT, 1, 2, 3)
