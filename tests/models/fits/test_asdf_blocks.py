"""The binary blocks of ASDF files."""

import io

import asdf
import numpy as np
import pytest

from calbatch.models.fits.asdf_blocks import find_blocks

ARRAYS = [np.arange(5.0), np.arange(7, dtype="u1")]


@pytest.fixture
def content():
    stream = io.BytesIO()
    asdf.AsdfFile({"arrays": ARRAYS}).write_to(stream)
    return stream.getvalue()


def test_blocks_hold_the_arrays(content):
    blocks = list(find_blocks(content))
    data = [content[block.begin : block.begin + block.used] for block in blocks]
    assert data == [array.tobytes() for array in ARRAYS]
    assert [block.compression for block in blocks] == ["", ""]
    assert blocks[0].stop == blocks[1].start


def test_a_file_may_have_none(content):
    assert list(find_blocks(content, len(content))) == []


def test_damaged_blocks_are_errors(content):
    last = list(find_blocks(content))[-1]
    with pytest.raises(ValueError, match="does not match its checksum"):
        list(find_blocks(content[: last.begin] + b"\xff" + content[last.begin + 1 :]))
    with pytest.raises(ValueError, match="cut short"):
        list(find_blocks(content[: last.begin + 1]))
    with pytest.raises(ValueError, match="cut short"):
        list(find_blocks(content[: last.start + 10]))
    with pytest.raises(ValueError, match="has no header"):
        list(find_blocks(content[: last.start + 4] + b"\0\0" + content[last.start + 6 :]))
