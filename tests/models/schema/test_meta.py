"""The metadata tree: attributes over nested dictionaries."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.errors import UnknownNameError, ValidationWarning
from calbatch.models.schema.meta import MetadataNode, flatten, get_path, set_path
from calbatch.models.schema.spec import load_schema

SCHEMA = load_schema("core")

names = st.text("abc", min_size=1, max_size=2)
leaves = st.integers() | st.text(max_size=3) | st.lists(st.integers(), min_size=1, max_size=2)
trees = st.dictionaries(
    names, st.recursive(leaves, lambda t: st.dictionaries(names, t, min_size=1, max_size=3))
)


@pytest.fixture
def data():
    return {"meta": {"instrument": {"name": "MIRI", "filter": "F560W"}, "telescope": "JWST"}}


@pytest.fixture
def meta(data):
    return MetadataNode(data, SCHEMA)


class TestPaths:
    @given(trees)
    def test_flattening_and_setting_are_inverse(self, tree):
        again = {}
        for path, value in flatten(tree).items():
            set_path(again, path, value)
            assert get_path(tree, path) == value
        assert again == tree

    def test_a_missing_path_gives_the_default(self):
        assert get_path({"a": {"b": 1}}, "a.c") is None
        assert get_path({"a": 1}, "a.b.c", 7) == 7

    def test_setting_none_removes(self):
        tree = {"a": {"b": 1}}
        set_path(tree, "a.b", None)
        set_path(tree, "x.y", None)
        assert tree == {"a": {}}


class TestReading:
    def test_a_leaf_that_is_set(self, meta):
        assert meta.instrument.name == "MIRI"

    def test_an_unset_leaf_is_none(self, meta):
        assert meta.instrument.detector is None
        assert meta.exposure.ngroups is None

    def test_reading_changes_nothing(self, meta, data):
        before = copy.deepcopy(data)
        _ = meta.exposure.type, meta.ref_file.dark.name, meta.instance, repr(meta)
        assert data == before

    def test_an_unknown_name_is_an_error_that_names_the_nearest(self, meta):
        with pytest.raises(AttributeError, match=r"meta\.instrument has no 'filtre'.*'filter'"):
            _ = meta.instrument.filtre

    def test_hasattr_tells_if_a_name_is_set(self, meta):
        assert meta.instrument.hasattr("name")
        assert not meta.instrument.hasattr("detector")
        assert "instrument.name" in meta
        assert "instrument.detector" not in meta


class TestAssigning:
    def test_a_leaf(self, meta, data):
        meta.exposure.ngroups = np.int32(5)
        assert data["meta"]["exposure"] == {"ngroups": 5}
        assert type(meta.exposure.ngroups) is int

    def test_an_invalid_value_is_not_set(self, meta):
        with pytest.warns(ValidationWarning, match="INSTRUME"):
            meta.instrument.name = "HST"
        assert meta.instrument.name == "MIRI"

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("detectr", "NRCA1", "meta.instrument has no 'detectr'.*did you mean 'detector'"),
            ("own", {"deep": 1}, "meta.instrument has no 'own'.*model.set_card"),
        ],
    )
    def test_an_unknown_name_is_refused(self, meta, data, name, value, message):
        before = copy.deepcopy(data)
        with pytest.raises(UnknownNameError, match=message):
            setattr(meta.instrument, name, value)
        assert data == before

    def test_an_unknown_name_within_a_mapping_is_refused(self, meta, data):
        before = copy.deepcopy(data)
        with pytest.raises(AttributeError, match=r"meta\.instrument has no 'filtre'.*'filter'"):
            meta.instrument = {"name": "FGS", "filtre": "CLEAR"}
        assert data == before

    def test_an_unset_list_is_empty_and_accepts_items(self, meta):
        assert meta.background.polynomial_info == []
        assert not meta.background.hasattr("polynomial_info")
        assert "background.polynomial_info" not in dict(meta.items())
        meta.background.polynomial_info.append({"degree": [1]})
        assert meta.background.polynomial_info == [{"degree": [1]}]

    @pytest.mark.parametrize(
        "change",
        [
            lambda items, item: items.append(item),
            lambda items, item: items.extend([item]),
            lambda items, item: items.insert(0, item),
            lambda items, item: items.__setitem__(0, item),
            lambda items, item: items.__iadd__([item]),
        ],
        ids=["append", "extend", "insert", "setitem", "iadd"],
    )
    @pytest.mark.parametrize(
        ("item", "message"),
        [(5, "5 is not of type 'object'"), ({"degre": [1]}, "'degre' was unexpected")],
    )
    def test_an_invalid_item_warns_as_an_assignment_does(self, meta, change, item, message):
        valid = {"degree": [1]}
        meta.background.polynomial_info.append(valid)
        with pytest.warns(ValidationWarning, match=message):
            change(meta.background.polynomial_info, item)
        with pytest.warns(ValidationWarning, match=message):
            meta.background.polynomial_info = [item]
        assert meta.background.polynomial_info == [valid]
        change(meta.background.polynomial_info, {"channel": "1"})
        assert {"channel": "1"} in meta.background.polynomial_info

    def test_copies_of_a_list_are_plain_and_independent(self, meta):
        items = meta.background.polynomial_info
        items.append({"degree": [1]})
        for other in (copy.copy(items), copy.deepcopy(items), pickle.loads(pickle.dumps(items))):
            assert type(other) is list
            other.append(5)
        assert items == [{"degree": [1]}]

    def test_a_branch_from_a_mapping_is_copied(self, meta):
        given = {"name": "FGS"}
        meta.instrument = given
        meta.instrument.filter = "CLEAR"
        assert given == {"name": "FGS"}
        assert meta.instrument == {"name": "FGS", "filter": "CLEAR"}

    def test_a_branch_of_another_tree_is_copied(self, meta):
        other = MetadataNode({"meta": {"instrument": {"name": "FGS"}}}, SCHEMA)
        meta.instrument = other.instrument
        meta.instrument.name = "NIRISS"
        assert other.instrument.name == "FGS"

    def test_none_unsets(self, meta, data):
        meta.instrument.filter = None
        assert data["meta"]["instrument"] == {"name": "MIRI"}

    def test_deleting(self, meta):
        del meta.telescope
        assert meta.telescope is None
        with pytest.raises(AttributeError, match=r"meta\.telescope is not set"):
            del meta.telescope

    @pytest.mark.parametrize("name", ["instance", "_private"])
    def test_attributes_that_are_not_metadata_cannot_be_assigned(self, meta, name):
        with pytest.raises(AttributeError, match=f"meta.{name} is not metadata"):
            setattr(meta, name, 1)

    def test_the_check_decides_about_an_assignment(self, data):
        asked = []

        def check(path, value):
            asked.append((path, value))
            return value != 3, "changed"

        meta = MetadataNode(data, SCHEMA, "meta", check)
        meta.exposure.ngroups = 3
        assert meta.exposure.ngroups is None
        meta.exposure.ngroups = 4
        assert meta.exposure.ngroups == "changed"
        assert asked == [("meta.exposure.ngroups", 3), ("meta.exposure.ngroups", 4)]


class TestAsAWhole:
    def test_iteration_is_over_set_values(self, meta):
        meta.target.ra = None
        expected = {"instrument.name": "MIRI", "instrument.filter": "F560W", "telescope": "JWST"}
        assert dict(meta.items()) == expected
        assert list(meta) == list(expected)
        assert dict(meta.instrument.items()) == {"name": "MIRI", "filter": "F560W"}

    def test_equality_compares_set_values(self, meta, data):
        same = MetadataNode(copy.deepcopy(data), SCHEMA)
        assert meta == same
        assert meta.instrument == {"name": "MIRI", "filter": "F560W", "detector": None}
        same.telescope = "HST"
        assert meta != same
        assert meta != 3

    def test_a_copy_is_independent(self, meta):
        copied = meta.copy()
        copied["instrument"]["name"] = "FGS"
        assert meta.instrument.name == "MIRI"

    def test_deep_copies_and_pickles_are_independent(self, meta):
        for other in (copy.deepcopy(meta), pickle.loads(pickle.dumps(meta))):
            assert other == meta
            other.telescope = "HST"
            assert meta.telescope == "JWST"

    def test_names_for_completion(self, meta):
        assert {"instrument", "exposure", "cal_step", "telescope"} <= set(dir(meta))

    def test_repr_shows_the_values(self, meta):
        assert repr(meta).splitlines() == [
            "<meta>",
            "  instrument.name: 'MIRI'",
            "  instrument.filter: 'F560W'",
            "  telescope: 'JWST'",
        ]
