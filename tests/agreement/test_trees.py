"""References that hold trees: files of ours open in stdatamodels, and files of its in ours."""

import asdf
import numpy as np
import pytest
from astropy import units as u
from astropy.modeling import models as astropy_models
from hypothesis import given
from hypothesis import strategies as st
from stdatamodels.jwst import datamodels as jwst_models
from stdatamodels.jwst.transforms import models as jwst_transforms
from support.cases import DRAWN, long
from support.model_contents import jwst_definitions
from support.tree_contents import NAMES, assert_same_tree, random_tree, schema_of

from calbatch.models import datamodels

# Deprecation warnings of stdatamodels and its dependencies, and its remarks on random contents.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

SAMPLE = {"ABVegaOffsetModel", "MSAModel", "PastasossModel", "NIRISSGrismModel"}
"""Classes in the default run: each kind of content that a class may have."""


def fill(model, parts, values):
    for name, part in parts.items():
        setattr(model, name, part)
    for path, value in values.items():
        model[path] = value


def assert_equal(model, parts, values):
    for name, part in parts.items():
        assert_same_tree(getattr(model, name), part, name)
    assert {path: model[path] for path in values} == values


@pytest.mark.parametrize("name", [name if name in SAMPLE else long(name) for name in NAMES])
def test_a_tree_passes_between_calbatch_and_jwst_without_loss(tmp_path, name):
    check_both_directions(tmp_path, name, *random_tree(name))


@DRAWN
@given(st.sampled_from(NAMES), st.integers(0, 2**32))
def test_drawn_contents_of_trees_pass_without_loss(tmp_path, name, seed):
    check_both_directions(tmp_path, name, *random_tree(name, seed))


def check_both_directions(tmp_path, name, parts, values):
    ours, theirs = getattr(datamodels, name), getattr(jwst_models, name)

    made = ours()
    fill(made, parts, values)
    made.save(tmp_path / "ours.asdf")
    with theirs() as filled:
        fill(filled, parts, values)
        filled.save(tmp_path / "theirs.asdf")

    for file in ("ours", "theirs"):
        opened = datamodels.open(tmp_path / f"{file}.asdf")
        assert type(opened) is ours
        opened.save(tmp_path / f"{file}_unread.asdf")
        assert_equal(opened, parts, values)
        opened.save(tmp_path / f"{file}_read.asdf")
    for file in ("ours", "theirs_unread", "theirs_read"):
        with theirs(tmp_path / f"{file}.asdf") as opened:
            assert_equal(opened, parts, values)
            opened.save(tmp_path / f"{file}_through_theirs.asdf")
        assert_equal(ours(tmp_path / f"{file}_through_theirs.asdf"), parts, values)


def test_the_sample_of_classes_exists():
    assert set(NAMES) > SAMPLE


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_has_the_parts_and_metadata_of_stdatamodels(name):
    known = {path for path in jwst_definitions(name) if path.split(".")[0] != "meta"}
    schema = schema_of(name)
    for path in known:
        node = schema.parts[path.split(".")[0]].node
        for below in path.split(".")[1:]:
            node = node.children[below]
    keywords = {path for path in jwst_definitions(name) if path.split(".")[0] == "meta"}
    assert keywords <= schema.keywords.keys()


def test_units_stay_units(tmp_path):
    with jwst_models.DistortionModel(input_units=u.pix, output_units="arcsec") as made:
        made.model = astropy_models.Shift(1) & astropy_models.Shift(2)
        made.save(tmp_path / "theirs.asdf")
    opened = datamodels.open(tmp_path / "theirs.asdf")
    assert opened.meta.input_units == "pixel"
    opened.meta.output_units = u.arcsec
    opened.save(tmp_path / "ours.asdf")
    with jwst_models.DistortionModel(tmp_path / "ours.asdf") as again:
        assert again.meta.input_units == u.pix
        assert again.meta.output_units == u.arcsec


def test_history_is_kept_and_extended(tmp_path):
    with jwst_models.OTEModel(model=astropy_models.Shift(1)) as made:
        made.history.append("made")
        made.save(tmp_path / "theirs.asdf")
    opened = datamodels.open(tmp_path / "theirs.asdf")
    assert opened.history == ["made"]
    opened.history.append("looked at")
    opened.save(tmp_path / "ours.asdf")
    with asdf.open(tmp_path / "ours.asdf") as file:
        entries = file["history"]["entries"]
        assert [entry["description"] for entry in entries] == ["made", "looked at"]
        assert entries[0]["time"] is not None


def test_transforms_of_jwst_are_made(tmp_path):
    snell = jwst_transforms.Snell(
        angle=-16.5, kcoef=[0.58, 0.46, 3.89], lcoef=[0.002, 0.013, 9.33],
        tcoef=[-2.66e-05, 0.0, 0.0, 0.0, 0.0, 0.0], tref=35, pref=0, temperature=35, pressure=0,
    )  # fmt: skip
    with jwst_models.CameraModel(model=snell) as made:
        made.save(tmp_path / "theirs.asdf")
    opened = datamodels.open(tmp_path / "theirs.asdf")
    assert "transform of snell" in repr(opened)
    np.testing.assert_array_equal(opened.model(2e-6, 0.1, 0.1, 0.9), snell(2e-6, 0.1, 0.1, 0.9))
