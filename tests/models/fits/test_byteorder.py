"""Conversion between stored bytes and native values, against astropy."""

import io

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calbatch.models.fits.byteorder import bzero_of, empty, to_fits, to_native

TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
arrays = st.sampled_from(TYPES).flatmap(lambda code: hnp.arrays(np.dtype(code), st.integers(0, 40)))


@given(arrays.filter(lambda values: values.size))
def test_stored_bytes_are_those_of_astropy(values):
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(values.copy())]).writeto(stream)
    buffer = values.copy()
    to_fits(buffer)
    assert buffer.tobytes() == stream.getvalue()[2 * 2880 :][: values.nbytes]


@given(arrays)
def test_a_round_trip_changes_nothing(values):
    buffer = values.copy()
    to_fits(buffer)
    to_native(buffer)
    assert buffer.tobytes() == values.tobytes()


@pytest.mark.parametrize(
    ("code", "offset"),
    [("u2", 2**15), ("u4", 2**31), ("u8", 2**63), ("i1", -128), ("i2", 0), ("u1", 0)],
)
def test_offsets_of_types_that_fits_lacks(code, offset):
    assert bzero_of(np.dtype(code)) == offset


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_empty_arrays_are_aligned(shape):
    array = empty(shape, np.dtype("f8"))
    assert array.shape == shape
    assert array.ctypes.data % 64 == 0
