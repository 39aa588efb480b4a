"""Written ASDF files are those that asdf and our own reader expect."""

import asdf
import numpy as np
import pytest

from calbatch.models.asdf.asdf_blocks import read_arrays
from calbatch.models.asdf.asdf_writer import write_asdf

TREE = {
    "NRCA1": {"filename": "a.fits", "rows": np.arange(5), "vals": np.linspace(0, 1, 5), "time": 60},
    "image": np.arange(6, dtype=">f4").reshape(2, 3),
    "nothing": {"rows": np.empty(0, np.int64), "list": [1, 2.5, None, True, "text: x"]},
    "number": np.float64(2.5),
}


def assert_same_tree(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, dict):
            assert_same_tree(found[name], value)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value)
            assert np.dtype(found[name].dtype).name == value.dtype.name
        else:
            assert found[name] == value


def test_asdf_reads_the_tree(tmp_path):
    write_asdf(tmp_path / "a.asdf", TREE)
    with asdf.open(tmp_path / "a.asdf") as file:
        found = {name: file[name] for name in TREE}
        assert_same_tree(found, TREE)
        file.validate()


def test_our_reader_reads_the_tree(tmp_path):
    write_asdf(tmp_path / "a.asdf", TREE)
    assert_same_tree(read_arrays(tmp_path / "a.asdf"), TREE)


def test_an_existing_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.asdf"
    write_asdf(path, {"a": np.arange(1000)})
    write_asdf(path, {"b": 1})
    assert read_arrays(path) == {"b": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        write_asdf(tmp_path / "absent" / "a.asdf", TREE)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder"):
        write_asdf(tmp_path / "folder", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
