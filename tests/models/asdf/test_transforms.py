"""Objects of ASDF files are made and stored by the asdf package."""

import pytest
from asdf_astropy.testing.helpers import assert_model_equal
from astropy.modeling import models as astropy_models

from calbatch.models.asdf.tagged import TaggedValue
from calbatch.models.asdf.transforms import make_object, store_object
from calbatch.models.errors import FileError, ValidationError

PIPE = astropy_models.Shift(1) & astropy_models.Scale(2) | astropy_models.Polynomial2D(2, c1_1=3)


def test_a_stored_transform_is_made_again():
    stored = store_object("model", PIPE)
    assert isinstance(stored, TaggedValue)
    assert_model_equal(make_object("a.asdf", "model", stored), PIPE)


def test_a_tag_that_no_package_knows_is_named():
    unknown = TaggedValue("tag:stsci.edu:jwst_pipeline/nothing-9.0.0", {"a": 1})
    with pytest.raises(FileError, match=r"a\.asdf: model is a nothing .*no installed package"):
        make_object("a.asdf", "model", unknown)


def test_a_damaged_transform_is_named():
    damaged = TaggedValue("tag:stsci.edu:asdf/transform/shift-1.2.0", {"offset": "far"})
    with pytest.raises(FileError, match=r"model is a shift .*which asdf cannot read"):
        make_object("a.asdf", "model", damaged)


def test_an_object_that_cannot_be_stored_is_named():
    with pytest.raises(ValidationError, match=r"part\.x: asdf cannot store this object"):
        store_object("part.x", object())
