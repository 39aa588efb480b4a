"""Views of trees behave as dicts and lists, and hold plain data."""

import copy
import pickle

import numpy as np
import pytest
from astropy import units as u

from calbatch.models.asdf.tagged import TaggedText
from calbatch.models.trees.tree_views import UNIT, TreeList, TreeNode, store


def node_of(**entries):
    return TreeNode(store(entries), "file.asdf", "part")


def test_entries_are_items_and_attributes():
    node = node_of(a=1, b={"c": [1, {"d": 2}]})
    assert node.b.c[1].d == node["b"]["c"][1]["d"] == 2
    node.b.c[1].d = 3
    node["b"]["c"].append((4, 5))
    assert node == {"a": 1, "b": {"c": [1, {"d": 3}, [4, 5]]}}
    assert list(node) == ["a", "b"]
    del node.b.c[:2]
    assert node.b.c == [[4, 5]]
    assert "b" in dir(node)


def test_a_missing_entry_names_the_others():
    with pytest.raises(AttributeError, match=r"file\.asdf: part has no 'x', but a, b"):
        _ = node_of(a=1, b=2).x
    with pytest.raises(KeyError):
        _ = node_of(a=1)["x"]


def test_views_are_copied_and_pickled():
    node = node_of(a=[1, 2])
    twin = copy.deepcopy(node)
    twin.a.append(3)
    assert node.a == [1, 2]
    again = pickle.loads(pickle.dumps(node))
    assert isinstance(again.a, TreeList)
    assert again == node


def test_lists_take_slices_and_several_entries():
    found = node_of(a=[1, {"b": 2}, 3]).a
    found.extend([{"b": 5}])
    found[0] = np.float32(1.5)
    assert [entry.b for entry in found[1::2]] == [2, 5]
    assert found[0] == 1.5
    assert len(found) == 4


def test_views_are_stored_as_the_data_they_show():
    node = node_of(a=[1, 2])
    assert store({"part": node, "list": node.a}) == {"part": {"a": [1, 2]}, "list": [1, 2]}


def test_a_unit_is_stored_as_text_with_a_tag():
    found = store({"unit": u.pix})["unit"]
    assert found == "pixel"
    assert isinstance(found, TaggedText)
    assert found.tag == UNIT
    quantity = 3 * u.m
    assert store(quantity) is quantity
