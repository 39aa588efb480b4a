"""Reductions run only the operations that their fields depend on, with the same values."""

from collections import Counter

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models.datamodels import RampModel
from calbatch.models.tiling.graphs import delayed_value
from calbatch.models.tiling.plan import OperationNode, Reduction, build_call
from calbatch.models.tiling.pruning import required_operations
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


def gather_data(data):
    return data.copy()


def gather_pixeldq(pixeldq):
    return pixeldq.copy()


def gather_groupdq(groupdq):
    return groupdq.copy()


def join(pieces):
    return np.concatenate(pieces, axis=-2)


def largest(pieces):
    return float(np.max(pieces))


def brightest_rows(pieces):
    return tuple(
        Region((int(n), int(n) + 1), (0, 4)) for n in np.argsort(pieces[0].sum(axis=1))[-2:]
    )


STEPS = {
    "data": (shift_data, ("data",), {"by": 1.0}),
    "pixeldq": (flag_pixels, ("pixeldq",), {}),
    "groupdq": (flag_groups, ("groupdq",), {}),
    "both": (shift_and_flag, ("data", "pixeldq"), {"by": 1.0}),
}
GATHER = {"data": gather_data, "pixeldq": gather_pixeldq, "groupdq": gather_groupdq}


def ramp():
    rng = np.random.default_rng(0)
    return RampModel(
        rng.normal(0, 3, (2, 3, 6, 4)).astype("f4"),
        pixeldq=rng.integers(0, 9, (6, 4)).astype("u4"),
    )


def apply_chain(names):
    """Return a ramp after some operations; each shift adds the largest sample before it."""
    model = ramp()
    for name in names:
        kernel, outputs, arguments = STEPS[name]
        reduced = {key: model.reduce(gather_data, largest) for key in arguments}
        alone = {"pixeldq": flag_alone} if name == "both" else None
        model = model.map_tiles(kernel, outputs, alone=alone, **reduced)
    return model


def value(reduction: Reduction):
    return delayed_value(reduction).compute(scheduler="sync")


@settings(max_examples=25)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=6), st.sampled_from(sorted(GATHER)))
def test_values_equal_those_of_the_whole_chain(names, field):
    model = apply_chain(names)
    found = value(model.reduce(GATHER[field], join))
    np.testing.assert_array_equal(found, np.asarray(getattr(model, field)))


@pytest.mark.parametrize(
    ("field", "runs"),
    [("pixeldq", {"pixeldq": 1, "alone": 1}), ("groupdq", {"groupdq": 1})],
)
def test_only_operations_that_a_field_depends_on_run(field, runs):
    model = apply_chain(["groupdq", "pixeldq", "data", "both"])
    RUNS.clear()
    value(model.reduce(GATHER[field], join))
    assert runs == RUNS


@pytest.mark.parametrize("assigned", [False, True])
def test_a_reduction_can_choose_the_regions_of_another(assigned):
    model = apply_chain(["data"])
    if assigned:
        model.pixeldq = da.from_array(np.asarray(model.pixeldq), chunks=(2, 4))
    where = model.reduce(gather_pixeldq, brightest_rows)
    found = value(model.reduce(gather_data, join, where))
    rows = np.argsort(ramp().pixeldq.compute().sum(axis=1))[-2:]
    np.testing.assert_array_equal(found, np.asarray(model.data)[..., rows, :])


class Unknown:
    """An operation whose inputs and outputs are not declared."""

    label, radius = "unknown", 0

    def apply(self, tile, values):
        return tile


def test_operations_before_an_unknown_one_are_required():
    node = apply_chain(["pixeldq", "groupdq"])._content.node
    tip = OperationNode(OperationNode(node, Unknown()), build_call(shift_data, {}, {"by": 1.0})[0])
    labels = [required.op.label for required in required_operations(["groupdq"], tip)]
    assert labels[-1] == "unknown"
    assert {"flag_pixels", "flag_groups"} < set(labels)
