"""Models in the JWST ecosystem: files of ours open in stdatamodels, and files of its in ours."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdatamodels.jwst import datamodels as jwst_models
from support.cases import DRAWN, long
from support.model_classes import PAGE, make_page
from support.model_contents import assert_equal, fill, random_contents

from calbatch.models import datamodels
from calbatch.models.schema.spec import load_schema

# Deprecation warnings of stdatamodels and its dependencies.
pytestmark = [pytest.mark.agreement, pytest.mark.filterwarnings("ignore")]

OTHERS = {
    "DataModel": "has another name in stdatamodels",
    "OpenWindowsModel": "does not exist in stdatamodels",
    "ReferenceFileModel": "is the base of others, and has no arrays",
    "GuiderRawModel": "is compared in test_guide_stars.py",
    "GuiderCalModel": "is compared in test_guide_stars.py",
}
"""Classes that are not compared here, and why."""
SAMPLE = {
    "BarshadowModel", "LastFrameModel", "NRMModel", "NrsFsApcorrModel", "RSCDModel", "SlitModel",
    "SossWaveGridModel",
}  # fmt: skip
"""Classes in the default run: each further kind of content that a class may have."""
NAMES = sorted(
    name
    for name in datamodels.__all__
    if name[0].isupper()
    and name not in OTHERS
    and not load_schema(getattr(datamodels, name).schema_url).lists  # see test_lists.py
    and load_schema(getattr(datamodels, name).schema_url).stored_as == "fits"  # see test_trees.py
)


@pytest.mark.parametrize("name", [name if name in SAMPLE else long(name) for name in NAMES])
def test_a_model_passes_between_calbatch_and_jwst_without_loss(tmp_path, name):
    check_both_directions(tmp_path, name, *random_contents(name))


@DRAWN
@given(st.sampled_from(NAMES), st.integers(0, 2**32))
def test_drawn_contents_of_models_pass_without_loss(tmp_path, name, seed):
    check_both_directions(tmp_path, name, *random_contents(name, seed))


def check_both_directions(tmp_path, name, arrays, values):
    ours, theirs = getattr(datamodels, name), getattr(jwst_models, name)

    # Files of a few classes do not name their class.
    reopen = datamodels.open if "meta.model_type" in load_schema(ours.schema_url).keywords else ours

    made = ours()
    fill(made, arrays, values)
    made.save(tmp_path / "ours.fits", fsync=False)
    with theirs(tmp_path / "ours.fits") as opened:
        assert_equal(opened, arrays, values)
        opened.save(tmp_path / "through_theirs.fits")

    with theirs() as filled:
        fill(filled, arrays, values)
        filled.save(tmp_path / "theirs.fits")

    for file in ("ours", "theirs", "through_theirs"):
        opened = reopen(tmp_path / f"{file}.fits")
        assert type(opened) is ours
        assert_equal(opened, arrays, values)
        opened.save(tmp_path / "again.fits", fsync=False)
        assert_equal(reopen(tmp_path / "again.fits"), arrays, values)


def test_the_sample_of_classes_exists():
    assert set(NAMES) > SAMPLE


def test_the_page_of_classes_is_up_to_date():
    assert PAGE.read_text() == make_page()


def test_every_shared_part_of_a_schema_is_used_at_least_twice():
    classes = [getattr(datamodels, name) for name in datamodels.__all__ if name[0].isupper()]
    own = {load_schema(cls.schema_url).source for cls in classes}
    folder = Path(load_schema("core").source).parent
    text = {file: file.read_text() for file in folder.glob("*.yaml")}
    for file in text:
        if str(file) not in own:
            users = [n for n, t in text.items() if re.search(rf"\$ref: \"?{file.name}\b", t)]
            reached = {
                cls.schema_url
                for cls in classes
                if str(file) in {str(source) for source in load_schema(cls.schema_url).files}
            }
            assert users, file.name
            assert len(reached) > 1, file.name
