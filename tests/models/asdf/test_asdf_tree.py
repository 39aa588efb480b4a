"""The trees of ASDF files: plain data within bounds, and nodes with their tags."""

import itertools

import asdf
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.asdf.asdf_tree import (
    MAX_DEPTH,
    MAX_PARTS,
    compose_tree,
    find_tree_end,
    load_plain,
    read_tree,
)
from calbatch.models.errors import FileError

REPEATED = [f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}, z: *a{n - 1}}}" for n in range(1, 40)]

TREES = st.recursive(
    st.text(max_size=8) | st.integers(-(2**70), 2**70) | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_a_tree_is_read_without_its_arrays(tmp_path):
    path = tmp_path / "x.asdf"
    tree = {"roman": {"meta": {"instrument": {"name": "WFI"}}, "data": np.zeros(1000)}}
    asdf.AsdfFile(tree).write_to(path)
    assert read_tree(path)["roman"]["meta"] == tree["roman"]["meta"]


@given(TREES)
def test_plain_data_survive(tree):
    assert load_plain(yaml.safe_dump(tree)) == tree


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"no asdf\n...\n", "not an ASDF file"),
        (b"#ASDF 1.0.0\n--- {a: 1}\n", "cut short"),
        (b"#ASDF 1.0.0\n--- [1\n...\n", "is not YAML"),
        (b"#ASDF 1.0.0\n--- [1, 2]\n...\n", "is not a mapping"),
        (b"#ASDF 1.0.0\n--- {a: '\xff'}\n...\n", "cannot be read"),
        (b"#ASDF 1.0.0\n--- {a: !!int ''}\n...\n", "cannot be read: "),
        (b"#ASDF 1.0.0\n--- " + b"[" * 200 + b"\n...\n", f"nested more than {MAX_DEPTH} deep"),
        ("\n".join(["#ASDF 1.0.0", "---", "a0: &a0 {}", *REPEATED, "...", ""]).encode(),
         f"more than {MAX_PARTS} values"),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_other_files_are_rejected(tmp_path, content, fault):
    path = tmp_path / "x.asdf"
    path.write_bytes(content)
    with pytest.raises(FileError, match=rf"^{path}: .*{fault}"):
        read_tree(path)


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileError, match=f"^{tmp_path / 'none'}: No such file"):
        read_tree(tmp_path / "none")


def test_nodes_keep_their_tags():
    node = compose_tree("--- !core/ndarray-1.0.0 {source: 1}")
    assert (node.tag, node.value[0][1].value) == ("!core/ndarray-1.0.0", "1")
    assert compose_tree("") is None


@pytest.mark.parametrize("text", ["&a [*a]", "{x: &b {y: *b}}"])
def test_a_node_that_contains_itself_is_refused(text):
    for read in (load_plain, compose_tree):
        with pytest.raises(ValueError, match="contains itself"):
            read(text)


@pytest.mark.parametrize("mark", [b"\n...", b"\n...\n", b"\n...\r\nblocks"])
def test_the_end_of_a_tree_is_a_line_of_its_own(mark):
    assert find_tree_end(b"a: '...'\n...b: 1" + mark) == len(b"a: '...'\n...b: 1")
    assert find_tree_end(b"a: 1\n...b") == -1
