"""ASDF files opened lazily agree with the asdf package, and are written as they were."""

import io

import asdf
import numpy as np
import pytest

from calbatch.models.asdf.asdf_file import StoredArray, is_asdf, read_content, read_lazily
from calbatch.models.asdf.asdf_writer import make_asdf, write_asdf
from calbatch.models.asdf.tagged import TaggedText, TaggedValue
from calbatch.models.errors import FileError

RECORDS = np.array([(1, "ab", [1.5, 2.5]), (2, "c", [3.5, 4.5])],
                   [("n", "i4"), ("name", "U2"), ("pair", "f4", (2,))])  # fmt: skip
ARRAYS = {
    "numbers": np.arange(12.0).reshape(3, 4),
    "complex": np.linspace(0, 1, 5) * (1 + 2j),
    "text": np.array(["F070W", "ANY"]),
    "bytes": np.array([b"ab", b"c"]),
    "records": RECORDS,
    "empty": np.zeros((0, 3), "i2"),
}


def assert_arrays_equal(found):
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("options", [{}, {"all_array_compression": "zlib"}, {"pad_blocks": True}])
def test_arrays_agree_with_asdf(tmp_path, options):
    asdf.AsdfFile({"arrays": dict(ARRAYS)}).write_to(tmp_path / "a.asdf", **options)
    stored = read_lazily(tmp_path / "a.asdf")["arrays"]
    assert all(isinstance(array, StoredArray) for array in stored.values())
    assert {name: a.shape for name, a in stored.items()} == {n: a.shape for n, a in ARRAYS.items()}
    assert_arrays_equal({name: array.load() for name, array in stored.items()})


def test_arrays_in_the_tree_are_read(tmp_path):
    path = tmp_path / "a.asdf"
    path.write_bytes(
        make_asdf({}).replace(b"{}\n", b"a: !core/ndarray-1.1.0 [[1, 2], [3, 4]]\n"
                              b"b: !core/ndarray-1.1.0 [1.5, .nan]\n", 1)
    )  # fmt: skip
    found = read_lazily(path)
    np.testing.assert_array_equal(found["a"].load(), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(found["b"].load(), [1.5, np.nan])
    assert found["b"].dtype == np.float64


def test_written_arrays_are_read_by_asdf():
    with asdf.open(io.BytesIO(make_asdf({"arrays": ARRAYS})), lazy_load=False) as file:
        assert_arrays_equal({name: np.asarray(file["arrays"][name]) for name in ARRAYS})


def test_tags_and_their_arrays_are_kept(tmp_path):
    tag = "tag:example.org:things/thing-1.0.0"
    tree = {"unit": TaggedText("m", "tag:stsci.edu:asdf/unit/unit-1.0.0"),
            "thing": TaggedValue(tag, {"a": [np.arange(4.0), 1 + 2j]})}  # fmt: skip
    write_asdf(tmp_path / "a.asdf", tree)
    write_asdf(tmp_path / "b.asdf", read_lazily(tmp_path / "a.asdf"))
    found = read_lazily(tmp_path / "b.asdf")
    assert (found["unit"], found["unit"].tag) == ("m", tree["unit"].tag)
    assert found["thing"].tag == tag
    np.testing.assert_array_equal(found["thing"].value["a"][0].load(), np.arange(4.0))
    assert found["thing"].value["a"][1].tag.endswith("core/complex-1.0.0")
    content = read_content("b.asdf", (tmp_path / "b.asdf").read_bytes())
    np.testing.assert_array_equal(content["thing"].value["a"][0], np.arange(4.0))


def test_a_long_tree_is_read_to_its_end(tmp_path):
    tree = {"text": "x" * 200_000, "array": np.arange(3)}
    write_asdf(tmp_path / "a.asdf", tree)
    found = read_lazily(tmp_path / "a.asdf")
    assert found["text"] == tree["text"]
    np.testing.assert_array_equal(found["array"].load(), tree["array"])


def test_an_array_of_another_kind_is_refused_when_it_is_read(tmp_path):
    write_asdf(tmp_path / "a.asdf", {"good": np.arange(3), "bad": np.arange(3.0)})
    text = (tmp_path / "a.asdf").read_bytes().replace(b"float64", b"float65")
    (tmp_path / "a.asdf").write_bytes(text)
    found = read_lazily(tmp_path / "a.asdf")
    np.testing.assert_array_equal(found["good"].load(), np.arange(3))
    with pytest.raises(FileError, match="cannot read an array of datatype 'float65'"):
        found["bad"].load()


def test_files_are_known_by_their_first_bytes(tmp_path):
    assert is_asdf(b"#ASDF 1.0.0\n")
    assert not is_asdf(b"SIMPLE  =")
    (tmp_path / "a.asdf").write_bytes(b"SIMPLE  =")
    with pytest.raises(FileError, match="not an ASDF file"):
        read_lazily(tmp_path / "a.asdf")
