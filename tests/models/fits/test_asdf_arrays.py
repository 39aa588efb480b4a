"""ASDF files with arrays, as the asdf package writes them."""

from contextlib import suppress

import asdf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbatch.models.errors import FileError
from calbatch.models.fits.asdf_arrays import AsdfFile

ARRAYS = {
    "floats": np.linspace(0, 1, 40),
    "singles": np.arange(6, dtype=">f4").reshape(2, 3),
    "integers": np.arange(-3, 3, dtype="i2"),
    "nothing": np.zeros(0),
}


def stored(path, storage="internal", compression=None, **tree):
    """Write a tree with asdf, and return the path."""
    with asdf.AsdfFile(tree or dict(ARRAYS)) as file:
        file.write_to(path, all_array_storage=storage, all_array_compression=compression)
    return path


@pytest.mark.parametrize("storage", ["internal", "inline"])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_have_their_values(tmp_path, storage, name):
    file = AsdfFile.read(stored(tmp_path / "a.asdf", storage))
    found = file.numbers(file.tree[name], name)
    np.testing.assert_array_equal(found, ARRAYS[name])
    assert found.dtype.isnative
    if storage == "internal":
        assert found.dtype == ARRAYS[name].dtype.newbyteorder("=")


def test_lists_are_arrays_too(tmp_path):
    file = AsdfFile.read(stored(tmp_path / "a.asdf", values=[1.5, 2.5]))
    np.testing.assert_array_equal(file.numbers(file.tree["values"], "values"), [1.5, 2.5])


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("text", "x is not an array of numbers"),
        (None, "x is not an array of numbers"),
        ([[1], [1, 2]], "x is not a plain array"),
        ({"source": 7, "datatype": "float64", "shape": [1]}, "block 7 is missing"),
        ({"source": "other.asdf", "datatype": "float64", "shape": [1]}, "block 'other.asdf' is"),
        ({"source": 0, "datatype": "float64", "shape": [999]}, "its block is too short"),
        ({"source": 0, "datatype": "float64", "shape": [-1]}, "its block is too short"),
        ({"source": 0, "datatype": "complex64", "shape": [1]}, "x is not a plain array"),
        ({"source": 0, "shape": [1]}, "x is not a plain array"),
        ({"source": 0, "datatype": "int8", "shape": [1], "strides": [2]}, "strides"),
    ],
)
def test_other_entries_are_rejected(tmp_path, entry, reason):
    file = AsdfFile.read(stored(tmp_path / "a.asdf"))
    with pytest.raises(FileError, match=reason) as error:
        file.numbers(entry, "x")
    assert str(tmp_path / "a.asdf") in str(error.value)


def test_compressed_blocks_are_rejected(tmp_path):
    file = AsdfFile.read(stored(tmp_path / "a.asdf", compression="zlib"))
    with pytest.raises(FileError, match=r"compressed blocks \(zlib\) are not supported"):
        file.numbers(file.tree["floats"], "floats")


def test_a_file_must_be_asdf(tmp_path):
    path = tmp_path / "a.asdf"
    path.write_bytes(b"SIMPLE  =")
    with pytest.raises(FileError, match="not an ASDF file"):
        AsdfFile.read(path)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("asdf") / "a.asdf").read_bytes()


@given(place=st.floats(0, 1), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_an_error_or_harmless(tmp_path_factory, content, place, value, cut):
    path = tmp_path_factory.getbasetemp() / "damaged.asdf"
    at = int(place * (len(content) - 1))
    damaged = content[:at] if cut else content[:at] + bytes([value]) + content[at + 1 :]
    path.write_bytes(damaged)
    with suppress(FileError):  # any other exception fails the test
        file = AsdfFile.read(path)
        for name, entry in file.tree.items():
            file.numbers(entry, str(name))
