"""Arrays in ASDF files are read as the asdf package reads them, and damage is reported."""

import asdf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models.asdf.asdf_blocks import read_arrays, split_blocks
from calbatch.models.asdf.asdf_writer import write_asdf
from calbatch.models.errors import FileError

ARRAYS = {
    "complex": np.linspace(0, 1, 12).reshape(3, 4) * (1 + 2j),
    "big": np.arange(5, dtype=">f4"),
    "empty": np.zeros((0, 3), "i2"),
    "flags": np.array([True, False]),
}


def write(path, tree, **options):
    asdf.AsdfFile(tree).write_to(path, **options)
    return path


@pytest.mark.parametrize("compression", [None, "zlib", "bzp2"])
def test_arrays_agree_with_asdf(tmp_path, compression):
    tree = {"a": {"deep": [ARRAYS["complex"], 5]}, **ARRAYS}
    path = write(tmp_path / "a.asdf", tree, all_array_compression=compression)
    found = read_arrays(path)
    assert found["a"]["deep"][1] == 5
    np.testing.assert_array_equal(found["a"]["deep"][0], ARRAYS["complex"])
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder("=")


def test_views_of_one_block_are_read(tmp_path):
    base = np.arange(12.0).reshape(4, 3)
    tree = {"column": base[:, 1], "backwards": base[::-1, 2], "part": base[1:3, ::2]}
    path = write(tmp_path / "a.asdf", tree)
    assert b"strides" in path.read_bytes()
    found = read_arrays(path)
    for name, array in tree.items():
        np.testing.assert_array_equal(found[name], array)


def test_strides_beyond_the_block_are_reported(tmp_path):
    path = write(tmp_path / "a.asdf", {"column": np.arange(12.0).reshape(4, 3)[:, 1]})
    path.write_bytes(path.read_bytes().replace(b"strides: [24]", b"strides: [99]"))
    with pytest.raises(FileError, match=r"a\.asdf: its arrays cannot be read"):
        read_arrays(path)


def test_arrays_in_the_tree_are_read(tmp_path):
    path = write(tmp_path / "a.asdf", dict(ARRAYS), all_array_storage="inline")
    found = read_arrays(path)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_written_file_is_read_by_asdf(tmp_path):
    write_asdf(tmp_path / "a.asdf", {"meta": {"name": "x", "n": 3}, "arrays": dict(ARRAYS)})
    with asdf.open(tmp_path / "a.asdf", memmap=False, lazy_load=False) as file:
        assert file["meta"] == {"name": "x", "n": 3}
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(file["arrays"][name], array)
    found = read_arrays(tmp_path / "a.asdf")["arrays"]
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"source: 0", b"source: 9", "block 9, which the file does not have"),
        (b"complex128", b"complexity", "cannot read an array of datatype 'complexity'"),
        (b"shape: [3, 4]", b"shape: [3,44]", "arrays cannot be read"),
        (b"shape: [3, 4]", b"shape: [-3,4]", "array of datatype 'complex128' and shape"),
        (b"\xd3BLK", b"\xd3BLA", "block 0, which the file does not have"),
    ],
)  # fmt: skip
def test_damage_is_reported(tmp_path, old, new, message):
    path = write(tmp_path / "a.asdf", {"array": ARRAYS["complex"]})
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(FileError, match=message):
        read_arrays(path)


def test_an_unknown_compression_is_named(tmp_path):
    path = write(tmp_path / "a.asdf", {"array": np.zeros(99)}, all_array_compression="zlib")
    path.write_bytes(path.read_bytes().replace(b"zlib", b"zstd"))
    with pytest.raises(FileError, match="compressed with 'zstd'"):
        read_arrays(path)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("asdf") / "a.asdf"
    tree = {"one": ARRAYS["complex"], "two": np.arange(40)}
    return write(path, tree, all_array_compression="zlib").read_bytes()


@settings(max_examples=60)
@given(st.data())
def test_damaged_files_are_read_or_rejected_by_name(content, tmp_path_factory, data):
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.asdf"
    path.write_bytes(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    try:
        outcome = str(sorted(read_arrays(path)))
    except FileError as error:
        outcome = str(error)
    assert outcome.startswith(("[", str(path)))


def test_blocks_keep_their_bytes(content):
    blocks = list(split_blocks(content[content.index(b"\xd3BLK") :]))
    assert len(blocks) == 2
    assert all(block.content in content for block in blocks)
    assert {block.compression for block in blocks} == {"zlib"}
