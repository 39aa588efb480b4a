"""Of a chain of operations, reductions run what their fields depend on, with the same values."""

from collections import Counter

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models.datamodels import RampModel
from calbatch.models.tiling.graphs import delayed_value
from calbatch.models.tiling.plan import Reduction
from calbatch.models.tiling.tile import Region

RUNS: Counter[str] = Counter()


def shift_data(data, *, by):
    RUNS["data"] += 1
    return data + by


def flag_pixels(pixeldq):
    RUNS["pixeldq"] += 1
    return pixeldq * 2 + 1


def flag_groups(data, groupdq):
    RUNS["groupdq"] += 1
    return groupdq + (data > 0).astype("u1")


def shift_and_flag(data, pixeldq, *, by):
    RUNS["both"] += 1
    return data * 2 + by, flag_alone(pixeldq)


def flag_alone(pixeldq):
    RUNS["alone"] += 1
    return pixeldq * 3 + 2


def of_data(data):
    return data.copy()


def of_pixeldq(pixeldq):
    return pixeldq.copy()


def of_groupdq(groupdq):
    return groupdq.copy()


def join(found):
    return np.concatenate(found, axis=-2)


def largest(found):
    return float(np.max(found))


def top_rows(found):
    return tuple(
        Region((int(n), int(n) + 1), (0, 4)) for n in np.argsort(found[0].sum(axis=1))[-2:]
    )


STEPS = {
    "data": (shift_data, ("data",), {"by": 1.0}),
    "pixeldq": (flag_pixels, ("pixeldq",), {}),
    "groupdq": (flag_groups, ("groupdq",), {}),
    "both": (shift_and_flag, ("data", "pixeldq"), {"by": 1.0}),
}
GATHER = {"data": of_data, "pixeldq": of_pixeldq, "groupdq": of_groupdq}


def ramp():
    rng = np.random.default_rng(0)
    return RampModel(
        rng.normal(0, 3, (2, 3, 6, 4)).astype("f4"),
        pixeldq=rng.integers(0, 9, (6, 4)).astype("u4"),
    )


def chained(names):
    """Return a ramp after some steps; each shift is by the largest sample before it."""
    model = ramp()
    for name in names:
        kernel, outputs, arguments = STEPS[name]
        settled = {key: model.reduce(of_data, largest) for key in arguments}
        alone = {"pixeldq": flag_alone} if name == "both" else None
        model = model.map_tiles(kernel, outputs, alone=alone, **settled)
    return model


def value(reduction: Reduction):
    return delayed_value(reduction).compute(scheduler="sync")


@settings(max_examples=25)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=6), st.sampled_from(sorted(GATHER)))
def test_values_are_those_of_the_whole_chain(names, field):
    model = chained(names)
    found = value(model.reduce(GATHER[field], join))
    np.testing.assert_array_equal(found, np.asarray(getattr(model, field)))


@pytest.mark.parametrize(
    ("field", "runs"),
    [("pixeldq", {"pixeldq": 1, "alone": 1}), ("groupdq", {"groupdq": 1})],
)
def test_only_what_a_field_depends_on_is_run(field, runs):
    model = chained(["groupdq", "pixeldq", "data", "both"])
    RUNS.clear()
    value(model.reduce(GATHER[field], join))
    assert runs == RUNS


@pytest.mark.parametrize("assigned", [False, True])
def test_a_reduction_may_look_where_another_one_says(assigned):
    model = chained(["data"])
    if assigned:
        model.pixeldq = da.from_array(np.asarray(model.pixeldq), chunks=(2, 4))
    where = model.reduce(of_pixeldq, top_rows)
    found = value(model.reduce(of_data, join, where))
    rows = np.argsort(ramp().pixeldq.compute().sum(axis=1))[-2:]
    np.testing.assert_array_equal(found, np.asarray(model.data)[..., rows, :])
