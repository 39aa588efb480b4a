"""The ones'-complement sum, against astropy's."""

import itertools

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from calbatch.models.fits.checksum import ALL_ONES, add, checksum, encode

words = st.integers(0, ALL_ONES)
compiling = settings(deadline=None)  # the first call may compile


@compiling
@given(st.binary(min_size=1, max_size=300))
def test_the_sum_equals_astropys_datasum(data):
    hdu = fits.ImageHDU(np.frombuffer(data, np.uint8))
    assert checksum(data) == hdu.add_datasum()


@compiling
@given(st.binary(max_size=300), st.lists(st.integers(0, 300)), st.randoms())
def test_the_sums_of_pieces_add_to_the_whole_in_any_order(data, cuts, random):
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    sums = [checksum(data[a:b], a) for a, b in itertools.pairwise(edges)]
    random.shuffle(sums)
    assert add(*sums) == checksum(data)


@given(st.lists(words, max_size=20))
def test_a_sum_is_zero_only_if_all_bytes_are(values):
    assert (add(*values) == 0) == (not any(values))


def test_read_only_and_unaligned_bytes_give_the_same():
    data = np.arange(1001, dtype=np.uint16).view(np.uint8)
    frozen = data.copy()
    frozen.flags.writeable = False
    unaligned = np.concatenate([[np.uint8(0)], data])[1:]
    assert checksum(frozen) == checksum(unaligned) == checksum(data.tobytes())


@compiling
@given(words)
def test_the_coded_form_is_alphanumeric_and_adds_up_to_the_value(value):
    text = encode(value)
    assert len(text) == 16
    assert text.isalnum()
    # In the file the text begins one byte before a word, and replaces sixteen zeros.
    excess = add(checksum(text.encode(), 3), ALL_ONES - checksum(b"0" * 16, 3))
    assert excess % ALL_ONES == value % ALL_ONES


@pytest.mark.parametrize("value", [0, 1, 0xFFFFFFFE, ALL_ONES, 0x3A5B4060])
def test_the_coded_form_is_astropys(value):
    assert encode(value) == fits.ImageHDU()._char_encode(value)
