"""DQ flags, and the translation of the bits of a reference."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdatamodels.dynamicdq import dynamic_mask
from stdatamodels.jwst.datamodels import dqflags

from calbatch.models import dq
from calbatch.models.dq import DqRemap
from calbatch.models.schema.spec import load_schema

TABLE = load_schema("dq_def").fields["dq_def"].dtype


def table(*rows):
    bits = [(value.bit_length() - 1, value, name, "") for value, name in rows]
    return np.array(bits, dtype=TABLE)


tables = st.lists(
    st.tuples(
        st.integers(0, 31).map(lambda bit: 1 << bit),
        st.sampled_from([*dq.PIXEL, "UNKNOWN", " HOT ", "hot"]),
    ),
    max_size=12,
).map(lambda rows: table(*rows))
arrays = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8).map(
    lambda values: np.array([values], dtype=np.uint32)
)


def as_read_from_fits(definitions):
    """Return a DQ_DEF table with names as text, as stdatamodels requires."""
    text = [(name, "U40" if TABLE[name].kind == "S" else TABLE[name]) for name in TABLE.names]
    return definitions.astype(text)


class TestFlags:
    def test_names_and_bits_are_jwsts(self):
        assert dict(dq.PIXEL) == dqflags.pixel
        assert dict(dq.GROUP) == dqflags.group

    def test_each_is_a_constant(self):
        assert all(getattr(dq, name) == value for name, value in dq.PIXEL.items())

    def test_flags_of_a_sample_fit_its_byte(self):
        assert max(dq.GROUP.values()) < 256


class TestRemap:
    @given(tables, arrays)
    def test_flags_are_translated_as_in_stdatamodels(self, definitions, values):
        reference = SimpleNamespace(dq=values, dq_def=as_read_from_fits(definitions))
        expected = dynamic_mask(reference, dqflags.pixel)
        remap = DqRemap.from_table(definitions)
        found = values if remap is None else remap(values)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype

    @given(tables, arrays)
    def test_the_inverse_agrees_with_stdatamodels(self, definitions, values):
        reference = SimpleNamespace(dq=values, dq_def=as_read_from_fits(definitions))
        remap = DqRemap.from_table(definitions)
        if remap is not None:
            expected = dynamic_mask(reference, dqflags.pixel, inv=True)
            np.testing.assert_array_equal(remap.inverse()(values), expected)

    @pytest.mark.parametrize("absent", [None, table(), np.array(0)])
    def test_without_a_table_the_bits_are_standard(self, absent):
        assert DqRemap.from_table(absent) is None

    def test_an_unknown_name_is_logged_and_its_bit_dropped(self, caplog):
        remap = DqRemap.from_table(table((1, "NO_SUCH_FLAG"), (2, "HOT")))
        assert "NO_SUCH_FLAG" in caplog.text
        assert remap(np.uint32([3])).tolist() == [dq.HOT]

    def test_names_may_be_text_or_bytes(self):
        definitions = table((1, "HOT "))
        text = as_read_from_fits(definitions)
        assert (
            DqRemap.from_table(text) == DqRemap.from_table(definitions) == DqRemap(((1, dq.HOT),))
        )

    def test_the_input_may_have_any_integer_type_and_is_not_changed(self):
        remap = DqRemap.from_table(table((1, "HOT"), (2, "DEAD")))
        for dtype in ("u1", "i2", "i4", "u4", "i8"):
            values = np.array([0, 1, 2, 3], dtype=dtype)
            values.flags.writeable = False
            assert remap(values).tolist() == [0, dq.HOT, dq.DEAD, dq.HOT | dq.DEAD]

    def test_an_empty_array_stays_empty(self):
        found = DqRemap.from_table(table((1, "HOT")))(np.zeros((0, 4), np.uint32))
        assert found.shape == (0, 4)

    def test_it_pickles(self):
        remap = DqRemap.from_table(table((1, "HOT")))
        assert pickle.loads(pickle.dumps(remap)) == remap
