"""Templates: what has no blanks is shared, and all else is made anew for each file."""

from functools import partial

import numpy as np
import pytest

from calbatch.calibrate.steps.group_scale import scale_groups
from calbatch.models import datamodels
from calbatch.models.casting import cast_exactly
from calbatch.models.errors import ModelError
from calbatch.models.fits.readers import ConstantReader
from calbatch.models.storage.files import read_stamp
from calbatch.models.templates.kinds import detach, make_blank
from calbatch.models.templates.template import Template


def is_of_kind(path):
    return path.startswith("meta.exposure.")


def detached_model(path, value):
    model = datamodels.ImageModel(np.full((8, 6), value, "f4"))
    model.meta.target.ra = value
    model.save(path)
    model = datamodels.open(path)
    return model, *detach(model, read_stamp(path), is_of_kind)


def operations(model):
    return [node.op for node in model._content.node.ancestry() if hasattr(node, "op")]


def test_operations_without_blanks_are_shared_and_others_are_not(tmp_path):
    _, kind, parts = detached_model(tmp_path / "a.fits", 1.0)
    other, again, others = detached_model(tmp_path / "b.fits", 2.0)
    assert kind == again
    blank = make_blank(kind, set())
    derived = blank.map_tiles(scale_groups, ["data"], factor=3.0)
    ones = ConstantReader((8, 6), "f4", 1)
    cast = partial(cast_exactly, dtype=np.dtype("i4"), where=f"{blank.path}: dq")
    derived.set_reader("dq", ones.then(cast, "i4"))
    template = Template([derived, derived.copy()])
    (first, twin), (second, _) = template.fill(parts), template.fill(others)
    assert np.all(first.data.compute(scheduler="sync") == 3)
    assert np.all(second.data.compute(scheduler="sync") == 6)
    assert first.meta.target.ra == 1.0
    assert second.meta.target.ra == 2.0
    assert second.path == other.path
    (own, shared), (their_own, their_shared) = operations(first), operations(second)
    assert shared is their_shared
    assert own is not their_own
    assert their_own.reader._functions[0].keywords["where"] == f"{other.path}: dq"
    assert first._content.node is twin._content.node
    assert first._content.node is not second._content.node


def test_operations_that_read_the_file_are_not_shared(tmp_path):
    _, kind, parts = detached_model(tmp_path / "a.fits", 1.0)
    _, _, others = detached_model(tmp_path / "b.fits", 2.0)
    blank = make_blank(kind, set())
    template = Template(blank.map_tiles(scale_groups, ["data"], factor=blank.rows("data")))
    for own in (parts, others):
        (call,) = operations(template.fill(own))
        assert call.arguments["factor"].path == str(own.path)


def test_slots_receive_objects_that_cannot_be_pickled(tmp_path):
    _, _, parts = detached_model(tmp_path / "a.fits", 1.0)
    slot, other = object(), object()
    template = Template([slot, {"again": slot}, other], {id(slot): "one", id(other): "two"})
    given = [lambda: 1, lambda: 2]
    first, second, third = template.fill(parts, {"one": given[0], "two": given[1]})
    assert first is given[0]
    assert second == {"again": given[0]}
    assert third is given[1]


def test_functions_of_users_have_no_template(tmp_path):
    """Their pickles may hold blanks that cannot be filled."""
    _, kind, _ = detached_model(tmp_path / "a.fits", 1.0)
    with pytest.raises(ModelError, match="user's function"):
        Template(make_blank(kind, set()).map_tiles(lambda data: data, ["data"]))


def test_what_cannot_be_pickled_has_no_template():
    with pytest.raises(ModelError, match="no template"):
        Template(lambda: 1)
