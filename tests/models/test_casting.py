"""Casting arrays to the types of a schema, and checks of their shapes."""

import dask.array as da
import numpy as np
import pytest
from astropy import units
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calbatch.models import datamodels
from calbatch.models.casting import cast_array, cast_exactly, check_dimensions, needs_value_check
from calbatch.models.errors import ModelError, ValidationError
from calbatch.models.schema.spec import FieldSpec

PIXELS = np.arange(48, dtype="f4").reshape(8, 6)

integers = st.sampled_from(["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"]).map(np.dtype)
numbers = st.sampled_from(["u1", "i4", "u8", "i8", "f2", "f4", "f8", "?"]).map(np.dtype)


class TestIntegers:
    @example(values=np.array([-np.inf], "f2"), dtype=np.dtype("i4"))  # beyond the range of f2
    @given(numbers.flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 5))), integers)
    def test_values_are_cast_exactly_if_all_fit(self, values, dtype):
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        plain = values.tolist()  # Python's own numbers have no limits
        fits_all = all(
            v == v and abs(v) != np.inf and v == int(v) and low <= v <= high for v in plain
        )
        if fits_all:
            found = cast_exactly(values, dtype, "x")
            assert found.dtype == dtype
            assert found.tolist() == [int(v) for v in plain]
        else:
            with pytest.raises(ValidationError, match=f"x: {dtype} cannot hold"):
                cast_exactly(values, dtype, "x")

    @pytest.mark.parametrize("kind", ["f4", "f8", "i2", "i8", "u8", "?"])
    def test_flags_of_any_type_are_cast_if_they_fit(self, kind):
        for flags in (np.ones((8, 6), kind), da.ones((8, 6), dtype=kind, chunks=4)):
            model = datamodels.ImageModel(PIXELS, dq=flags)
            assert model.dq.dtype == np.uint32
            np.testing.assert_array_equal(model.dq, np.ones((8, 6)))

    def test_values_out_of_range_are_refused_and_do_not_wrap(self):
        with pytest.raises(ValidationError, match="dq: uint32 cannot hold 48 of its int64 values"):
            datamodels.ImageModel(PIXELS, dq=np.full((8, 6), -1))
        with pytest.raises(ValidationError, match=r"data: uint16 cannot hold .* such as 0\.5"):
            datamodels.Level1bModel(np.full((1, 2, 8, 6), 0.5))
        model = datamodels.ImageModel(PIXELS, dq=da.full((8, 6), 2**40, chunks=4))
        with pytest.raises(ModelError, match=f"dq: uint32 cannot hold .* such as {2**40}"):
            model.dq.compute(scheduler="sync")


@pytest.mark.parametrize(
    ("found", "wanted", "needed"),
    [("u1", "u4", False), ("f8", "f4", False), ("i8", "u4", True), ("f4", "u2", True)],
)
def test_only_lossy_casts_to_integers_need_their_values_checked(found, wanted, needed):
    assert needs_value_check(np.dtype(found), np.dtype(wanted), "x") is needed


def test_a_complex_array_is_never_real():
    with pytest.raises(ValidationError, match="x: complex64 cannot become float32"):
        needs_value_check(np.dtype("c8"), np.dtype("f4"), "x")


def test_dimensions():
    check_dimensions(FieldSpec("a", "A", ndim=2), 2, "x")
    with pytest.raises(ValidationError, match="x: must have 2 dimensions, has 3"):
        check_dimensions(FieldSpec("a", "A", ndim=2), 3, "x")
    with pytest.raises(ValidationError, match="x: may have 4 dimensions, has 5"):
        check_dimensions(FieldSpec("a", "A", max_ndim=4), 5, "x")


def test_a_field_without_a_type_takes_any_array():
    assert cast_array(FieldSpec("a", "A"), PIXELS, "x") is PIXELS


@pytest.mark.parametrize("shape", [(-1, 10), (0, 10), (2.5, 10)])
def test_sizes_must_be_positive_integers(shape):
    with pytest.raises(ValidationError, match=r"MaskModel: every size in the shape \(.*10\) must"):
        datamodels.MaskModel(shape)


def test_arrays_without_pixels_are_refused():
    with pytest.raises(ValidationError, match=r"data: every size in the shape \(0, 4\) must"):
        datamodels.ImageModel(np.zeros((0, 4)))


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_masked_pixels_are_refused(lazy):
    model = datamodels.ImageModel((3, 4))
    masked = np.ma.masked_greater(np.arange(12.0).reshape(3, 4), 9)
    with pytest.raises(ValidationError, match=r"ImageModel: data: is a masked array.*DQ"):
        model.data = da.from_array(masked) if lazy else masked
    model.data = masked.filled(np.nan)
    model.err = np.ma.array(np.ones((3, 4)))  # nothing is masked
    assert int(np.isnan(model.data).sum()) == 2


def test_units_are_refused():
    model = datamodels.ImageModel((3, 4))
    with pytest.raises(ValidationError, match=r"data: has the unit mJy.*`\.value`"):
        model.data = np.ones((3, 4)) * units.mJy
    model.data = np.ones((3, 4)) * units.dimensionless_unscaled
