"""Tagged values are text or data, and tell what they are."""

import copy
import pickle

import pytest

from calbatch.models.asdf.tagged import TaggedText, TaggedValue, is_plain_tag

SHIFT = TaggedValue("tag:stsci.edu:asdf/transform/shift-1.4.0", {"offset": 1.0})


def test_text_with_a_tag_is_text():
    unit = TaggedText("pixel", "tag:stsci.edu:asdf/unit/unit-1.0.0")
    for same in (unit, copy.deepcopy(unit), pickle.loads(pickle.dumps(unit))):
        assert same == "pixel"
        assert same.tag == unit.tag


def test_a_tag_has_a_kind():
    assert SHIFT.kind == "shift"
    assert SHIFT.is_transform
    table = TaggedValue("tag:astropy.org:astropy/table/table-1.3.0", {})
    assert (table.kind, table.is_transform) == ("table", False)


@pytest.mark.parametrize(
    ("tag", "is_plain"),
    [
        ("tag:stsci.edu:asdf/core/asdf-1.1.0", True),
        ("tag:stsci.edu:asdf/core/ndarray-1.1.0", False),
        ("tag:stsci.edu:asdf/core/complex-1.0.0", False),
        ("tag:yaml.org,2002:python/object", True),
        ("!local", True),
        (SHIFT.tag, False),
        ("asdf://somewhere.org/tags/thing-1.0.0", False),
    ],
)
def test_tags_without_further_meaning_are_plain(tag, is_plain):
    assert is_plain_tag(tag) == is_plain
